import type { Faucet, Fee, Fees, ProviderKey, ProviderKeySettings } from "../types.js";
import { COMMON, FaucetElement } from "./element.js";
import { money } from "./format.js";
import { icon } from "./icons.js";
import { h, type Child, type Node_ } from "./view.js";
import type { Word } from "./words.js";

const CSS = `
.keys { display: grid; gap: 0.6rem; }
.key .title { display: flex; flex-wrap: wrap; align-items: center; gap: 0.25rem 0.55rem; }
.key .actions { display: flex; flex-wrap: wrap; gap: 0.1rem; margin: -0.2rem 0 -0.3rem -0.35rem; }
.key.paused h3, .key.paused .facts-line { opacity: 0.7; }
.facts-line { display: flex; flex-wrap: wrap; gap: 0.1rem 0.9rem; }
.danger { color: var(--_bad); }
form.card { background: var(--_surface); }
`;
const TONES: Record<string, readonly [tone: string, word: Word]> = {
  ok: ["good", "byok_ok"],
  restricted: ["good", "byok_restricted"],
  not_supported: ["", "byok_unproven"],
  never: ["", "byok_unproven"],
  auth_failed: ["bad", "byok_failed"],
  refused_address: ["bad", "byok_failed"],
  unreachable: ["warn", "byok_unreachable"],
  unclear: ["warn", "byok_unproven"],
};

type Missing = "provider" | "secret" | "fee" | null;

/** An end user's own keys for model providers. A key goes to the gateway once; it is kept nowhere in the page. */
export class FaucetByok extends FaucetElement {
  static override get observedAttributes(): string[] {
    return [...COMMON, "heading"];
  }
  protected static override readonly css = CSS;

  #keys: ProviderKey[] | null = null;
  #fees: Fees | null = null;
  #anonymous = false;
  #adding = false;
  #provider = "";
  #missing: Missing = null;
  #busy = "";
  #editing = "";
  #removing = "";
  #said = "";

  protected override begin(faucet: Faucet): void {
    void this.refresh(faucet);
  }

