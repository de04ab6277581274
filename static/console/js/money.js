// Amounts: decimal strings from the server, whole nano-dollars here, digits that move on the page.

const NANO = 1e9;
const LEAST_PLACES = 6;
const DURATION = 650;

/** Return a decimal string such as "0.0006335" in nano-dollars, exactly. */
export function nano(usd) {
  const [, sign, whole, part = ""] = /^(-?)(\d+)(?:\.(\d{1,9}))?$/.exec(usd);
  const amount = Number(whole) * NANO + Number(part.padEnd(9, "0"));
  return sign ? -amount : amount;
}

/** Return how many decimal places an amount needs, six at least. */
export function placesOf(amount) {
  const digits = String(Math.abs(amount) % NANO).padStart(9, "0").replace(/0+$/, "");
  return Math.max(LEAST_PLACES, digits.length);
}

/** Write nano-dollars as "$0.0006335", cut to `places` where they are given. */
export function format(amount, places = placesOf(amount)) {
  const whole = Math.trunc(Math.abs(amount) / NANO);
  const rest = String(Math.abs(amount) % NANO).padStart(9, "0").slice(0, places);
  return `${amount < 0 ? "−" : ""}$${whole}.${rest}`;
}

/** Write an amount in as few places as it needs, cents at least: "$0.50". */
export function short(amount) {
  return format(amount, Math.max(2, String(Math.abs(amount) % NANO).padStart(9, "0").replace(/0+$/, "").length));
}

const still = window.matchMedia("(prefers-reduced-motion: reduce)");

/** Numbers on the page that run to their new amount: every element with data-money="<name>". */
export class Amount {
  #elements;
  #shown = null;
  #places = LEAST_PLACES;
  #frame = 0;

  constructor(name) {
    this.#elements = document.querySelectorAll(`[data-money="${name}"]`);
  }

  /** Show an amount in nano-dollars, in `places` at least, or null for none; run there unless it is the first. */
  show(target, { places = LEAST_PLACES } = {}) {
    cancelAnimationFrame(this.#frame);
    if (target === null) {
      this.#shown = null;
      this.#write("–");
      return;
    }
    this.#places = Math.max(this.#places, places, placesOf(target));
    const from = this.#shown;
    if (from === null || from === target || document.hidden || still.matches) {
      this.#set(target);
      return;
    }
    const started = performance.now();
    const step = (now) => {
      const part = Math.min((now - started) / DURATION, 1);
      this.#set(part === 1 ? target : Math.round(from + (target - from) * (1 - (1 - part) ** 3)));
      if (part < 1) this.#frame = requestAnimationFrame(step);
    };
    this.#frame = requestAnimationFrame(step);
  }

  #set(amount) {
    this.#shown = amount;
    this.#write(format(amount, this.#places));
  }

  #write(text) {
    for (const element of this.#elements) element.textContent = text;
  }
}
