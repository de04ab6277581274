import type { ChatRequest, ChatResult, Faucet, FaucetStream, Message, Receipt, RouteMode } from "../types.js";
import { CHAT_CSS } from "./chat.css.js";
import { COMMON, FaucetElement } from "./element.js";
import { count, money } from "./format.js";
import { icon } from "./icons.js";
import { markdown } from "./markdown.js";
import { modeIcon, modeWord } from "./modes.js";
import { problemOf, type Problem } from "./problems.js";
import { h, type Child, type Node_ } from "./view.js";

/** A question, and the answer to it as far as it came. */
interface Turn {
  id: number;
  question: string;
  answer: string;
  state: "waiting" | "coming" | "done" | "stopped" | "failed";
  price: string | null;
  mode: RouteMode | null;
  requestId: string | null;
  model: string;
  tokens: { in: number; out: number } | null;
  problem: Problem | null;
  receipt: Receipt | null;
  open: boolean;
  topUp: boolean;
}

/** Near enough to the end, in pixels, for the view to follow what comes. */
const NEAR = 48;

/** A conversation with a model: answers as they come, what each cost, and what to do when one does not. */
export class FaucetChat extends FaucetElement {
  static override get observedAttributes(): string[] {
    return [...COMMON, "model", "system", "heading", "placeholder", "greeting", "suggestions", "fill", "no-price", "no-mode"];
  }
  protected static override readonly css = CHAT_CSS;

  #turns: Turn[] = [];
  #history: Message[] = [];
  #stream: FaucetStream<ChatResult> | null = null;
  #last = 0;
  #draft = "";
  #follows = true;
  #copied = "";
  #frame = 0;

