import type { BridgeStatus, Diagnostic, EndpointKind, Faucet, LocalEndpoint, NewLocalEndpoint, Pairing } from "../types.js";
import { COMMON, FaucetElement } from "./element.js";
import { count } from "./format.js";
import { icon } from "./icons.js";
import { h, type Child, type Node_ } from "./view.js";

const CSS = `
.code { display: flex; gap: 0.4rem; justify-content: center; padding: 0.3rem 0; }
.code span { display: grid; place-items: center; min-width: 2.4rem; padding: 0.35rem 0.4rem; border: 1px solid var(--_edge); border-radius: 10px; background: var(--_surface); font: 600 1.6em/1.2 var(--_mono); }
.steps { display: grid; gap: 0.4rem; counter-reset: step; }
.steps li { display: flex; align-items: center; gap: 0.4rem; padding: 0.25rem 0.25rem 0.25rem 0.75rem; border-radius: 9px; background: var(--_sunken); }
.steps code { flex: 1; min-width: 0; font: 0.8667em var(--_mono); overflow-wrap: anywhere; }
.list { display: grid; }
.list li { display: flex; flex-wrap: wrap; align-items: center; gap: 0.15rem 0.6rem; padding: 0.5rem 0; border-bottom: 1px solid var(--_line); }
.list li:last-child { border-bottom: 0; padding-bottom: 0; }
.list .name { flex: 1 1 8rem; min-width: 0; overflow-wrap: anywhere; font-weight: 520; }
.checks li { align-items: flex-start; flex-wrap: nowrap; }
.checks .icon { margin-top: 0.15em; } .checks .yes { color: var(--_good); } .checks .no { color: var(--_bad); }
h3 { margin-bottom: 0.1rem; }
`;
const STEPS = ["pip install modelfaucet-bridge", "modelfaucet-bridge init", "modelfaucet-bridge start"];
/** Milliseconds between looks at a bridge that is connected. */
const LOOK = 15_000;

/** Models on the user's own machine: find the bridge, connect this page to it, see what it offers and what is wrong. */
export class FaucetLocal extends FaucetElement {
  static override get observedAttributes(): string[] {
    return [...COMMON, "heading", "app-name", "no-endpoints"];
  }
  protected static override readonly css = CSS;

