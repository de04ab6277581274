// Beside the chat: balance, the last answer and its split, revenue, and the table of calls. Polls while money moves.

import { state } from "./api.js";
import { Calls } from "./calls.js";
import { Amount, format, nano, placesOf, short } from "./money.js";
import { page, say } from "./strings.js";

const FAST = 600;
const SLOW = 5000;
// An answer that was stopped is settled once the server has drained or given up the model's.
const PATIENCE = 12_000;
// How far the grant fills the tank.
const FULL = 0.88;

const PARTS = ["cost", "developer", "platform"];

const at = (id) => document.getElementById(id);
const granted = nano(page.granted_usd);

/** Return whole percents of `total` that add up to 100: what rounding leaves over goes to the largest remainders. */
function percentsOf(amounts, total) {
  if (total <= 0) return amounts.map(() => 0);
  const exact = amounts.map((amount) => (Math.max(0, amount) / total) * 100);
  const whole = exact.map(Math.floor);
  const order = [...exact.keys()].sort((a, b) => exact[b] - whole[b] - (exact[a] - whole[a]));
  const missing = Math.min(100 - whole.reduce((sum, part) => sum + part, 0), order.length);
  for (const place of order.slice(0, Math.max(missing, 0))) whole[place] += 1;
  return whole;
}

export class Meter {
  #amounts = Object.fromEntries(
    ["balance", "price", "revenue", ...PARTS].map((name) => [name, new Amount(name)]),
  );
  #running = new Set(); // answers whose call is not on the list yet
  #timer = 0;
  #turn = 0;
  #settled = true;
  #moved = performance.now(); // when an answer last ended
  #revenue = null;
  #price = null;
  #calls = new Calls();

  /** `onCalls` is told the latest calls after each look. */
  constructor(onCalls) {
    this.onCalls = onCalls;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.look();
    });
  }

  /** Note that an answer is on its way. Set `requestId` on what is returned, and call `end` with it. */
  begin() {
    const answer = { requestId: null, until: Infinity };
    this.#running.add(answer);
    document.body.classList.add("flowing");
    this.#schedule(120);
    return answer;
  }

  /** Note that an answer ended; `price` in USD where it told it. */
  end(answer, price) {
    this.#moved = performance.now();
    answer.until = this.#moved + (answer.requestId ? PATIENCE : 0);
    document.body.classList.remove("flowing");
    if (price !== null) this.#last(answer.requestId, price);
    this.look();
  }

  /** Ask for the state now. */
  async look() {
    clearTimeout(this.#timer);
    const turn = ++this.#turn;
    try {
      const news = await state();
      if (turn !== this.#turn) return;
      this.#show(news);
      this.#online(true);
    } catch {
      if (turn !== this.#turn) return;
      this.#online(false);
    }
    const hurry = this.#running.size || (!this.#settled && performance.now() < this.#moved + PATIENCE);
    this.#schedule(hurry ? FAST : SLOW);
  }

  #schedule(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (document.hidden ? null : this.look()), wait);
  }

  #show({ visitor, revenue_usd, settled }) {
    this.#settled = settled;
    this.#earn(nano(revenue_usd));
    if (!visitor) return;
    const listed = new Set(visitor.latest.map((call) => call.request_id));
    for (const answer of this.#running) {
      if (listed.has(answer.requestId) || performance.now() > answer.until) this.#running.delete(answer);
    }
    this.#wallet(nano(visitor.available_usd), this.#running.size ? nano(visitor.held_usd) : 0);
    this.#split(visitor.latest);
    this.#calls.show(visitor);
    this.onCalls(visitor.latest);
  }

  #wallet(available, held) {
    const scale = Math.max(granted, available + held) / FULL;
    const percent = (amount) => `${Math.max(0, Math.min(100, (amount / scale) * 100))}%`;
    this.#amounts.balance.show(available + held);
    at("tank-water").style.height = percent(available);
    at("tank-held").style.height = percent(available + held);
    at("wallet-note").textContent = held
      ? say("held", { amount: short(held) })
      : say("granted", { amount: short(granted) });
  }

  #last(requestId, price) {
    if (this.#price?.requestId === requestId) return;
    this.#price = { requestId, split: false }; // split: its parts are shown
    this.#amounts.price.show(nano(price));
    for (const name of PARTS) this.#amounts[name].show(null);
    document.body.classList.add("splitting");
  }

  #split(calls) {
    const call = calls.find((one) => one.charged) ?? calls[0];
    if (!call) {
      this.#price = null;
      at("answer-note").textContent = say("no_answer");
      for (const name of ["price", ...PARTS]) this.#amounts[name].show(null);
      return;
    }
    if (!this.#running.size || call.request_id === this.#price?.requestId) this.#last(call.request_id, call.price_usd);
    if (call.request_id !== this.#price?.requestId) return;
    const { input_tokens: input, output_tokens: output } = call;
    at("answer-note").textContent = say("tokens", { input, output });
    if (call.rated) document.body.classList.remove("splitting");
    if (!call.split || this.#price.split) return;
    this.#price.split = true;
    const amounts = PARTS.map((name) => nano(call.split[`${name}_usd`]));
    const percents = percentsOf(amounts, nano(call.split.price_usd));
    const places = Math.max(...amounts.map(placesOf));
    PARTS.forEach((name, place) => {
      this.#amounts[name].show(amounts[place], { places });
      at(`share-${name}`).style.flexGrow = String(percents[place] / 100);
      at(`percent-${name}`).textContent = percents[place] ? `${percents[place]}%` : "";
    });
  }

  #earn(revenue) {
    const more = this.#revenue === null ? 0 : revenue - this.#revenue;
    this.#revenue = revenue;
    this.#amounts.revenue.show(revenue);
    if (more <= 0) return;
    const plus = at("plus");
    plus.textContent = `+${format(more)}`;
    plus.classList.remove("up");
    void plus.offsetWidth; // starts the animation again
    plus.classList.add("up");
  }

  #online(online) {
    const live = at("live");
    live.hidden = false;
    live.classList.toggle("offline", !online);
    const words = live.lastElementChild;
    words.textContent = online ? words.dataset.online : words.dataset.offline;
  }
}