  /** The conversation so far; setting it begins one that goes on from there. */
  get messages(): Message[] {
    return [...this.#history, ...this.#turns.filter(answered).flatMap(messagesOf)];
  }
  set messages(messages: Message[]) {
    this.stop();
    this.#turns = [];
    this.#history = [...messages];
    this.draw();
  }

  get busy(): boolean {
    return this.#stream !== null;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.upgrade("messages");
  }

  protected override begin(): void {
    this.listen("mode", () => this.draw());
  }
  protected override end(): void {
    this.stop();
    cancelAnimationFrame(this.#frame);
  }

  /** Ask something, as if it had been typed and sent. */
  async send(text: string): Promise<void> {
    const question = text.trim();
    if (question === "" || this.#stream !== null || this.faucet === null) return;
    const id = (this.#last += 1);
    const turn: Turn = { id, question, ...blank() };
    this.#turns.push(turn);
    this.#follows = true;
    this.tell("faucet-message", { role: "user", text: question });
    await this.#answer(turn, this.faucet);
  }

  /** End the answer that is coming; what came stays. */
  stop(): void {
    this.#stream?.abort();
  }

  /** Ask the last question again. */
  async retry(): Promise<void> {
    const turn = this.#turns.at(-1);
    if (turn === undefined || this.#stream !== null || this.faucet === null) return;
    Object.assign(turn, blank());
    await this.#answer(turn, this.faucet);
  }

  /** Begin a new conversation. */
  clear(): void {
    this.stop();
    this.#turns = [];
    this.#history = [];
    this.draw();
    this.find<HTMLTextAreaElement>("textarea")?.focus();
  }

  async #answer(turn: Turn, faucet: Faucet): Promise<void> {
    let stream: FaucetStream<ChatResult> | null = null;
    try {
      stream = faucet.stream(this.#request(turn));
      this.#stream = stream;
      this.draw();
      for await (const part of stream) {
        if (part.type !== "text") continue;
        turn.answer += part.text;
        turn.state = "coming";
        this.#soon();
      }
      const result = await stream.result;
      if (!this.#turns.includes(turn)) return;
      turn.answer = result.text || turn.answer;
      turn.state = result.finish_reason === "aborted" ? "stopped" : "done";
      turn.price = result.price_usd;
      turn.mode = result.route_mode;
      turn.requestId = result.request_id;
      turn.model = result.model;
      turn.tokens = result.usage && { in: result.usage.input_tokens, out: result.usage.output_tokens };
      this.announce(this.t(turn.state === "done" ? "answer_ready" : "stopped"));
      const { text, price_usd, request_id, route_mode, usage, finish_reason } = result;
      this.tell("faucet-answer", { text, price_usd, request_id, route_mode, usage, finish_reason });
    } catch (error) {
      turn.state = "failed";
      turn.problem = problemOf(error);
      this.tell("faucet-error", { error, code: turn.problem.code });
    } finally {
      if (this.#stream === stream) this.#stream = null;
      this.draw();
    }
  }

  #request(turn: Turn): ChatRequest {
    const before = this.#turns.slice(0, this.#turns.indexOf(turn)).filter(answered).flatMap(messagesOf);
    const system = this.getAttribute("system");
    const messages: Message[] = [
      ...(system ? [{ role: "system" as const, content: system }] : []),
      ...this.#history,
      ...before,
      { role: "user", content: turn.question },
    ];
    const request: ChatRequest = { messages };
    const [model, feature] = [this.getAttribute("model"), this.getAttribute("feature")];
    if (model) request.model = model;
    if (feature) request.feature = feature;
    return request;
  }

  /** Draw with the next frame: chunks come faster than a screen shows them. */
  #soon(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.drawNow();
    });
  }

  protected override drawn(): void {
    const log = this.find("#log");
    if (log && this.#follows) log.scrollTop = log.scrollHeight;
    const input = this.find<HTMLTextAreaElement>("textarea");
    const mirror = this.find("#mirror");
    if (input && mirror) mirror.textContent = `${input.value}\n`;
  }

  protected override view(): Child {
    const empty = this.#turns.length === 0 && this.#history.length === 0;
    return h(
      "section",
      { class: "panel chat", part: "panel", "aria-label": this.headingText ?? this.t("chat") },
      this.headingText || !empty ? this.#top(empty) : null,
      h(
        "div",
        { id: "log", key: "log", class: "log", part: "messages", role: "log", tabindex: "0", "aria-label": this.t("conversation"), "aria-busy": String(this.busy), onscroll: () => this.#scrolled() },
        empty ? this.#welcome() : null,
        this.#history.filter((each) => each.role === "user" || each.role === "assistant").map((each, place) => this.#past(each, place)),
        this.#turns.map((turn) => this.#turn(turn)),
      ),
      this.#follows || empty ? null : h("button", { key: "latest", class: "latest", part: "latest", type: "button", "aria-label": this.t("latest"), onclick: () => this.#toEnd() }, icon("down")),
      this.#composer(),
    );
  }

  #top(empty: boolean): Node_ {
    const clear = h(
      "button",
      { class: "quiet", part: "clear", type: "button", disabled: empty, "aria-label": this.t("clear"), title: this.t("clear"), onclick: () => this.clear() },
      icon("clear"),
    );
    return h("div", { key: "top", class: "top", part: "header" }, h("h2", { part: "heading", class: "grow" }, this.headingText ?? this.t("chat")), clear);
  }

  #welcome(): Node_ {
    const suggestions = (this.getAttribute("suggestions") ?? "").split("|").map((each) => each.trim());
    return h(
      "div",
      { key: "welcome", class: "welcome", part: "welcome" },
      h("span", { class: "drop" }, icon("spark")),
      h("p", null, this.getAttribute("greeting") ?? this.t("greeting")),
      h(
        "div",
        { class: "row" },
        suggestions.filter(Boolean).map((text) => h("button", { class: "button small", part: "suggestion", type: "button", onclick: () => void this.send(text) }, text)),
      ),
    );
  }

  #past(message: Message, place: number): Node_ {
    const text = typeof message.content === "string" ? message.content : "";
    return message.role === "user" ? this.#question(`h${place}`, text) : h("div", { key: `h${place}`, class: "answer", part: "message message-assistant" }, this.#prose(text));
  }

  #question(key: string, text: string): Node_ {
    const who = h("span", { class: "unseen" }, `${this.t("you")}: `);
    return h("div", { key, class: "question", part: "message message-user" }, who, text);
  }

  #prose(text: string): Node_ {
    return h("div", { class: "prose" }, markdown(text, (source, language) => this.#code(source, language)));
  }

  #code(source: string, language: string): Node_ {
    return h(
      "div",
      { class: "code" },
      h("div", { class: "bar" }, h("span", null, language || "text"), this.#copyButton(`code:${source}`, source, this.t("copy_code"))),
      h("pre", { part: "code", tabindex: "0" }, h("code", null, source)),
    );
  }

  #turn(turn: Turn): Node_ {
    const coming = turn.state === "waiting" || turn.state === "coming";
    return h(
      "div",
      { key: turn.id, class: "turn" },
      this.#question(`q${turn.id}`, turn.question),
      h(
        "div",
        { key: "answer", class: coming ? "answer coming" : "answer", part: "message message-assistant", "aria-busy": coming ? "true" : null },
        h("span", { class: "unseen" }, `${this.t("assistant")}: `),
        turn.answer ? this.#prose(turn.answer) : null,
        turn.state === "waiting" ? h("div", { class: "dots", part: "thinking" }, h("span", { class: "unseen" }, this.t("thinking")), h("i"), h("i"), h("i")) : null,
        turn.problem ? this.#problem(turn, turn.problem) : null,
        turn.state === "done" || turn.state === "stopped" ? this.#below(turn) : null,
        turn.open ? this.#receipt(turn) : null,
      ),
    );
  }

  /** Price, mode and what can be done with an answer. */
  #below(turn: Turn): Node_ {
    const last = this.#turns.at(-1) === turn;
    const price = this.#price(turn);
    const label = this.t("price_of", { price });
    return h(
      "div",
      { class: "below", part: "toolbar" },
      turn.answer ? this.#copyButton(`turn:${turn.id}`, turn.answer, this.t("copy")) : null,
      last && !this.busy ? h("button", { class: "quiet", part: "retry", type: "button", "aria-label": this.t("again"), title: this.t("again"), onclick: () => void this.retry() }, icon("retry")) : null,
      turn.state === "stopped" ? h("span", { class: "badge" }, this.t("stopped")) : null,
      h("span", { class: "grow" }),
      turn.mode && !this.hasAttribute("no-mode") ? h("span", { class: "badge", part: "mode" }, icon(modeIcon(turn.mode)), this.t(modeWord(turn.mode))) : null,
      turn.price !== null && !this.hasAttribute("no-price")
        ? h("button", { class: "quiet number", part: "price", type: "button", "aria-label": label, title: this.t("receipt"), "aria-expanded": String(turn.open), onclick: () => void this.#toggle(turn) }, price)
        : null,
    );
  }

  #price(turn: Turn): string {
    return Number(turn.price ?? 0) === 0 ? this.t("no_charge") : money(turn.price, this.language);
  }

  async #toggle(turn: Turn): Promise<void> {
    turn.open = !turn.open;
    this.draw();
    if (!turn.open || turn.receipt || turn.requestId === null) return;
    try {
      turn.receipt = (await this.faucet?.usage.receipt(turn.requestId)) ?? null;
    } catch {
      return; // what came with the answer is shown
    }
    this.draw();
  }