  /** Fetch the keys again. */
  async refresh(faucet = this.faucet): Promise<void> {
    if (faucet === null) return;
    try {
      const session = await faucet.session();
      this.#anonymous = session.assurance === "anonymous";
      const [keys, fees] = await Promise.all([this.#anonymous ? null : faucet.keys.list({ limit: 200 }), faucet.fees.list()]);
      this.#keys = inOrder(keys?.data ?? []);
      this.#fees = fees;
      this.problem = null;
    } catch (error) {
      this.fail(error);
    }
    this.draw();
  }

  get #fee(): Fee | null {
    return this.#fees?.fees.find((fee) => fee.mode === "byok") ?? null;
  }

  protected override view(): Child {
    const keys = this.#keys;
    const add = h("button", { key: "add", class: "button small", type: "button", part: "add", onclick: () => this.#open() }, icon("plus"), this.t("byok_add"));
    const reload = h("button", { class: "button small", type: "button", part: "retry", onclick: () => void this.refresh() }, this.t("retry"));
    return h(
      "section",
      { class: "panel", part: "panel", "aria-label": this.headingText ?? this.t("byok") },
      h(
        "div",
        { class: "pad" },
        this.heading(this.t("byok"), this.t("byok_text"), keys && !this.#anonymous && !this.#adding ? add : null),
        this.problemView(this.problem, keys === null ? reload : null),
        this.#said ? h("div", { key: "said", class: "notice good", part: "notice" }, icon("done"), h("div", null, this.#said)) : null,
        this.#adding ? this.#form() : null,
        keys === null && !this.problem ? this.loadingView(2) : null,
        keys && this.#anonymous ? h("p", { class: "empty", part: "empty" }, this.t("p_proof_text")) : null,
        keys && !this.#anonymous && keys.length === 0 && !this.#adding ? h("p", { class: "empty", part: "empty" }, this.t("byok_none")) : null,
        keys && keys.length > 0 ? h("ul", { key: "keys", class: "keys", part: "keys" }, keys.map((key) => this.#key(key))) : null,
      ),
    );
  }

  #open(): void {
    this.#adding = true;
    this.#said = "";
    this.#missing = null;
    this.problem = null;
    this.#provider = "";
    this.drawNow();
    this.find<HTMLSelectElement>("#provider")?.focus();
  }

  #close(): void {
    this.#adding = false;
    this.#missing = null;
    this.drawNow();
    this.find('[part="add"]')?.focus();
  }

  #form(): Node_ {
    const fee = this.#fee;
    const chosen = this.#fees?.providers.find((each) => each.id === this.#provider) ?? null;
    const missing = (field: Missing): string | null => (this.#missing === field ? "true" : null);
    const hint = (id: string, text: string, bad = false): Node_ => h("span", { id, class: bad ? "small danger" : "soft small" }, text);
    return h(
      "form",
      { key: "form", class: "card", part: "form", novalidate: true, autocomplete: "off", onsubmit: (event: Event) => void this.#add(event) },
      h("h3", null, this.t("byok_add")),
      h(
        "div",
        { class: "field" },
        h("label", { for: "provider" }, this.t("byok_provider")),
        h(
          "select",
          { id: "provider", class: "input", part: "provider", required: true, "aria-invalid": missing("provider"), "aria-describedby": "provider-text", ".value": this.#provider, onchange: (event: Event) => this.#choose(event) },
          h("option", { value: "" }, this.t("byok_choose")),
          (this.#fees?.providers ?? []).map((each) => h("option", { value: each.id }, each.name)),
        ),
        this.#missing === "provider" ? hint("provider-text", this.t("byok_required"), true) : null,
        chosen ? this.#about(chosen) : null,
      ),
      h(
        "div",
        { class: "field" },
        h("label", { for: "secret" }, this.t("byok_secret")),
        h("input", { id: "secret", class: "input mono", part: "secret", type: "password", required: true, autocomplete: "off", autocapitalize: "off", spellcheck: "false", "data-1p-ignore": true, "data-lpignore": "true", "aria-invalid": missing("secret"), "aria-describedby": "secret-text" }),
        this.#missing === "secret" ? hint("secret-text", this.t("byok_required"), true) : hint("secret-text", this.t("byok_secret_text")),
      ),
      h("div", { class: "fields" }, this.#text("label", this.t("byok_label"), this.t("byok_label_text")), this.#text("budget", this.t("byok_budget"), this.t("byok_budget_text"), "")),
      fee ? this.#disclosure(fee) : null,
      h(
        "div",
        { class: "row" },
        h("button", { class: "button main", type: "submit", part: "submit", disabled: this.#busy === "add" }, this.t(this.#busy === "add" ? "byok_checking" : "byok_submit")),
        h("button", { class: "button", type: "button", part: "cancel", onclick: () => this.#close() }, this.t("cancel")),
      ),
    );
  }

  #about(provider: Fees["providers"][number]): Node_ {
    const terms = provider.terms_url;
    return h(
      "span",
      { id: "provider-text", class: "soft small" },
      provider.notice ? `${provider.notice} ` : null,
      terms && /^https?:/.test(terms) ? h("a", { href: terms, target: "_blank", rel: "noopener" }, this.t("byok_terms", { provider: provider.name })) : null,
    );
  }

  #text(id: string, label: string, about: string, value = "", type = id === "label" ? "text" : "number"): Node_ {
    const numeric = type === "number" ? { inputmode: "decimal", min: "0", step: id === "priority" ? "1" : "0.01" } : { maxlength: 100 };
    return h(
      "div",
      { class: "field" },
      h("label", { for: id }, label),
      h("input", { id, class: "input", part: "input", type, autocomplete: "off", "aria-describedby": `${id}-text`, value, ...numeric }),
      h("span", { id: `${id}-text`, class: "soft small" }, about),
    );
  }

  #disclosure(fee: Fee): Node_ {
    const free = Number(fee.fee_usd) === 0;
    const amount = free ? this.t("fee_none") : money(fee.fee_usd, this.language);
    return h(
      "div",
      { class: "notice", part: "disclosure" },
      icon("info"),
      h(
        "div",
        null,
        h("strong", null, this.t("byok_disclosure")),
        h("span", null, fee.text),
        fee.acknowledged
          ? null
          : h("label", { class: "check" }, h("input", { id: "fee", type: "checkbox", part: "accept", required: true, "aria-invalid": this.#missing === "fee" ? "true" : null, "aria-describedby": this.#missing === "fee" ? "fee-text" : null }), h("span", null, this.t("byok_accept", { fee: amount }))),
        this.#missing === "fee" ? h("span", { id: "fee-text", class: "small danger", role: "alert" }, this.t("byok_accept_needed")) : null,
      ),
    );
  }

  #choose(event: Event): void {
    this.#provider = (event.target as HTMLSelectElement).value;
    this.#missing = null;
    this.draw();
  }

  #value(id: string): string {
    return this.find<HTMLInputElement>(`#${id}`)?.value.trim() ?? "";
  }

  async #add(event: Event): Promise<void> {
    event.preventDefault();
    const faucet = this.faucet;
    if (faucet === null || this.#busy !== "") return;
    const fee = this.#fee;
    const accepted = fee === null || fee.acknowledged || this.find<HTMLInputElement>("#fee")?.checked === true;
    this.#missing = this.#provider === "" ? "provider" : this.#value("secret") === "" ? "secret" : accepted ? null : "fee";
    if (this.#missing !== null) {
      this.drawNow();
      this.find(`#${this.#missing}`)?.focus();
      return;
    }
    this.#busy = "add";
    this.problem = null;
    this.draw();
    const budget = this.#value("budget");
    try {
      const added = await faucet.keys.add({
        provider: this.#provider,
        secret: this.#value("secret"),
        ...(this.#value("label") ? { label: this.#value("label") } : {}),
        ...(budget ? { monthly_budget_usd: budget } : {}),
        ...(fee && !fee.acknowledged ? { acknowledge_fee_usd: fee.fee_usd } : {}),
      });
      this.#adding = false;
      this.#tell(this.t("byok_added", { hint: added.hint }));
      const { fee: _told, ...key } = added;
      this.tell("faucet-key-added", { key });
      await this.#changed(faucet);
    } catch (error) {
      this.fail(error);
      if ((error as { code?: string }).code === "fee_changed") this.#fees = await faucet.fees.list().catch(() => this.#fees);
    } finally {
      const secret = this.find<HTMLInputElement>("#secret");
      if (secret) secret.value = ""; // whatever came of it, it does not stay here
      this.#busy = "";
      this.draw();
    }
  }

  /** Fetch what a change may have changed: the keys, and which modes there are. */
  async #changed(faucet: Faucet): Promise<void> {
    await Promise.all([this.refresh(faucet), faucet.session({ refresh: true }).catch(() => null)]);
  }

  #tell(text: string): void {
    this.#said = text;
    this.announce(text);
  }

  #key(key: ProviderKey): Node_ {
    const name = this.#fees?.providers.find((each) => each.id === key.provider)?.name ?? key.provider;
    const paused = key.status !== "active";
    const [tone, word] = paused ? (["", "byok_paused"] as const) : key.failing_since ? (["bad", "byok_failed"] as const) : (TONES[key.validation.result] ?? (["", "byok_unproven"] as const));
    const busy = this.#busy === key.id;
    const action = (part: string, drawing: string, text: Word, act: () => void, danger = false): Node_ => h("button", { class: danger ? "quiet danger" : "quiet", type: "button", part, disabled: busy, "aria-label": `${this.t(text)}: ${key.label}`, onclick: act }, icon(drawing), this.t(text));
    return h(
      "li",
      { key: key.id, class: paused ? "card key paused" : "card key", part: "key" },
      h("div", { class: "title" }, h("h3", { class: "grow" }, key.label === key.provider ? name : key.label), h("span", { class: `badge ${tone}`, part: "state" }, this.t(word))),
      h(
        "p",
        { class: "soft small facts-line" },
        key.label === key.provider ? null : h("span", null, name),
        h("span", null, this.t("byok_hint", { hint: `••${key.hint}` })),
        h("span", null, this.t("byok_order", { priority: key.priority })),
      ),
      key.validation.warning && !paused ? h("p", { class: "small soft" }, key.validation.warning) : null,
      key.monthly_budget ? this.#budget(key.monthly_budget) : null,
      this.#editing === key.id ? this.#edit(key) : null,
      this.#removing === key.id ? this.#sure(key) : null,
      this.#editing === key.id || this.#removing === key.id
        ? null
        : h(
            "div",
            { class: "actions" },
            action("validate", "retry", "byok_validate", () => void this.#act(key, (faucet) => faucet.keys.validate(key.id))),
            action("edit", "edit", "byok_edit", () => this.#begin(key, "edit")),
            action("pause", paused ? "auto" : "stop", paused ? "byok_resume" : "byok_pause", () => void this.#act(key, (faucet) => faucet.keys.update(key.id, { status: paused ? "active" : "disabled" }))),
            action("remove", "clear", "remove", () => this.#begin(key, "remove"), true),
          ),
    );
  }

  #budget(budget: NonNullable<ProviderKey["monthly_budget"]>): Node_ {
    const [spent, limit] = [Number(budget.spent_usd), Number(budget.limit_usd)];
    const part = limit > 0 ? Math.min(spent / limit, 1) : 0;
    const text = this.t("byok_spent", { spent: money(budget.spent_usd, this.language), limit: money(budget.limit_usd, this.language) });
    return h(
      "div",
      { class: "stack" },
      h("svg", { class: part > 0.8 ? "meter warn" : "meter", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, h("rect", { width: 100, height: 6 }), h("rect", { width: part * 100, height: 6 })),
      h("span", { class: "soft small number" }, text),
    );
  }

  #begin(key: ProviderKey, what: "edit" | "remove"): void {
    this.#editing = what === "edit" ? key.id : "";
    this.#removing = what === "remove" ? key.id : "";
    this.#said = "";
    this.drawNow();
    this.find(what === "edit" ? "#label" : '[part~="confirm"]')?.focus();
  }

  #sure(key: ProviderKey): Node_ {
    const remove = async (): Promise<void> => {
      await this.#act(key, async (faucet) => faucet.keys.remove(key.id), this.t("byok_removed"));
      this.tell("faucet-key-removed", { id: key.id });
    };
    return h(
      "div",
      { class: "notice bad", role: "group", "aria-label": this.t("byok_remove_sure") },
      icon("alert"),
      h("div", null, h("span", null, this.t("byok_remove_sure")), h("div", { class: "row" }, h("button", { class: "button bad small", type: "button", part: "confirm", onclick: () => void remove() }, this.t("remove")), h("button", { class: "button small", type: "button", part: "cancel", onclick: () => this.#leave() }, this.t("cancel")))),
    );
  }

  #edit(key: ProviderKey): Node_ {
    const save = (event: Event): void => {
      event.preventDefault();
      const [label, order, budget] = ["label", "priority", "budget"].map((id) => this.#value(id));
      const settings: ProviderKeySettings = { monthly_budget_usd: budget || null };
      if (label) settings.label = label;
      if (order && Number.isInteger(Number(order))) settings.priority = Number(order);
      void this.#act(key, (faucet) => faucet.keys.update(key.id, settings), this.t("byok_saved"));
    };
    const budget = key.monthly_budget_usd === null ? "" : String(Number(key.monthly_budget_usd));
    return h(
      "form",
      { class: "stack", part: "form", onsubmit: save },
      h("div", { class: "fields" }, this.#text("label", this.t("byok_label"), this.t("byok_label_text"), key.label), this.#text("priority", this.t("byok_priority"), this.t("byok_priority_text"), String(key.priority)), this.#text("budget", this.t("byok_budget"), this.t("byok_budget_text"), budget)),
      h("div", { class: "row" }, h("button", { class: "button main small", type: "submit", part: "submit", disabled: this.#busy !== "" }, this.t("save")), h("button", { class: "button small", type: "button", part: "cancel", onclick: () => this.#leave() }, this.t("cancel"))),
    );
  }

  #leave(): void {
    const id = this.#editing || this.#removing;
    this.#editing = this.#removing = "";
    this.drawNow();
    const at = (this.#keys ?? []).findIndex((key) => key.id === id);
    this.shadowRoot?.querySelectorAll<HTMLElement>('[part="edit"]')[at]?.focus();
  }

  async #act(key: ProviderKey, act: (faucet: Faucet) => Promise<unknown>, said = ""): Promise<void> {
    const faucet = this.faucet;
    if (faucet === null) return;
    this.#busy = key.id;
    this.#said = "";
    this.problem = null;
    this.draw();
    try {
      await act(faucet);
      this.#editing = this.#removing = "";
      if (said) this.#tell(said);
      await this.#changed(faucet);
    } catch (error) {
      this.fail(error);
    }
    this.#busy = "";
    this.draw();
  }
}

function inOrder(keys: ProviderKey[]): ProviderKey[] {
  return [...keys].sort((a, b) => a.priority - b.priority || b.created_at.localeCompare(a.created_at));
}
