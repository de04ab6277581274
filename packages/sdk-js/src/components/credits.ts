import type { Faucet, List, TopUp, Wallet } from "../types.js";
import { COMMON, FaucetElement } from "./element.js";
import { day, moment, money } from "./format.js";
import { icon } from "./icons.js";
import { h, type Child, type Node_ } from "./view.js";
import { isWord, type Word } from "./words.js";

const CSS = `
.amount { font-size: 2em; font-weight: 640; line-height: 1.1; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.amount.low { color: var(--_warn); } .amount.none { color: var(--_bad); }
.presets { display: grid; grid-template-columns: repeat(auto-fit, minmax(3.5rem, 1fr)); gap: 0.4rem; }
.preset { position: relative; display: grid; }
.preset input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: pointer; }
.preset span { display: grid; place-items: center; min-height: 2.6rem; padding: 0.2rem 0.4rem; border: 1px solid var(--_edge); border-radius: calc(var(--_radius) * 0.64); font-size: 1.1em; font-variant-numeric: tabular-nums; }
.preset input:checked + span { border-color: var(--_accent); background: var(--_wash); color: var(--_accent); box-shadow: inset 0 0 0 1px var(--_accent); }
.preset input:focus-visible + span { outline: 2px solid var(--_accent); outline-offset: 2px; }
.preset input:hover + span { background: var(--_sunken); } .preset input:checked:hover + span { background: var(--_wash); }
@media (pointer: coarse) { .preset span { min-height: 2.75rem; } }
.held { padding-top: 0.35rem; }
.lots { display: grid; gap: 0.3rem; padding-top: 0.35rem; }
.lots li { display: flex; justify-content: space-between; gap: 1rem; }
`;
/** Milliseconds between looks at a payment that is under way, and how long to go on looking. */
const LOOK = 3000;
const LOOK_FOR = 20 * 60_000;
/** Milliseconds after which a call that was just answered holds no more than it cost. */
const SETTLE = 600;

/** What is left, what it consists of, and buying more on Stripe's page. */
export class FaucetCredits extends FaucetElement {
  static override get observedAttributes(): string[] {
    return [...COMMON, "heading", "compact", "return-url", "target"];
  }
  protected static override readonly css = CSS;

  #wallet: Wallet | null = null;
  #bought: TopUp[] | null = null;
  #anonymous = false;
  #amount = "";
  #other = "";
  #busy = false;
  #refreshing = false;
  #pending: TopUp | null = null;
  #paid: TopUp | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;

