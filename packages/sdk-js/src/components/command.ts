import type { CallResult, Faucet, FaucetStream, Json } from "../types.js";
import { COMMAND_CSS } from "./command.css.js";
import { COMMON, FaucetElement } from "./element.js";
import { count, money } from "./format.js";
import { icon } from "./icons.js";
import { markdown } from "./markdown.js";
import { modeIcon, modeWord } from "./modes.js";
import { targetOf, type Target } from "./selection.js";
import { h, type Child, type Node_ } from "./view.js";

/** Something to do with a text: a typed feature of the app, or an instruction. */
export interface Command {
  label: string;
  description?: string;
  /** The key of a feature; its input is `{[field]: text, ...input}`. */
  feature?: string;
  /** The member of the feature's input that takes the text; "text" by default. */
  field?: string;
  input?: Record<string, Json>;
  /** What to do, where there is no feature for it. */
  instruction?: string;
}

interface Answer {
  text: string;
  state: "coming" | "done" | "stopped" | "failed";
  result: CallResult | null;
}

/** A palette of things to do with the selected text; what comes of it can be put in its place. */
export class FaucetCommand extends FaucetElement {
  static override get observedAttributes(): string[] {
    return [...COMMON, "label", "for", "text", "field", "commands", "shortcut", "instructions", "no-trigger"];
  }
  protected static override readonly css = COMMAND_CSS;

  #given: Command[] | null = null;
  #target: Target | null = null;
  #query = "";
  #chosen = 0;
  #running: Command | null = null;
  #answer: Answer | null = null;
  #stream: FaucetStream<CallResult & { text: string }> | null = null;
  #copied = false;
  #frame = 0;

