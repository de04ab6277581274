import type { Faucet, Receipt, UsageList, UsageRow } from "../types.js";
import { COMMON, FaucetElement } from "./element.js";
import { count, day, moment, money } from "./format.js";
import { icon } from "./icons.js";
import { modeWord } from "./modes.js";
import { h, type Child, type Node_ } from "./view.js";

const CSS = `
.chart { display: block; width: 100%; height: 3.75rem; }
.chart rect { fill: var(--_accent); } .chart rect.none { fill: var(--_line); }
.days { display: flex; justify-content: space-between; color: var(--_soft); font-size: 0.8em; }
figure { display: grid; gap: 0.3rem; }
.total { font-size: 1.1em; font-weight: 600; }
td .quiet { margin-inline-end: -0.35rem; color: var(--_accent); font-variant-numeric: tabular-nums; }
.model { display: block; overflow-wrap: anywhere; }
td.open { padding: 0; border-top: 0; }
.receipt { margin-bottom: 0.6rem; padding: 0.6rem 0.85rem; border-radius: calc(var(--_radius) * 0.64); background: var(--_sunken); }
@container (max-width: 30rem) { .tokens { display: none; } }
`;
const DAYS = 14;
/** The chart's own units. */
const BAR = 10;
const GAP = 3;
const HEIGHT = 60;

/** The latest requests: when, which model, by which route, and what each cost; with a receipt for each. */
export class FaucetUsage extends FaucetElement {
  static override get observedAttributes(): string[] {
    return [...COMMON, "heading", "limit", "no-chart"];
  }
  protected static override readonly css = CSS;

  #rows: UsageRow[] | null = null;
  #totals: UsageList["totals"] | null = null;
  #cursor: string | null = null;
  #receipts = new Map<string, Receipt | null>();
  #open = new Set<string>();
  #busy = false;
  #again: ReturnType<typeof setTimeout> | undefined;

