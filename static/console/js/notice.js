// What went wrong, in words a visitor can act on.

import { nano, short } from "./money.js";
import { element, say } from "./strings.js";

const box = document.getElementById("notice");
let countdown = 0;

/** Give the keyboard back to the message; a touch screen would cover half the page with its own. */
export function backToMessage() {
  if (!window.matchMedia("(pointer: coarse)").matches) document.getElementById("message").focus({ preventScroll: true });
}

/** Take the notice away. */
export function clear() {
  clearInterval(countdown);
  box.hidden = true;
  box.replaceChildren();
}

/** Show a problem; `retry` and `startOver` are what its button does, where it has one. */
export function show(problem, { retry, startOver }) {
  clear();
  const { title, text, kind = "bad", action = null } = describe(problem, { retry, startOver });
  box.className = `notice ${kind}`;
  box.append(element("p", "title", title), element("p", "", text));
  if (problem.requestId) box.append(element("p", "note", say("request_id", { id: problem.requestId })));
  if (action) box.append(button(action, problem.retryAfter));
  box.hidden = false;
}

function describe(problem, { retry, startOver }) {
  const again = retry ? { label: say("retry"), run: retry } : null;
  const words = (name, values) => ({ title: say(`${name}_title`), text: say(name, values) });
  if (problem.code === "stream_broken") return { ...words("broken"), action: again };
  if (problem.status === 0) return { ...words("offline"), action: again };
  if (problem.status === 200) return { title: say("failed_title"), text: say("failed_midway"), action: again };
  if (problem.code === "demo_not_ready") return words("not_ready");
  if (problem.status === 402) {
    const usd = (value) => (value === undefined ? "–" : short(nano(value)));
    const { max_price_usd: price, available_usd: available } = problem.details;
    const text = say("funds", { price: usd(price), available: usd(available) });
    return { title: say("funds_title"), text, kind: "dry", action: { label: say("new_visitor"), run: startOver } };
  }
  if (problem.status === 429) {
    return { ...words("limit", { seconds: problem.retryAfter ?? 5 }), kind: "calm", action: again };
  }
  if (problem.status === 401 || problem.status === 403) return { ...words("forbidden"), action: again };
  if (problem.status >= 500) return { ...words("failed"), action: again };
  return words("rejected", { message: problem.message });
}

function button({ label, run }, wait) {
  const made = element("button", "button", label);
  made.type = "button";
  made.addEventListener("click", () => {
    clear();
    backToMessage();
    run();
  });
  if (!wait || wait > 120) return made;
  const ends = performance.now() + wait * 1000;
  const tick = () => {
    const left = Math.ceil((ends - performance.now()) / 1000);
    made.disabled = left > 0;
    made.textContent = left > 0 ? `${label} (${left})` : label;
    if (left <= 0) clearInterval(countdown);
  };
  countdown = setInterval(tick, 250);
  tick();
  return made;
}
