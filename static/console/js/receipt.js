// What is under an answer: a line with price, tokens, model and request id, and the whole receipt when asked for.

import { receipt } from "./api.js";
import { format, nano, short } from "./money.js";
import { element, say } from "./strings.js";

export class Receipt {
  element = element("div", "receipt");
  #facts = {};
  #notes = [];
  #whole = new Whole();

  show(facts) {
    Object.assign(this.#facts, facts);
    const { model, usage, price, estimated, requestId } = this.#facts;
    const parts = [];
    if (price !== undefined) {
      const mark = estimated ? ` (${say("estimated")})` : "";
      parts.push(element("strong", "", format(nano(price)) + mark));
    }
    if (usage) parts.push(say("tokens", { input: usage.prompt_tokens, output: usage.completion_tokens }));
    if (model) parts.push(model);
    if (requestId) parts.push(element("code", "id", requestId));
    const pieces = [...parts, ...this.#notes.map((text) => element("em", "", text))];
    this.element.replaceChildren(...pieces.map((piece) => element("span", "", piece)));
    // A call has its receipt once it is settled, which is when its price is known.
    if (requestId && price !== undefined) this.element.append(this.#whole.of(requestId));
  }

  note(text) {
    this.#notes.push(text);
    this.show({});
  }
}

/** The receipt itself, fetched when it is opened. */
class Whole {
  #requestId = null;
  #rows = element("dl", "");
  #problem = element("em", "");
  #element = element("details", "whole", element("summary", "", say("receipt_summary")), this.#rows, this.#problem);

  constructor() {
    this.#element.addEventListener("toggle", () => {
      if (this.#element.open && !this.#rows.hasChildNodes()) this.#fetch();
    });
  }

  of(requestId) {
    this.#requestId = requestId;
    return this.#element;
  }

  async #fetch() {
    this.#problem.textContent = "";
    try {
      const rows = rowsOf(await receipt(this.#requestId));
      this.#rows.replaceChildren(
        ...rows.map(([name, ...values]) =>
          element("div", "", element("dt", "", say(name)), ...values.map((value) => element("dd", "", value))),
        ),
      );
    } catch (error) {
      if (error.status === undefined) throw error;
      this.#problem.textContent = say("receipt_missing");
    }
  }
}

/** Return what is shown of a receipt: [name of the heading, values…]. */
function rowsOf(content) {
  const { tokens, pricing } = content;
  const input = tokens.input + tokens.cache_read + tokens.cache_write;
  const counted = [say("tokens", { input, output: tokens.output })];
  if (tokens.cache_read) counted.push(say("receipt_cached", { count: tokens.cache_read }));
  const rows = [["receipt_route", [say(`mode_${content.route_mode}`), content.provider, content.served_model].join(" · ")]];
  const policy = [content.policy, content.task_class].filter(Boolean).join(" · ");
  if (policy) rows.push(["receipt_policy", element("code", "", policy)]);
  const rejected = content.routing?.rejected ?? [];
  if (rejected.length) {
    rows.push(["receipt_rejected", ...rejected.map((one) => element("code", "", `${one.candidate}: ${one.reason}`))]);
  }
  rows.push(["receipt_tokens", counted.join(" · ")]);
  const { rates, per_request_usd: each } = pricing;
  if (rates) rows.push(["receipt_rates", say("receipt_rates_each", { input: usd(rates.input), output: usd(rates.output) })]);
  else if (each !== null) rows.push(["receipt_rates", say("receipt_fixed", { amount: usd(each) })]);
  rows.push(["receipt_price", element("strong", "", format(nano(content.price_usd)))]);
  return rows;
}

function usd(text) {
  return short(nano(text));
}