  /** What is offered: as set, or the `commands` attribute (JSON), or the one feature of the `feature` attribute. */
  get commands(): Command[] {
    if (this.#given) return this.#given;
    const written = this.getAttribute("commands");
    if (written) {
      try {
        return JSON.parse(written) as Command[];
      } catch {
        return [];
      }
    }
    const feature = this.getAttribute("feature");
    return feature ? [{ label: this.getAttribute("label") ?? feature, feature }] : [];
  }
  set commands(commands: Command[]) {
    this.#given = [...commands];
    this.draw();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.upgrade("commands");
  }

  protected override begin(): void {
    const shortcut = (event: KeyboardEvent): void => {
      if (!matches(event, this.getAttribute("shortcut") ?? "mod+k")) return;
      event.preventDefault();
      if (this.opened) this.close();
      else this.open();
    };
    document.addEventListener("keydown", shortcut);
    this.until(() => document.removeEventListener("keydown", shortcut));
    this.listen("mode", () => this.draw());
  }
  protected override end(): void {
    this.#stream?.abort();
    cancelAnimationFrame(this.#frame);
  }

  get opened(): boolean {
    return this.#dialog?.open ?? false;
  }

  get #dialog(): HTMLDialogElement | null {
    return this.find<HTMLDialogElement>("dialog");
  }

  /** Open the palette for `text`, the `text` attribute, what `for` names, or what is selected. */
  open(text?: string): void {
    if (this.faucet === null || this.opened) return;
    const id = this.getAttribute("for");
    const root = this.getRootNode() as Document | ShadowRoot;
    const target = targetOf(id ? (root.getElementById?.(id) ?? document.getElementById(id)) : null);
    const given = text ?? this.getAttribute("text");
    this.#target = given === null ? target : { ...target, text: given, editable: target.editable && id !== null };
    this.#query = "";
    this.#chosen = 0;
    this.#running = this.#answer = null;
    this.problem = null;
    this.drawNow();
    this.#dialog?.showModal();
    this.find<HTMLInputElement>("#query")?.focus();
    this.tell("faucet-open", { text: this.#target.text });
  }

  close(): void {
    this.#dialog?.close();
  }

  #closed(): void {
    this.#stream?.abort();
    this.#running = this.#answer = null;
    this.#target?.focus();
    this.tell("faucet-close", {});
    this.draw();
  }

  /** Run one of the commands, or any other, on the text of the palette. */
  async run(command: Command): Promise<void> {
    const faucet = this.faucet;
    const text = this.#target?.text ?? "";
    if (faucet === null || this.#stream !== null) return;
    const answer: Answer = { text: "", state: "coming", result: null };
    this.#running = command;
    this.#answer = answer;
    this.problem = null;
    this.drawNow();
    this.find('[part~="result"]')?.focus();
    try {
      const stream = begun(faucet, command, text, this.getAttribute("field") ?? "text");
      this.#stream = stream;
      for await (const part of stream) {
        if (part.type !== "text") continue;
        answer.text += part.text;
        this.#soon();
      }
      const result = await stream.result;
      answer.text = result.text || answer.text;
      answer.result = result;
      answer.state = (result as { finish_reason?: string }).finish_reason === "aborted" ? "stopped" : "done";
      this.announce(this.t(answer.state === "done" ? "answer_ready" : "stopped"));
      this.tell("faucet-result", { command, text: answer.text, price_usd: result.price_usd, request_id: result.request_id, route_mode: result.route_mode });
    } catch (error) {
      answer.state = "failed";
      if (this.#answer === answer) this.fail(error);
    } finally {
      this.#stream = null;
      this.drawNow();
      // What one does next is under the finger of whoever works by keyboard.
      if (this.shadowRoot?.activeElement?.matches('[part~="result"]')) this.find('[part="insert"], [part="copy"]')?.focus();
    }
  }

  #soon(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.drawNow();
    });
  }

  /** What is offered for what was typed; without `no-instructions`, also to do just that. */
  get #offered(): Command[] {
    const query = this.#query.trim().toLowerCase();
    const found = this.commands.filter((each) => `${each.label} ${each.description ?? ""}`.toLowerCase().includes(query));
    if (query === "" || this.getAttribute("instructions") === "off") return found;
    return [...found, { label: this.t("command_ask", { text: this.#query.trim() }), description: this.t("command_ask_text"), instruction: this.#query.trim() }];
  }

  protected override view(): Child {
    const label = this.getAttribute("label") ?? this.t("command");
    const trigger = h("button", { key: "trigger", class: "button", type: "button", part: "trigger", "aria-haspopup": "dialog", onmousedown: (event: Event) => event.preventDefault(), onclick: () => this.open() }, icon("spark"), label);
    return [
      this.hasAttribute("no-trigger") ? null : trigger,
      h("dialog", { key: "dialog", part: "dialog", "aria-label": label, onclose: () => this.#closed(), onclick: (event: Event) => this.#outside(event) }, h("div", { class: "palette", part: "panel" }, this.#answer ? this.#result(this.#answer) : this.#palette())),
    ];
  }

  #outside(event: Event): void {
    if (event.target === this.#dialog) this.close();
  }

  #palette(): Child {
    const offered = this.#offered;
    const text = this.#target?.text.trim() ?? "";
    const about = text === "" ? this.t("command_no_text") : this.t("command_on", { count: count([...text].length, this.language), text: text.length > 80 ? `${text.slice(0, 80)}…` : text });
    return h(
      "div",
      { key: "palette" },
      h(
        "div",
        { class: "search" },
        icon("search"),
        h("input", { id: "query", part: "input", type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", "aria-label": this.t("command_search"), "aria-expanded": "true", "aria-controls": "list", "aria-autocomplete": "list", "aria-activedescendant": offered.length > 0 ? `option-${this.#chosen}` : null, placeholder: this.t("command_search"), ".value": this.#query, oninput: (event: Event) => this.#typed(event), onkeydown: (event: KeyboardEvent) => this.#key(event) }),
        this.#closeButton(),
      ),
      h("p", { class: "about soft small", part: "text" }, about),
      h("ul", { id: "list", class: "options", role: "listbox", "aria-label": this.t("command"), part: "list" }, offered.map((each, place) => this.#option(each, place))),
      offered.length === 0 ? h("p", { class: "empty" }, this.t("command_none")) : null,
      h("div", { class: "below soft small" }, h("span", { class: "help" }, this.t("keys_help")), h("span", { class: "grow" }), this.#modeBadge()),
    );
  }

  #closeButton(): Node_ {
    return h("button", { class: "quiet", type: "button", part: "close", "aria-label": this.t("close"), onclick: () => this.close() }, icon("close"));
  }

  #modeBadge(): Node_ {
    const mode = this.#answer?.result?.route_mode ?? this.mode;
    return h("span", { class: "badge", part: "mode" }, icon(modeIcon(mode)), this.t(modeWord(mode)));
  }

  #option(command: Command, place: number): Node_ {
    const chosen = place === this.#chosen;
    const hover = (): void => {
      if (this.#chosen === place) return;
      this.#chosen = place;
      this.draw();
    };
    return h(
      "li",
      { key: `${place}:${command.label}`, id: `option-${place}`, class: chosen ? "option chosen" : "option", role: "option", "aria-selected": String(chosen), part: chosen ? "option option-chosen" : "option", onmousemove: hover, onmousedown: (event: Event) => event.preventDefault(), onclick: () => void this.run(command) },
      icon(command.instruction && !command.feature ? "edit" : "spark"),
      h("span", { class: "grow" }, h("span", { class: "name" }, command.label), command.description ? h("span", { class: "soft small" }, command.description) : null),
    );
  }

  #typed(event: Event): void {
    this.#query = (event.target as HTMLInputElement).value;
    this.#chosen = 0;
    this.draw();
  }

  #key(event: KeyboardEvent): void {
    const offered = this.#offered;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined && offered.length > 0) {
      event.preventDefault();
      this.#chosen = (this.#chosen + step + offered.length) % offered.length;
      this.drawNow();
      this.find(`#option-${this.#chosen}`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter" && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      const chosen = offered[this.#chosen];
      if (chosen) void this.run(chosen);
    }
  }

  #result(answer: Answer): Child {
    const coming = answer.state === "coming";
    return h(
      "div",
      { key: "result", class: "answered" },
      h(
        "div",
        { class: "search" },
        h("button", { class: "quiet", type: "button", part: "back", "aria-label": this.t("back"), onclick: () => this.#back() }, icon("down"), this.t("back")),
        h("h2", { class: "grow" }, this.#running?.label ?? this.t("command_result")),
        this.#closeButton(),
      ),
      h(
        "div",
        { class: coming ? "text coming" : "text", part: "result", tabindex: "0", role: "region", "aria-label": this.t("command_result"), "aria-busy": String(coming) },
        answer.text === "" && coming ? h("p", { class: "soft" }, this.t("thinking")) : markdown(answer.text),
        this.problem ? this.problemView(this.problem, this.#retryButton()) : null,
        this.problem?.remedy === "topup" ? h("faucet-credits", { key: "credits", class: "credits", compact: true, ".faucet": this.faucet, lang: this.language, theme: this.getAttribute("theme") }) : null,
      ),
      h("div", { class: "below", part: "toolbar" }, this.#actions(answer)),
    );
  }

  #retryButton(): Node_ {
    const again = (): void => void (this.#running && this.run(this.#running));
    return h("button", { class: "button small", type: "button", part: "retry", onclick: again }, icon("retry"), this.t("retry"));
  }

  #actions(answer: Answer): Child {
    if (answer.state === "coming") return [h("span", { class: "grow" }), h("button", { class: "button small", type: "button", part: "stop", onclick: () => this.#stream?.abort() }, icon("stop"), this.t("stop"))];
    const price = answer.result?.price_usd ?? null;
    const shown = price === null ? null : Number(price) === 0 ? this.t("no_charge") : money(price, this.language);
    const told = shown === null ? null : h("span", { class: "soft small number", part: "price" }, shown);
    if (answer.text === "" || answer.state === "failed") return told;
    const editable = this.#target?.editable === true;
    return [
      editable ? h("button", { key: "insert", class: "button main small", type: "button", part: "insert", onclick: () => this.#insert(answer, "replace") }, icon("insert"), this.t(this.#target?.text ? "insert" : "insert_at")) : null,
      editable && this.#target?.text ? h("button", { key: "append", class: "button small", type: "button", part: "append", onclick: () => this.#insert(answer, "append") }, this.t("append")) : null,
      h("button", { key: "copy", class: "button small", type: "button", part: "copy", onclick: () => void this.#copy(answer) }, icon(this.#copied ? "done" : "copy"), this.t(this.#copied ? "copied" : "copy")),
      this.#retryButton(),
      h("span", { class: "grow" }),
      told,
      this.#modeBadge(),
    ];
  }

  #back(): void {
    this.#stream?.abort();
    this.#running = this.#answer = null;
    this.problem = null;
    this.drawNow();
    this.find("#query")?.focus();
  }

  #insert(answer: Answer, how: "replace" | "append"): void {
    const target = this.#target;
    if (target === null || !this.tell("faucet-insert", { text: answer.text, how }, true)) return this.close();
    this.#target = null; // the focus goes where the text went
    this.close();
    target[how](answer.text);
    this.announce(this.t("inserted"));
  }

  async #copy(answer: Answer): Promise<void> {
    try {
      await navigator.clipboard.writeText(answer.text);
    } catch {
      return; // the browser or its user does not allow it
    }
    this.#copied = true;
    this.announce(this.t("copied"));
    setTimeout(() => {
      this.#copied = false;
      this.draw();
    }, 1600);
  }
}

function begun(faucet: Faucet, command: Command, text: string, field: string): FaucetStream<CallResult & { text: string }> {
  if (command.feature) return faucet.feature(command.feature).stream({ ...command.input, [command.field ?? field]: text });
  const instruction = command.instruction ?? command.label;
  if (text === "") return faucet.stream({ prompt: instruction });
  return faucet.stream({ system: `${instruction}\n\nAnswer with the resulting text only.`, prompt: text });
}

/** Tell whether a key is the shortcut, such as "mod+k", "alt+shift+j" or "none". */
function matches(event: KeyboardEvent, shortcut: string): boolean {
  const parts = shortcut.toLowerCase().split("+");
  const key = parts.pop() ?? "";
  const apple = /mac|iphone|ipad/i.test(navigator.platform);
  const wants = (name: string): boolean => parts.includes(name);
  return (
    event.key.toLowerCase() === key &&
    event.ctrlKey === (wants("ctrl") || (wants("mod") && !apple)) &&
    event.metaKey === (wants("meta") || (wants("mod") && apple)) &&
    event.altKey === wants("alt") &&
    event.shiftKey === wants("shift")
  );
}
