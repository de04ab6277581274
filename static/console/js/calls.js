// The table of the visitor's last calls.

import { format, nano, placesOf } from "./money.js";
import { element, say } from "./strings.js";

const PARTS = ["cost", "developer", "platform"];
const at = (id) => document.getElementById(id);

export class Calls {
  #shown = "";
  #labels = [...document.querySelectorAll("#calls-table thead th")].map((heading) => heading.textContent);

  /** Show the visitor's latest calls and the sums over all of them. */
  show(visitor) {
    const news = JSON.stringify([visitor.latest, visitor.totals]);
    if (news === this.#shown) return;
    this.#shown = news;
    const none = visitor.latest.length === 0;
    at("calls-empty").hidden = !none;
    at("calls-table").hidden = none;
    const all = [visitor.totals, ...visitor.latest.map((call) => call.split ?? call)];
    const names = ["price", ...PARTS];
    const places = Math.max(...all.flatMap((one) => names.map((name) => placesOf(nano(one[`${name}_usd`] ?? 0)))));
    const amount = (usd) => (usd === undefined ? "…" : format(nano(usd), places));
    at("calls-rows").replaceChildren(...visitor.latest.map((call) => this.#row(call, amount)));
    at("calls-count").textContent = say("sum", { count: visitor.calls });
    for (const name of names) at(`total-${name}`).textContent = amount(visitor.totals[`${name}_usd`]);
  }

  #row(call, amount) {
    const id = element("code", "id", call.request_id);
    id.title = call.request_id;
    const state = call.rated ? call.outcome : "pending";
    const cells = [
      element("th", "", id, element("span", "note", call.model)),
      element("td", "number", `${call.input_tokens} → ${call.output_tokens}`),
      element("td", "number", amount(call.price_usd)),
      ...PARTS.map((part) => element("td", "number", amount(call.split?.[`${part}_usd`]))),
      element("td", "", element("span", `state ${state}`, say(state))),
    ];
    cells[0].scope = "row";
    cells.forEach((cell, place) => {
      cell.dataset.label = this.#labels[place];
    });
    return element("tr", "", ...cells);
  }
}
