// The conversation: asking, streaming, stopping, receipts.

import { chat, session } from "./api.js";
import { format, nano } from "./money.js";
import * as notice from "./notice.js";
import { write } from "./prose.js";
import { Receipt } from "./receipt.js";
import { element, say } from "./strings.js";

const REMEMBERED = 20; // messages sent along

const at = (id) => document.getElementById(id);

export class Chat {
  #meter;
  #messages = [];
  #stopping = null; // the AbortController of the answer that is streaming
  #receipts = new Map(); // by request id, those whose price is still to come
  #transcript = at("transcript");
  #message = at("message");

  constructor(meter) {
    this.#meter = meter;
    at("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(this.#message.value);
    });
    this.#message.addEventListener("input", () => this.#fit());
    this.#message.addEventListener("keydown", (event) => {
      // While an input method composes, Enter chooses a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.ask(this.#message.value);
    });
    at("stop").addEventListener("click", () => this.stop());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) this.stop();
    });
    this.#fit();
  }

  /** Send a message, unless an answer is on its way. */
  ask(text) {
    if (this.#stopping || !text.trim()) return;
    this.#message.value = "";
    this.#fit();
    at("welcome")?.remove();
    this.#messages.push({ role: "user", content: text.trim() });
    this.#append(element("div", "turn user", element("span", "unseen", `${say("you")}: `), text.trim()));
    this.#answer();
  }

  /** Stop the answer that is streaming. */
  stop() {
    this.#stopping?.abort();
  }

  /** Fill in the receipts of answers that ended without a price. */
  settle(calls) {
    for (const call of calls) {
      const receipt = this.#receipts.get(call.request_id);
      if (!receipt) continue;
      this.#receipts.delete(call.request_id);
      receipt.show({
        model: call.model,
        usage: { prompt_tokens: call.input_tokens, completion_tokens: call.output_tokens },
        price: call.price_usd,
        estimated: call.estimated,
      });
    }
  }

  async #answer() {
    notice.clear();
    const turn = new Turn((draw) => this.#follow(draw));
    this.#append(turn.element);
    this.#stopping = new AbortController();
    this.#busy(true);
    const money = this.#meter.begin();
    let price = null;
    try {
      for await (const part of chat(this.#messages.slice(-REMEMBERED), this.#stopping.signal)) {
        if (part.started) money.requestId = part.started.requestId;
        if (part.price) price = part.price.price_usd;
        turn.take(part);
      }
      this.#follow(() => turn.finish());
      this.#announce(turn.text, say("answered", { price: price === null ? "" : format(nano(price)) }));
    } catch (error) {
      this.#follow(() => turn.finish());
      this.#failed(error, turn);
    }
    if (turn.text) this.#messages.push({ role: "assistant", content: turn.text });
    this.#stopping = null;
    this.#busy(false);
    this.#meter.end(money, price);
  }

  #failed(error, turn) {
    const unpriced = turn.requestId && turn.text;
    if (error.name === "AbortError") {
      turn.note(say(unpriced ? "stopped_note" : "stopped"));
      if (unpriced) this.#receipts.set(turn.requestId, turn.receipt);
      this.#announce(say("stopped"));
      return;
    }
    if (!error.code && error.status === undefined) console.error(error);
    if (error.code === "stream_broken" && turn.requestId) this.#receipts.set(turn.requestId, turn.receipt);
    // What was half said is not part of the conversation: asking again starts at the question.
    turn.discard();
    this.#tell(error, () => this.#answer());
  }

  #tell(problem, retry) {
    notice.show(problem, { retry, startOver: () => this.#startOver() });
    this.#transcript.scrollTop = this.#transcript.scrollHeight; // the notice took some of its room
  }

  async #startOver() {
    try {
      await session({ fresh: true });
    } catch (error) {
      this.#tell(error, () => this.#startOver());
      return;
    }
    this.#answer();
  }

  #busy(busy) {
    const [shown, gone] = busy ? [at("stop"), at("send")] : [at("send"), at("stop")];
    const focused = document.activeElement === gone;
    shown.hidden = false;
    gone.hidden = true;
    if (focused && busy) shown.focus();
    else if (focused) notice.backToMessage();
    this.#transcript.setAttribute("aria-busy", String(busy));
    if (busy) at("announcer").textContent = say("answering");
    this.#fit();
  }

  #announce(...texts) {
    at("announcer").textContent = texts.join(" ");
  }

  #append(turn) {
    this.#transcript.append(turn);
    this.#transcript.scrollTop = this.#transcript.scrollHeight;
  }

  /** Do something that makes the transcript longer, and stay at its end if that is where the reader is. */
  #follow(change) {
    const box = this.#transcript;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 48;
    change();
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  #fit() {
    const box = this.#message;
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 180)}px`;
    at("send").disabled = !box.value.trim();
  }
}

/** One answer on the page: its text as it comes, then its receipt. */
class Turn {
  text = "";
  requestId = null;
  receipt = new Receipt();
  #body = element("div", "prose");
  #facts = {};
  #drawn = 0;

  /** `around` is called with the function that draws, once a frame. */
  constructor(around) {
    this.around = around;
    this.#body.append(element("span", "waiting"));
    this.element = element("div", "turn answer busy", this.#body, this.receipt.element);
  }

  take(part) {
    if (part.started) {
      this.requestId = part.started.requestId;
      Object.assign(this.#facts, { requestId: this.requestId, ...part.started });
    }
    if (part.text) {
      this.text += part.text;
      this.#drawn ||= requestAnimationFrame(() => this.around(() => this.#draw()));
    }
    if (part.finish) this.#facts.finish = part.finish;
    if (part.usage) this.#facts.usage = part.usage;
    if (part.price) Object.assign(this.#facts, { price: part.price.price_usd, estimated: part.price.estimated });
  }

  finish() {
    cancelAnimationFrame(this.#drawn);
    this.element.classList.remove("busy");
    this.#draw();
    this.receipt.show(this.#facts);
    if (this.#facts.finish === "length") this.note(say(this.#facts.outputCap ? "shortened" : "cut"));
  }

  note(text) {
    this.receipt.note(text);
  }

  /** Forget what came: the answer failed. */
  discard() {
    if (this.text) this.element.classList.add("failed");
    else this.element.remove();
    this.text = "";
  }

  #draw() {
    this.#drawn = 0;
    write(this.#body, this.text);
  }
}