  #state: "looking" | "none" | "found" | "pairing" | "connected" = "looking";
  #bridge: BridgeStatus | null = null;
  #pairing: Pairing | null = null;
  #denied = false;
  #checks: Diagnostic[] | null = null;
  #endpoints: LocalEndpoint[] | null = null;
  #pending = 0;
  #busy = "";
  #copied = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  protected override begin(faucet: Faucet): void {
    this.#state = "looking";
    void this.refresh(faucet);
  }
  protected override end(): void {
    clearTimeout(this.#timer);
    this.#pairing?.cancel();
    this.#pairing = null;
  }

  /** Look for the bridge again. */
  async refresh(faucet = this.faucet): Promise<void> {
    if (faucet === null) return;
    try {
      const found = await faucet.local.status();
      if (this.#pairing === null) this.#found(found);
      this.problem = null;
    } catch (error) {
      this.#found(null);
      this.fail(error);
    }
    this.#pending = (await faucet.local.reports.pending().catch(() => [])).length;
    if (!this.hasAttribute("no-endpoints")) await this.#list(faucet);
    this.draw();
    clearTimeout(this.#timer);
    if (this.#state === "connected") this.#timer = setTimeout(() => void this.refresh(faucet), LOOK);
  }

  #found(bridge: BridgeStatus | null): void {
    const before = this.#state;
    this.#bridge = bridge;
    this.#state = bridge === null ? "none" : bridge.paired ? "connected" : "found";
    if (before === this.#state) return;
    this.#checks = null; // they were of before
    const word = { none: "local_none", found: "local_found", connected: "local_connected", looking: "local_looking", pairing: "local_waiting" } as const;
    this.announce(this.t(word[this.#state]));
    this.tell("faucet-bridge", { state: this.#state, version: bridge?.version ?? null, models: bridge?.models.map((model) => model.id) ?? [] });
  }

  async #list(faucet: Faucet): Promise<void> {
    const found = await faucet.local.endpoints.list({ limit: 200 }).catch(() => null);
    this.#endpoints = found?.data ?? null; // an anonymous session has none
  }

  protected override view(): Child {
    const state = this.#state;
    const word = { looking: "local_looking", none: "local_none", found: "local_found", pairing: "local_waiting", connected: "local_connected" } as const;
    const tone = { looking: "", none: "", found: "accent", pairing: "accent", connected: "good" }[state];
    return h(
      "section",
      { class: "panel", part: "panel", "aria-label": this.headingText ?? this.t("local") },
      h(
        "div",
        { class: "pad" },
        this.heading(this.t("local"), this.t("local_text"), state === "none" ? null : h("span", { class: `badge ${tone}`, part: "state" }, this.t(word[state]))),
        this.problemView(this.problem),
        state === "looking" ? this.loadingView(2) : null,
        state === "none" ? this.#install() : null,
        state === "found" ? this.#connect() : null,
        state === "pairing" && this.#pairing ? this.#code(this.#pairing) : null,
        state === "connected" && this.#bridge ? this.#models(this.#bridge) : null,
        this.#pending > 0 ? this.#reports() : null,
        this.#checks ? this.#checked(this.#checks) : null,
        this.#endpoints && (this.#endpoints.length > 0 || state === "connected") ? this.#registered(this.#endpoints) : null,
        state === "looking" ? null : this.#buttons(),
      ),
    );
  }

  #install(): Node_ {
    return h(
      "div",
      { key: "install", class: "stack", part: "install" },
      h("h3", null, this.t("local_none")),
      h("p", { class: "soft small" }, this.t("local_none_text")),
      h("ol", { class: "steps" }, STEPS.map((step) => h("li", null, h("code", null, step), this.#copyButton(step)))),
    );
  }

  #connect(): Node_ {
    return h(
      "div",
      { key: "connect", class: "stack", part: "connect" },
      h("p", { class: "soft small" }, this.t("local_found_text")),
      this.#denied ? h("div", { class: "notice warn" }, icon("alert"), h("div", null, this.t("local_denied"))) : null,
      h("div", { class: "row" }, h("button", { class: "button main", type: "button", part: "pair", disabled: this.#busy === "pair", onclick: () => void this.pair() }, this.t("local_pair"))),
    );
  }

  /** Ask the bridge for this page; the person confirms the code that is shown. */
  async pair(): Promise<boolean> {
    const faucet = this.faucet;
    if (faucet === null || this.#pairing !== null) return false;
    this.#busy = "pair";
    this.#denied = false;
    this.problem = null;
    this.draw();
    try {
      const name = this.getAttribute("app-name") ?? document.title;
      const pairing = await faucet.local.pair(name ? { appName: name } : {});
      this.#pairing = pairing;
      this.#state = "pairing";
      this.announce(`${this.t("local_code")}: ${[...pairing.code].join(" ")}`);
      const ticking = setInterval(() => this.draw(), 1000);
      const allowed = await pairing.allowed.finally(() => clearInterval(ticking));
      this.#denied = !allowed && this.#pairing === pairing;
      return allowed;
    } catch (error) {
      this.fail(error);
      return false;
    } finally {
      this.#pairing = null;
      this.#busy = "";
      await this.refresh(faucet);
    }
  }

  #code(pairing: Pairing): Node_ {
    const command = `modelfaucet-bridge allow ${pairing.code}`;
    const left = Math.max(0, Math.ceil((Date.parse(pairing.expires_at) - Date.now()) / 1000));
    const cancel = (): void => {
      this.#pairing = null;
      pairing.cancel();
    };
    return h(
      "div",
      { key: "code", class: "card", part: "pairing" },
      h("h3", null, this.t("local_code")),
      h("div", { class: "code", part: "code", role: "img", "aria-label": [...pairing.code].join(" ") }, [...pairing.code].map((digit) => h("span", { "aria-hidden": "true" }, digit))),
      h("p", { class: "soft small" }, this.t("local_code_text")),
      h("ul", { class: "steps" }, h("li", null, h("code", null, command), this.#copyButton(command))),
      h(
        "div",
        { class: "row" },
        this.#bridge ? h("a", { class: "button small", part: "bridge-page", href: `${this.#bridge.url}/ui`, target: "_blank", rel: "noopener" }, icon("out"), this.t("local_code_open")) : null,
        h("button", { class: "button small", type: "button", part: "cancel", onclick: cancel }, this.t("cancel")),
        h("span", { class: "soft small number", "aria-hidden": "true" }, this.t("local_code_left", { seconds: left })),
      ),
    );
  }

  #models(bridge: BridgeStatus): Node_ {
    const models = bridge.models.map((model) =>
      h(
        "li",
        { key: model.id, part: "model" },
        h("span", { class: "name mono" }, model.id),
        model.kind ? h("span", { class: "badge" }, model.kind) : null,
        model.context_window ? h("span", { class: "soft small number" }, this.t("local_context", { count: count(model.context_window, this.language) })) : null,
      ),
    );
    const endpoints = bridge.endpoints.map((each) => this.#served(each.name, servesOf(each)));
    return h(
      "div",
      { key: "models", class: "stack", part: "models" },
      endpoints.length > 0 ? h("ul", { class: "list" }, endpoints) : null,
      h("h3", null, this.t("local_models")),
      models.length > 0 ? h("ul", { class: "list" }, models) : h("p", { class: "soft small" }, this.t("local_no_models")),
    );
  }

  #served(name: string, serves: boolean | null): Node_ {
    const told = serves === null ? null : h("span", { class: serves ? "badge good" : "badge bad" }, this.t(serves ? "local_serving" : "local_not_serving"));
    return h("li", { key: name, part: "endpoint" }, h("span", { class: "name" }, name), told);
  }

  #reports(): Node_ {
    const flush = (): void =>
      void this.#act("flush", async (faucet) => {
        await faucet.local.reports.flush();
        this.announce(this.t("local_flushed"));
      });
    return h(
      "div",
      { key: "reports", class: "notice", part: "reports" },
      icon("info"),
      h("div", null, h("span", null, this.t("local_pending", { count: this.#pending })), h("div", { class: "row" }, h("button", { class: "button small", type: "button", part: "flush", disabled: this.#busy === "flush", onclick: flush }, this.t("local_flush")))),
    );
  }

  #checked(checks: Diagnostic[]): Node_ {
    return h(
      "div",
      { key: "checks", class: "card", part: "diagnostics" },
      h("h3", null, this.t("local_checks")),
      h(
        "ul",
        { class: "list checks" },
        checks.map((each) =>
          h(
            "li",
            { key: each.check, "data-ok": String(each.ok), "data-code": each.code },
            h("span", { class: each.ok ? "yes" : "no" }, icon(each.ok ? "done" : "close")),
            h("div", { class: "stack grow" }, h("span", null, this.t(`check_${each.check}`)), each.ok ? null : h("span", { class: "soft small" }, this.t(`fix_${each.check}`)), each.detail && (!each.ok || each.check === "bridge" || each.check === "gateway") ? h("span", { class: "soft mono" }, each.detail) : null),
          ),
        ),
      ),
    );
  }

  #registered(endpoints: LocalEndpoint[]): Node_ {
    const remove = (id: string): void => void this.#act(id, async (faucet) => faucet.local.endpoints.remove(id));
    const wanted = this.#unregistered(endpoints);
    return h(
      "div",
      { key: "registered", class: "stack", part: "endpoints" },
      h("h3", null, this.t("local_endpoints")),
      endpoints.length === 0 ? h("p", { class: "soft small" }, `${this.t("local_endpoints_none")} ${this.t("local_register_text")}`) : null,
      h(
        "ul",
        { class: "list" },
        endpoints.map((each) =>
          h(
            "li",
            { key: each.id, part: "endpoint" },
            h("div", { class: "name" }, each.name, h("div", { class: "soft mono" }, each.models.map((model) => model.id).join(", ") || each.base_url)),
            h("button", { class: "quiet", type: "button", part: "remove", disabled: this.#busy === each.id, "aria-label": `${this.t("remove")}: ${each.name}`, onclick: () => remove(each.id) }, icon("clear"), this.t("remove")),
          ),
        ),
      ),
      wanted.length > 0 ? h("div", { class: "row" }, h("button", { class: "button small", type: "button", part: "register", disabled: this.#busy === "register", onclick: () => void this.#register(wanted) }, icon("plus"), this.t("local_register"))) : null,
    );
  }

  /** Return what the bridge offers and the app has not been told of. */
  #unregistered(endpoints: LocalEndpoint[]): NewLocalEndpoint[] {
    const bridge = this.#bridge;
    if (!bridge?.paired || bridge.models.length === 0) return [];
    const known = new Set(endpoints.flatMap((each) => each.models.map((model) => model.id)));
    const models = bridge.models.filter((model) => !known.has(model.id));
    if (models.length === 0) return [];
    const kinds = new Map<EndpointKind, NewLocalEndpoint>();
    for (const model of models) {
      const kind = model.kind ?? "openai_compatible";
      const about = { id: model.id, ...(model.context_window ? { context_window: model.context_window } : {}), ...(model.capabilities ? { capabilities: model.capabilities } : {}) };
      const endpoint = kinds.get(kind) ?? { name: `${bridge.name} · ${kind}`, kind, base_url: `${bridge.url}/v1`, models: [] };
      endpoint.models.push(about);
      kinds.set(kind, endpoint);
    }
    return [...kinds.values()];
  }

  async #register(endpoints: NewLocalEndpoint[]): Promise<void> {
    await this.#act("register", async (faucet) => {
      for (const each of endpoints) await faucet.local.endpoints.add(each);
      await faucet.session({ refresh: true });
    });
  }

  #buttons(): Node_ {
    const look = (): void => {
      this.#state = "looking";
      this.#checks = null;
      this.draw();
      void this.refresh();
    };
    const check = (): void =>
      void this.#act("check", async (faucet) => {
        this.#checks = await faucet.local.diagnostics();
      });
    const leave = (): void => void this.#act("unpair", async (faucet) => faucet.local.unpair());
    return h(
      "div",
      { key: "buttons", class: "row" },
      this.#state === "none" ? h("button", { key: "look", class: "button main", type: "button", part: "look", onclick: look }, icon("search"), this.t("local_look")) : null,
      h("button", { key: "check", class: "button small", type: "button", part: "check", disabled: this.#busy === "check", onclick: check }, this.t("local_check")),
      this.#state === "connected" ? h("button", { key: "unpair", class: "button small", type: "button", part: "unpair", disabled: this.#busy === "unpair", onclick: leave }, this.t("local_disconnect")) : null,
    );
  }

  async #act(what: string, act: (faucet: Faucet) => Promise<unknown>): Promise<void> {
    const faucet = this.faucet;
    if (faucet === null || this.#busy !== "") return;
    this.#busy = what;
    this.draw();
    try {
      await act(faucet);
      this.#busy = "";
      await this.refresh(faucet);
    } catch (error) {
      this.fail(error);
    }
    this.#busy = "";
    this.draw();
  }

  #copyButton(text: string): Node_ {
    const done = this.#copied === text;
    const name = done ? this.t("copied") : `${this.t("copy")}: ${text}`;
    const copy = async (): Promise<void> => {
      await navigator.clipboard.writeText(text).catch(() => null);
      this.#copied = text;
      this.draw();
      setTimeout(() => {
        this.#copied = "";
        this.draw();
      }, 1600);
    };
    return h("button", { class: "quiet", type: "button", part: "copy", "aria-label": name, title: this.t("copy"), onclick: () => void copy() }, icon(done ? "done" : "copy"));
  }
}

/** Whether a bridge's endpoint answers, as far as the bridge has found out: it tells so in `ok`, or in `health`. */
function servesOf(endpoint: BridgeStatus["endpoints"][number]): boolean | null {
  if (typeof endpoint.ok === "boolean") return endpoint.ok;
  const state = (endpoint["health"] as { state?: unknown } | undefined)?.state;
  return state === "up" ? true : state === "down" ? false : null;
}
