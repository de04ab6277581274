import type { Faucet, Fee, Mode, RouteMode, Session } from "../types.js";
import { COMMON, FaucetElement } from "./element.js";
import { money } from "./format.js";
import { icon } from "./icons.js";
import { modeIcon, modeWord } from "./modes.js";
import { h, type Child, type Node_ } from "./view.js";

const CSS = `
.choices { display: grid; gap: 0.5rem; }
.choice { display: grid; grid-template-columns: auto minmax(0, 1fr) auto; gap: 0.1rem 0.7rem; align-items: start; padding: 0.7rem 0.85rem; border: 1px solid var(--_line); border-radius: calc(var(--_radius) * 0.8); font-weight: 400; cursor: pointer; transition: border-color 0.12s, background 0.12s; }
.choice:hover { background: var(--_sunken); }
.choice.chosen { border-color: var(--_accent); background: var(--_wash); }
.choice:has(:focus-visible) { outline: 2px solid var(--_accent); outline-offset: 2px; }
.choice input { outline: none; margin-top: 0.22em; }
.choice .name { display: flex; align-items: center; gap: 0.45rem; font-size: 1.0667rem; font-size: 1.1em; font-weight: 560; }
.choice .name .icon { color: var(--_accent); }
.choice .about { grid-column: 2 / -1; color: var(--_soft); font-size: 1em; }
.choice.chosen .about { color: var(--_ink); }
.choice .fee { font-size: 0.9333em; color: var(--_soft); white-space: nowrap; padding-top: 0.1em; }
.choice.chosen .fee { color: var(--_ink); }
@container (max-width: 24rem) { .choice .fee { grid-column: 2 / -1; grid-row: 3; } }
`;

/** Where answers come from: the app's credit, a key of one's own, or this device; only what is there. */
export class FaucetMode extends FaucetElement {
  static override get observedAttributes(): string[] {
    return [...COMMON, "heading", "no-auto", "look-for-bridge"];
  }
  protected static override readonly css = CSS;

  /** Also what only waits for its fee to be accepted, or is reached by this page alone. */
  #available: RouteMode[] | null = null;
  #looking = false;
  #fees: Fee[] = [];
  #asked: Fee | null = null;
  #busy = false;