  #receipt(turn: Turn): Node_ {
    const { receipt } = turn;
    const tokens = receipt ? { in: receipt.tokens.total - receipt.tokens.output, out: receipt.tokens.output } : turn.tokens;
    const shown = tokens && this.t("tokens_in_out", { in: count(tokens.in, this.language), out: count(tokens.out, this.language) });
    const facts: [string, string | null][] = [
      [this.t("price"), this.#price(turn)],
      [this.t("model"), receipt?.served_model ?? turn.model],
      [this.t("route"), turn.mode && this.t(modeWord(turn.mode))],
      [this.t("tokens"), shown],
      [this.t("request_id"), turn.requestId],
    ];
    return h("dl", { key: "receipt", class: "facts receipt", part: "receipt" }, facts.map(([name, value]) => (value ? [h("dt", null, name), h("dd", null, value)] : null)));
  }

  #problem(turn: Turn, problem: Problem): Child {
    const last = this.#turns.at(-1) === turn;
    const button = (part: string, text: string, act: () => void): Node_ => h("button", { class: "button small", part, type: "button", onclick: act }, text);
    return [
      this.problemView(
        problem,
        problem.remedy === "topup" && !turn.topUp ? button("top-up", this.t("credits_add"), () => this.#topUp(turn)) : null,
        problem.remedy === "clear" ? button("clear", this.t("clear"), () => this.clear()) : null,
        last && !this.busy ? button("retry", this.t("retry"), () => void this.retry()) : null,
      ),
      turn.topUp ? h("faucet-credits", { key: "credits", class: "credits", compact: true, ".faucet": this.faucet, lang: this.language, theme: this.getAttribute("theme"), "onfaucet-topped-up": () => this.find('[part="retry"]')?.focus() }) : null,
    ];
  }