  protected override begin(faucet: Faucet): void {
    this.listen("balance", (event) => {
      const shown = this.#wallet?.available_usd;
      const changed = event.spent_usd !== undefined || (event.available_usd !== undefined && event.available_usd !== shown);
      if (shown === undefined || !changed || this.#refreshing) return;
      clearTimeout(this.#again);
      this.#again = setTimeout(() => void this.refresh(faucet), SETTLE);
    });
    const look = (): void => {
      if (document.visibilityState === "visible" && this.#pending) void this.#look(faucet);
    };
    document.addEventListener("visibilitychange", look);
    this.until(() => document.removeEventListener("visibilitychange", look));
    void this.refresh(faucet);
  }
  protected override end(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#again);
  }

  /** Look again at what is there. */
  async refresh(faucet = this.faucet): Promise<void> {
    if (faucet === null) return;
    this.#refreshing = true; // what it fetches tells of the balance itself
    try {
      const [wallet, session] = await Promise.all([faucet.wallet.get(), faucet.session()]);
      this.#wallet = wallet;
      this.#anonymous = session.assurance === "anonymous";
      this.#amount ||= wallet.top_up.presets_usd[Math.min(1, wallet.top_up.presets_usd.length - 1)] ?? "other";
      this.problem = null;
      if (this.#bought !== null) await this.#history(faucet);
    } catch (error) {
      this.fail(error);
    } finally {
      this.#refreshing = false;
    }
    this.draw();
  }

  async #history(faucet = this.faucet): Promise<void> {
    if (faucet === null) return;
    const none: List<TopUp> = { object: "list", data: [], has_more: false, next_cursor: null };
    this.#bought = (this.#anonymous ? none : await faucet.wallet.topUps({ limit: 20 }).catch(() => none)).data;
    this.draw();
  }

  protected override view(): Child {
    const reload = h("button", { class: "button small", type: "button", part: "retry", onclick: () => void this.refresh() }, this.t("retry"));
    const wallet = this.#wallet;
    return h(
      "section",
      { class: "panel", part: "panel", "aria-label": this.headingText ?? this.t("credits") },
      h(
        "div",
        { class: "pad" },
        wallet ? this.#balance(wallet) : null,
        this.#paid ? this.#thanks(this.#paid) : null,
        wallet ? this.#notices(wallet) : null,
        this.problemView(this.problem, wallet ? null : reload),
        wallet ? this.#buy(wallet) : this.problem ? null : this.loadingView(3),
        wallet && !this.hasAttribute("compact") ? this.#more(wallet) : null,
      ),
    );
  }

  #balance(wallet: Wallet): Node_ {
    const available = Number(wallet.available_usd);
    const low = wallet.notices.some((notice) => notice.kind === "low_balance");
    const size = available <= 0 ? "amount none" : low ? "amount low" : "amount";
    return h(
      "div",
      { class: "head", part: "header" },
      h(
        "div",
        null,
        h("h2", { part: "heading", class: "soft small" }, this.headingText ?? this.t("credits_available")),
        h("p", { class: size, part: "balance" }, money(Math.max(available, 0), this.language)),
      ),
    );
  }

  #notices(wallet: Wallet): Child {
    const notice = (tone: string, drawing: string, text: string): Node_ => h("div", { class: `notice ${tone}`, part: "notice" }, icon(drawing), h("div", null, text));
    if (wallet.frozen) return notice("bad", "alert", this.t("credits_frozen"));
    const low = wallet.notices.some((each) => each.kind === "low_balance");
    return [
      Number(wallet.available_usd) <= 0 ? notice("bad", "alert", this.t("credits_empty")) : low ? notice("warn", "alert", this.t("credits_low")) : null,
      wallet.notices
        .filter((each) => each.kind === "credit_expiring")
        .map((each) => notice("", "info", this.t("credits_expiring", { amount: money(String(each["remaining_usd"] ?? "0"), this.language), date: day(String(each["expires_at"]), this.language) }))),
    ];
  }

  #buy(wallet: Wallet): Child {
    const { enabled, presets_usd, min_usd, max_usd } = wallet.top_up;
    if (wallet.frozen) return null;
    if (!enabled) return h("p", { key: "off", class: "soft small" }, this.t("credits_off"));
    if (this.#anonymous) return h("p", { key: "off", class: "soft small" }, this.t("credits_sign_in"));
    const range = this.t("credits_range", { min: money(min_usd, this.language), max: money(max_usd, this.language) });
    return h(
      "form",
      { key: "buy", class: "stack", part: "form", onsubmit: (event: Event) => this.#submit(event) },
      h(
        "fieldset",
        { class: "stack" },
        h("legend", { class: "label" }, this.t("credits_add")),
        h("div", { class: "presets", part: "presets" }, [...presets_usd, "other"].map((each) => this.#preset(each))),
      ),
      this.#amount === "other"
        ? h(
            "div",
            { key: "other", class: "field" },
            h("label", { for: "other" }, this.t("credits_other_label")),
            h("input", { id: "other", class: "input number", part: "input", type: "number", inputmode: "decimal", step: "0.01", min: min_usd, max: max_usd, required: true, "aria-describedby": "range", ".value": this.#other, oninput: (event: Event) => (this.#other = (event.target as HTMLInputElement).value) }),
            h("span", { id: "range", class: "soft small" }, range),
          )
        : null,
      h("button", { class: "button main", type: "submit", part: "top-up", disabled: this.#busy }, icon("card"), this.t(this.#busy ? "credits_opening" : "credits_continue")),
      this.#pending ? this.#waiting(this.#pending) : null,
    );
  }

  #preset(amount: string): Node_ {
    const text = amount === "other" ? this.t("credits_other") : money(amount, this.language).replace(/[.]00$/, "");
    const choose = (): void => {
      this.#amount = amount;
      this.draw();
    };
    return h("label", { key: amount, class: "preset", part: "preset" }, h("input", { type: "radio", name: "amount", value: amount, ".checked": this.#amount === amount, onchange: choose }), h("span", null, text));
  }

  #submit(event: Event): void {
    event.preventDefault();
    const amount = this.#amount === "other" ? this.#other : this.#amount;
    if (amount !== "" && !this.#busy) void this.#topUp(amount);
  }

  async #topUp(amount: string): Promise<void> {
    const faucet = this.faucet;
    if (faucet === null) return;
    const here = this.getAttribute("target") === "_self";
    // A window that is opened later than in the click itself would be blocked.
    const opened = here ? null : window.open("about:blank", "_blank");
    this.#busy = true;
    this.#paid = null;
    this.problem = null;
    this.draw();
    try {
      const back = this.getAttribute("return-url") ?? (/^https?:/.test(location.href) ? location.href : null);
      const topUp = await faucet.wallet.topUp({ amount_usd: amount, ...(back ? { return_url: back } : {}) });
      this.#pending = topUp;
      this.#leave(topUp, opened, here);
      this.#lookSoon(faucet, Date.now() + LOOK_FOR);
    } catch (error) {
      opened?.close();
      this.fail(error);
    } finally {
      this.#busy = false;
      this.draw();
    }
  }

  /** Send the payer to Stripe's page, unless the app does that itself. */
  #leave(topUp: TopUp, opened: Window | null, here: boolean): void {
    const url = topUp.checkout_url;
    const ours = this.tell("faucet-checkout", { url, top_up: topUp }, true);
    if (url === null || !ours) return opened?.close();
    if (here) location.assign(url);
    else if (opened) {
      opened.opener = null;
      opened.location.replace(url);
    }
  }

  #waiting(topUp: TopUp): Node_ {
    return h(
      "div",
      { key: "waiting", class: "notice", part: "waiting" },
      icon("info"),
      h(
        "div",
        null,
        h("span", null, this.t("credits_opened")),
        topUp.checkout_url ? h("a", { href: topUp.checkout_url, target: "_blank", rel: "noopener", part: "checkout" }, this.t("credits_open_again")) : null,
      ),
    );
  }

  #thanks(topUp: TopUp): Node_ {
    return h("div", { key: "thanks", class: "notice good", part: "paid" }, icon("done"), h("div", null, this.t("credits_paid", { amount: money(topUp.credit_usd, this.language) })));
  }

  #lookSoon(faucet: Faucet, until: number): void {
    clearTimeout(this.#timer);
    if (Date.now() > until) return;
    this.#timer = setTimeout(() => {
      if (document.visibilityState === "hidden") return this.#lookSoon(faucet, until);
      void this.#look(faucet).then((over) => {
        if (!over) this.#lookSoon(faucet, until);
      });
    }, LOOK);
  }

  /** Look at the payment that is under way and return whether it is over. */
  async #look(faucet: Faucet): Promise<boolean> {
    const found = await faucet.wallet.topUps({ limit: 20 }).catch(() => null);
    const now = found?.data.find((each) => each.id === this.#pending?.id);
    if (now === undefined || ["sending", "open", "pending"].includes(now.status)) return this.#pending === null;
    this.#pending = null;
    if (this.#bought !== null) this.#bought = found?.data ?? null;
    await this.refresh(faucet);
    if (now.status === "paid") {
      this.#paid = now;
      this.announce(this.t("credits_paid", { amount: money(now.credit_usd, this.language) }));
      this.tell("faucet-topped-up", { top_up: now });
    } else this.announce(this.t("credits_failed"));
    this.draw();
    return true;
  }

  #more(wallet: Wallet): Child {
    const opened = (event: Event): void => {
      if ((event.target as HTMLDetailsElement).open && this.#bought === null) void this.#history();
    };
    return [
      wallet.credits.length > 0
        ? h(
            "details",
            { key: "what", part: "credits" },
            h("summary", null, icon("more"), this.t("credits_what")),
            h("ul", { class: "lots small" }, wallet.credits.map((credit) => h("li", null, h("span", null, this.#kind(credit.kind), credit.expires_at ? h("span", { class: "soft" }, ` · ${day(credit.expires_at, this.language)}`) : null), h("span", { class: "number" }, money(credit.remaining_usd, this.language))))),
            Number(wallet.held_usd) > 0 ? h("p", { class: "soft small held" }, this.t("credits_held", { amount: money(wallet.held_usd, this.language) })) : null,
          )
        : null,
      h("details", { key: "history", part: "history", ontoggle: opened }, h("summary", null, icon("more"), this.t("credits_history")), this.#bought === null ? h("p", { class: "soft small" }, this.t("loading")) : this.#list(this.#bought)),
    ];
  }

  #kind(kind: string): string {
    const word = `credit_${kind}`;
    return isWord(word) ? this.t(word) : kind;
  }

  #list(bought: TopUp[]): Node_ {
    if (bought.length === 0) return h("p", { class: "empty" }, this.t("credits_history_none"));
    const tone: Partial<Record<TopUp["status"], string>> = { paid: "good", failed: "bad", pending: "warn" };
    return h(
      "ul",
      { class: "lots" },
      bought.map((each) =>
        h(
          "li",
          { key: each.id, class: "small" },
          h("span", null, moment(each.created_at, this.language)),
          h("span", { class: "row" }, h("span", { class: `badge ${tone[each.status] ?? ""}` }, this.t(`top_up_${each.status}` as Word)), h("span", { class: "number" }, money(each.credit_usd, this.language)), each.receipt_url ? h("a", { href: each.receipt_url, target: "_blank", rel: "noopener" }, this.t("credits_receipt")) : null),
        ),
      ),
    );
  }
}