  /** The modes that can be chosen now. */
  get available(): Mode[] {
    const found = new Set<Mode>();
    for (const mode of this.#available ?? []) found.add(mode === "developer_key" ? "platform" : mode);
    const modes = (["platform", "byok", "local"] as const).filter((mode) => found.has(mode));
    return modes.length > 1 && !this.hasAttribute("no-auto") ? ["auto", ...modes] : modes;
  }

  protected override begin(faucet: Faucet): void {
    this.listen("mode", () => this.draw());
    this.listen("session", ({ session }) => {
      if (!this.#looking) void this.#look(faucet, session).catch(() => null); // a key or an endpoint may have come or gone
    });
    void this.refresh(faucet);
  }

  /** Look again at what is available. */
  async refresh(faucet = this.faucet): Promise<void> {
    if (faucet === null) return;
    this.problem = null;
    this.#looking = true;
    try {
      await this.#look(faucet, await faucet.session({ refresh: this.#available !== null }));
    } catch (error) {
      this.fail(error);
    }
    this.#looking = false;
    this.draw();
  }

  async #look(faucet: Faucet, session: Session): Promise<void> {
    const modes = session.available_modes;
    const { fees } = await faucet.fees.list();
    const more = session.assurance === "anonymous" ? [] : await withheldFrom(faucet, modes, fees);
    if (!modes.includes("local") && (await this.#reachesBridge(faucet))) more.push("local");
    this.#available = [...modes, ...more];
    this.#fees = fees;
    this.#asked = fees.find((each) => each.mode === this.#asked?.mode && !each.acknowledged) ?? null;
    this.draw();
  }

  /** Whether this page reaches a bridge by itself. Looking makes some browsers ask the user, so only where that is wished. */
  async #reachesBridge(faucet: Faucet): Promise<boolean> {
    if (faucet.mode !== "local" && !this.hasAttribute("look-for-bridge")) return false;
    const status = await faucet.local.status().catch(() => null);
    return status?.paired === true && status.models.length > 0;
  }

  protected override view(): Child {
    const reload = h("button", { class: "button small", type: "button", part: "retry", onclick: () => void this.refresh() }, this.t("retry"));
    return h(
      "section",
      { class: "panel", part: "panel" },
      h("div", { class: "pad" }, this.problemView(this.problem, reload), this.#available === null && !this.problem ? this.loadingView(3) : null, this.#available && this.#choices()),
    );
  }

  #choices(): Child {
    const modes = this.available;
    const current = this.faucet?.mode ?? "auto";
    const chosen = modes.includes(current) ? current : modes.length === 1 ? modes[0] : null;
    return [
      h("h2", { id: "title", part: "heading" }, this.headingText ?? this.t("modes")),
      modes.length === 0 ? h("p", { class: "empty" }, this.t("modes_none")) : null,
      h("div", { class: "choices", role: "radiogroup", "aria-labelledby": "title", part: "choices" }, modes.map((mode) => this.#choice(mode, mode === chosen))),
      modes.length === 1 ? h("p", { class: "soft small" }, this.t("mode_only")) : null,
      this.#asked && this.#consent(this.#asked),
    ];
  }

  #choice(mode: Mode, chosen: boolean): Node_ {
    const shown = this.#asked ? this.#asked.mode === mode : chosen;
    return h(
      "label",
      { key: mode, class: shown ? "choice chosen" : "choice", part: shown ? "choice choice-chosen" : "choice" },
      h("input", {
        type: "radio",
        name: "mode",
        value: mode,
        ".checked": shown,
        disabled: this.#busy,
        "aria-describedby": `about-${mode} fee-${mode}`,
        onchange: () => this.#choose(mode),
      }),
      h("span", { class: "name" }, icon(modeIcon(mode)), this.t(modeWord(mode))),
      h("span", { class: "fee number", id: `fee-${mode}`, part: "fee" }, this.#feeText(mode)),
      h("span", { class: "about", id: `about-${mode}` }, this.t(`mode_${mode}_text`)),
    );
  }

  #fee(mode: Mode): Fee | null {
    return this.#fees.find((fee) => fee.mode === mode) ?? null;
  }

  #feeText(mode: Mode): string {
    const fee = this.#fee(mode);
    if (fee === null) return "";
    if (Number(fee.fee_usd) === 0) return this.t("fee_none");
    return this.t("fee_each", { fee: money(fee.fee_usd, this.language) });
  }

  #choose(mode: Mode): void {
    const fee = this.#fee(mode);
    this.#asked = fee !== null && !fee.acknowledged ? fee : null;
    if (this.#asked === null) this.#switch(mode);
    this.draw();
  }

  #switch(mode: Mode): void {
    if (!this.tell("faucet-mode", { mode }, true)) return;
    this.faucet?.setMode(mode);
    this.announce(this.t(modeWord(mode)));
  }

  #consent(fee: Fee): Node_ {
    return h(
      "div",
      { key: "consent", class: "notice", part: "consent", role: "group", "aria-label": this.t("fee_title") },
      icon("info"),
      h(
        "div",
        null,
        h("strong", null, this.t("fee_title")),
        h("span", null, fee.text),
        h(
          "div",
          { class: "row" },
          h("button", { class: "button main small", type: "button", part: "accept", disabled: this.#busy, onclick: () => void this.#accept(fee) }, this.t("fee_accept")),
          h("button", { class: "button small", type: "button", part: "cancel", onclick: () => this.#decline() }, this.t("cancel")),
        ),
      ),
    );
  }

  async #accept(fee: Fee): Promise<void> {
    const { faucet } = this;
    this.#busy = true;
    this.draw();
    try {
      await faucet?.fees.accept(fee.mode, fee.fee_usd);
      this.#fees = this.#fees.map((each) => (each === fee ? { ...each, acknowledged: true } : each));
      this.#asked = null;
      this.problem = null;
      await faucet?.session({ refresh: true });
      this.#switch(fee.mode);
    } catch (error) {
      this.fail(error);
      if (faucet && (error as { code?: string }).code === "fee_changed") await this.#look(faucet, await faucet.session()).catch(() => null);
    } finally {
      this.#busy = false;
      this.draw();
    }
  }

  #decline(): void {
    this.#asked = null;
    this.draw();
  }
}

/** Return the modes that are not available only because their fee was not accepted yet. */
async function withheldFrom(faucet: Faucet, available: RouteMode[], fees: Fee[]): Promise<RouteMode[]> {
  const has = {
    byok: async () => (await faucet.keys.list({ limit: 200 })).data.some((key) => key.status === "active"),
    local: async () => (await faucet.local.endpoints.list({ limit: 1 })).data.length > 0,
  };
  const asked = fees.filter((fee) => !fee.acknowledged && !available.includes(fee.mode));
  const found = await Promise.all(asked.map(async (fee) => ((await has[fee.mode]().catch(() => false)) ? fee.mode : null)));
  return found.filter((mode) => mode !== null);
}