  /** Offer credit here, unless the page shows its own way to buy it. */
  #topUp(turn: Turn): void {
    if (!this.tell("faucet-top-up", { request_id: turn.problem?.requestId ?? null }, true)) return;
    turn.topUp = true;
    this.draw();
  }

  #copyButton(id: string, text: string, label: string): Node_ {
    const done = this.#copied === id;
    const name = done ? this.t("copied") : label;
    return h("button", { class: "quiet", part: "copy", type: "button", "aria-label": name, title: name, onclick: () => void this.#copy(id, text) }, icon(done ? "done" : "copy"));
  }

  async #copy(id: string, text: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return; // the browser or its user does not allow it
    }
    this.#copied = id;
    this.announce(this.t("copied"));
    setTimeout(() => {
      this.#copied = "";
      this.draw();
    }, 1600);
  }

  #composer(): Node_ {
    const { mode } = this;
    const send = (event: Event): void => {
      event.preventDefault();
      if (this.busy) this.stop();
      else this.#submit();
    };
    const action = this.t(this.busy ? "stop" : "send");
    return h(
      "form",
      { key: "composer", class: "composer", part: "composer", onsubmit: send },
      h(
        "div",
        { class: "grows" },
        h("div", { id: "mirror", opaque: true, "aria-hidden": "true" }),
        h("textarea", {
          part: "input",
          rows: "1",
          "aria-label": this.t("message"),
          placeholder: this.getAttribute("placeholder") ?? this.t("ask"),
          ".value": this.#draft,
          oninput: (event: Event) => this.#typed(event),
          onkeydown: (event: KeyboardEvent) => this.#key(event),
        }),
      ),
      h(
        "div",
        { class: "foot" },
        this.hasAttribute("no-mode") ? null : h("span", { class: "badge", part: "mode" }, icon(modeIcon(mode)), this.t(modeWord(mode))),
        h("span", { class: "grow" }),
        h("button", { key: "go", class: this.busy ? "go stopping" : "go", part: this.busy ? "stop" : "send", type: "submit", disabled: !this.busy && this.#draft.trim() === "", "aria-label": action, title: action }, icon(this.busy ? "stop" : "send")),
      ),
    );
  }

  #typed(event: Event): void {
    this.#draft = (event.target as HTMLTextAreaElement).value;
    this.draw();
  }

  #key(event: KeyboardEvent): void {
    if (event.key === "Escape" && this.busy) this.stop();
    // While an input method composes, Enter chooses a word of it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!this.busy) this.#submit();
  }

  #submit(): void {
    const text = this.#draft;
    if (text.trim() === "") return;
    this.#draft = "";
    void this.send(text);
  }

  #scrolled(): void {
    const log = this.find("#log");
    if (log === null) return;
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
    if (follows === this.#follows) return;
    this.#follows = follows;
    this.draw();
  }

  #toEnd(): void {
    this.#follows = true;
    this.drawNow();
  }
}

function blank(): Omit<Turn, "id" | "question"> {
  return { answer: "", state: "waiting", price: null, mode: null, requestId: null, model: "", tokens: null, problem: null, receipt: null, open: false, topUp: false };
}

function answered(turn: Turn): boolean {
  return turn.answer !== "" && (turn.state === "done" || turn.state === "stopped");
}

function messagesOf(turn: Turn): Message[] {
  return [
    { role: "user", content: turn.question },
    { role: "assistant", content: turn.answer },
  ];
}