  protected override begin(faucet: Faucet): void {
    const soon = (): void => {
      clearTimeout(this.#again);
      this.#again = setTimeout(() => void this.refresh(faucet), 400); // what was just answered is being written
    };
    this.listen("balance", (event) => {
      if (event.spent_usd !== undefined) soon();
    });
    for (const name of ["faucet-answer", "faucet-result"]) {
      document.addEventListener(name, soon); // what cost nothing is listed as well
      this.until(() => document.removeEventListener(name, soon));
    }
    void this.refresh(faucet);
  }
  protected override end(): void {
    clearTimeout(this.#again);
  }

  /** Fetch the latest requests again. */
  async refresh(faucet = this.faucet): Promise<void> {
    if (faucet === null) return;
    try {
      const page = await faucet.usage.list({ limit: this.#limit });
      this.#rows = page.data;
      this.#totals = page.totals;
      this.#cursor = page.has_more ? page.next_cursor : null;
      this.problem = null;
    } catch (error) {
      this.fail(error);
    }
    this.draw();
  }

  get #limit(): number {
    const asked = Number.parseInt(this.getAttribute("limit") ?? "", 10);
    return asked > 0 ? Math.min(asked, 200) : 20;
  }

  async #more(): Promise<void> {
    if (this.faucet === null || this.#cursor === null) return;
    this.#busy = true;
    this.draw();
    try {
      const page = await this.faucet.usage.list({ limit: this.#limit, cursor: this.#cursor });
      this.#rows = [...(this.#rows ?? []), ...page.data];
      this.#cursor = page.has_more ? page.next_cursor : null;
    } catch (error) {
      this.fail(error);
    }
    this.#busy = false;
    this.draw();
  }

  protected override view(): Child {
    const rows = this.#rows;
    const retry = h("button", { class: "button small", type: "button", part: "retry", onclick: () => void this.refresh() }, this.t("retry"));
    return h(
      "section",
      { class: "panel", part: "panel", "aria-label": this.headingText ?? this.t("usage") },
      h(
        "div",
        { class: "pad" },
        this.heading(this.t("usage"), this.t("usage_text")),
        this.problemView(this.problem, retry),
        rows === null && !this.problem ? this.loadingView(4) : null,
        rows && rows.length === 0 ? h("p", { class: "empty", part: "empty" }, this.t("usage_none")) : null,
        rows && rows.length > 0 ? [this.hasAttribute("no-chart") ? null : this.#chart(rows), this.#table(rows)] : null,
        this.#cursor ? h("button", { class: "button", type: "button", part: "more", disabled: this.#busy, onclick: () => void this.#more() }, this.t("more")) : null,
      ),
    );
  }

  #chart(rows: UsageRow[]): Node_ {
    const days = spendingPerDay(rows);
    const most = Math.max(...days.map((each) => each.price), 1e-12);
    const calls = this.#totals?.calls ?? rows.length;
    const label = (each: SpendingDay): string => this.t(each.calls === 1 ? "usage_day_one" : "usage_day", { day: day(each.date, this.language), price: money(each.price, this.language), count: each.calls });
    const bar = (each: SpendingDay, place: number): Node_ => {
      const height = each.price > 0 ? Math.max(3, (each.price / most) * HEIGHT) : 1.5;
      return h("rect", { x: place * (BAR + GAP), y: HEIGHT - height, width: BAR, height, rx: 1.5, class: each.price > 0 ? "" : "none" }, h("title", null, label(each)));
    };
    const said = `${this.t("usage_chart")}. ${days.filter((each) => each.calls > 0).map(label).join(" ")}`;
    return h(
      "figure",
      { part: "chart" },
      h("figcaption", { class: "total number" }, this.t(calls === 1 ? "usage_total_one" : "usage_total", { price: money(this.#totals?.price_usd, this.language), count: count(calls, this.language) })),
      h("svg", { class: "chart", viewBox: `0 0 ${days.length * (BAR + GAP) - GAP} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": said }, days.map(bar)),
      h("div", { class: "days", "aria-hidden": "true" }, h("span", null, day(days[0]?.date ?? new Date(), this.language)), h("span", null, this.t("usage_chart")), h("span", null, day(days.at(-1)?.date ?? new Date(), this.language))),
    );
  }

  #table(rows: UsageRow[]): Node_ {
    return h(
      "table",
      { part: "table" },
      h("caption", { class: "unseen" }, this.t("usage_text")),
      h(
        "thead",
        null,
        h("tr", null, h("th", { scope: "col" }, this.t("usage_time")), h("th", { scope: "col" }, this.t("model")), h("th", { scope: "col", class: "number tokens" }, this.t("tokens")), h("th", { scope: "col", class: "number" }, this.t("price"))),
      ),
      h("tbody", null, rows.flatMap((row) => this.#row(row))),
    );
  }

  #row(row: UsageRow): Node_[] {
    const time = moment(row.at, this.language);
    const open = this.#open.has(row.request_id);
    const price = Number(row.price_usd) === 0 ? this.t("no_charge") : money(row.price_usd, this.language);
    const line = h(
      "tr",
      { key: row.request_id, part: "call" },
      h("td", { class: "soft small" }, time),
      h("td", null, h("span", { class: "model" }, row.model), h("span", { class: "soft small" }, this.t(modeWord(row.route_mode)))),
      h("td", { class: "number tokens soft" }, count(row.total_tokens, this.language)),
      h("td", { class: "number" }, h("button", { class: "quiet", type: "button", part: "price", "aria-expanded": String(open), "aria-label": `${price}. ${this.t("usage_receipt", { time })}`, onclick: () => void this.#toggle(row) }, price, icon("more"))),
    );
    if (!open) return [line];
    return [line, h("tr", { key: `${row.request_id}+` }, h("td", { class: "open", colspan: 4 }, this.#receipt(row)))];
  }

  async #toggle(row: UsageRow): Promise<void> {
    const id = row.request_id;
    if (!this.#open.delete(id)) this.#open.add(id);
    this.draw();
    if (!this.#open.has(id) || this.#receipts.get(id)) return;
    this.#receipts.set(id, (await this.faucet?.usage.receipt(id).catch(() => null)) ?? null);
    this.tell("faucet-receipt", { request_id: id, receipt: this.#receipts.get(id) });
    this.draw();
  }

  #receipt(row: UsageRow): Node_ {
    const receipt = this.#receipts.get(row.request_id);
    const tokens = this.t("tokens_in_out", { in: count(row.total_tokens - row.output_tokens, this.language), out: count(row.output_tokens, this.language) });
    const ms = receipt?.["duration_ms"];
    const outcome = row.outcome === "finished" ? this.t("outcome_finished") : row.outcome;
    const facts: [string, string | null][] = [
      [this.t("price"), money(row.price_usd, this.language)],
      [this.t("route"), this.t(modeWord(row.route_mode))],
      [this.t("tokens"), row.estimated ? `${tokens} (${this.t("estimated")})` : tokens],
      [this.t("outcome"), receipt && !receipt.charged ? `${outcome} · ${this.t("usage_failed")}` : outcome],
      [this.t("duration"), typeof ms === "number" ? this.t("seconds", { count: (ms / 1000).toFixed(1) }) : null],
      [this.t("request_id"), row.request_id],
    ];
    return h("dl", { class: "facts receipt", part: "receipt" }, facts.map(([name, value]) => (value ? [h("dt", null, name), h("dd", null, value)] : null)));
  }
}

interface SpendingDay {
  date: Date;
  price: number;
  calls: number;
}

/** Return what these calls cost on each of the last days, today last. */
export function spendingPerDay(rows: readonly Pick<UsageRow, "at" | "price_usd">[], now = new Date()): SpendingDay[] {
  const start = (at: Date): number => new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime();
  const days = Array.from({ length: DAYS }, (_, place) => {
    const date = new Date(now.getFullYear(), now.getMonth(), now.getDate() - (DAYS - 1 - place));
    return { date, price: 0, calls: 0 };
  });
  const byStart = new Map(days.map((each) => [each.date.getTime(), each]));
  for (const row of rows) {
    const found = byStart.get(start(new Date(row.at)));
    if (found === undefined) continue;
    found.price += Number(row.price_usd);
    found.calls += 1;
  }
  return days;
}
