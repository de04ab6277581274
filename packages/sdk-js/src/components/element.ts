/** What every element has in common: its faucet, language, theme, styles, drawing, and telling of events. */

import type { Faucet, FaucetEventOf, FaucetEventType, Mode, RouteMode } from "../types.js";
import { CLIENT, faucetOf } from "./client.js";
import { icon } from "./icons.js";
import { problemOf, type Problem } from "./problems.js";
import { styleSheets } from "./styles.js";
import { h, patch, type Child, type Node_ } from "./view.js";
import { say, type Values, type Word } from "./words.js";

/** Attributes that every element takes. */
export const COMMON = [...CLIENT, "lang", "theme"] as const;

/** On a server there are no elements: the module can be imported there all the same. */
const Base: typeof HTMLElement = globalThis.HTMLElement ?? (class {} as unknown as typeof HTMLElement);

const connected = new Set<FaucetElement>();
let watching = false;

/** Draw again what has another language when the page, or a part of it, is given one. */
function watchLanguage(): void {
  if (watching) return;
  watching = true;
  new MutationObserver(() => {
    for (const each of connected) each.languageMayHaveChanged();
  }).observe(document, { attributes: true, attributeFilter: ["lang"], subtree: true });
}

export abstract class FaucetElement extends Base {
  static get observedAttributes(): string[] {
    return [...COMMON];
  }

  /** The element's own styles. */
  protected static readonly css: string = "";
  #given: Faucet | null = null;
  #made: Faucet | null = null;
  #root: ShadowRoot | null = null;
  #drawing = false;
  #said = "";
  #modes: RouteMode[] = [];
  #language = "en";
  #listening: (() => void)[] = [];
  /** What cannot be shown otherwise. */
  protected problem: Problem | null = null;

  /** The faucet whose app, user and mode this element is for. */
  get faucet(): Faucet | null {
    return this.#given ?? this.#made;
  }
  set faucet(faucet: Faucet | null) {
    if (faucet === this.#given) return;
    this.#given = faucet;
    this.#begin();
  }

  connectedCallback(): void {
    this.upgrade("faucet");
    if (this.#root === null) {
      this.#root = this.attachShadow({ mode: "open", delegatesFocus: false });
      this.#root.adoptedStyleSheets = styleSheets((this.constructor as typeof FaucetElement).css);
    }
    connected.add(this);
    watchLanguage();
    this.#language = this.#readLanguage();
    this.#begin();
  }

  disconnectedCallback(): void {
    connected.delete(this);
    this.#end();
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    // Of an element that is upgraded, attributes are told before it is told that it is connected, which it is already.
    if (before === after || this.#root === null || !this.isConnected) return;
    if (name === "lang") this.languageMayHaveChanged();
    else if ((CLIENT as readonly string[]).includes(name)) this.#begin();
    else this.draw();
  }

  /** @internal */
  languageMayHaveChanged(): void {
    const language = this.#readLanguage();
    if (language === this.#language) return;
    this.#language = language;
    if (this.#given) this.draw();
    else this.#begin();
  }

  /** Take over a property that was set before the element was defined. */
  protected upgrade(name: string): void {
    if (!Object.hasOwn(this, name)) return;
    const own = this as unknown as Record<string, unknown>;
    const value = own[name];
    delete own[name];
    own[name] = value;
  }

  #begin(): void {
    if (this.#root === null || !this.isConnected) return;
    this.#end();
    if (this.#given === null) this.#made = faucetOf(this, this.language);
    if (this.faucet !== null) {
      this.listen("session", ({ session }) => {
        this.#modes = session.available_modes;
        this.draw();
      });
      this.begin(this.faucet);
    }
    this.draw();
  }

  #end(): void {
    for (const stop of this.#listening.splice(0)) stop();
    this.end();
  }

  /** Begin to work with a faucet: fetch what is shown. */
  protected begin(_faucet: Faucet): void {}
  /** Stop whatever is under way. */
  protected end(): void {}
  /** Describe what is shown. */
  protected abstract view(): Child;
  /** Do what needs what was just drawn. */
  protected drawn(): void {}

  /** Listen to the faucet for as long as this element works with it. */
  protected listen<Type extends FaucetEventType>(type: Type, listener: (event: FaucetEventOf<Type>) => void): void {
    if (this.faucet) this.#listening.push(this.faucet.on(type, listener));
  }

  /** Also undo `stop` when this element is taken away or given another faucet. */
  protected until(stop: () => void): void {
    this.#listening.push(stop);
  }

  /** Draw soon; several wishes in a row are one. */
  protected draw(): void {
    if (this.#drawing || this.#root === null) return;
    this.#drawing = true;
    queueMicrotask(() => {
      this.#drawing = false;
      this.drawNow();
    });
  }

  protected drawNow(): void {
    if (this.#root === null || !this.isConnected) return;
    const status = h("div", { key: "status", class: "unseen", role: "status", "aria-live": "polite" }, this.#said);
    const content = this.faucet === null ? null : this.view();
    patch(this.#root, h("div", null, h("div", { key: "content", lang: this.language }, content), status).children);
    this.drawn();
  }

  /** The mode that is set; where nothing is and there is only one, that one. */
  protected get mode(): Mode | RouteMode {
    const set = this.faucet?.mode ?? "auto";
    return set === "auto" && this.#modes.length === 1 ? (this.#modes[0] ?? set) : set;
  }

  /** Find something that was drawn. */
  protected find<Found extends Element = HTMLElement>(selector: string): Found | null {
    return this.#root?.querySelector<Found>(selector) ?? null;
  }

  /** Have a screen reader say it. */
  protected announce(text: string): void {
    this.#said = this.#said === text ? `${text}\u00a0` : text;
    this.draw();
  }

  get language(): string {
    return this.#language;
  }

  #readLanguage(): string {
    let at: Element | null = this;
    while (at !== null) {
      const found: Element | null = at.closest("[lang]");
      if (found?.getAttribute("lang")) return tag(found.getAttribute("lang") ?? "");
      const root: Node = at.getRootNode();
      at = root instanceof ShadowRoot ? root.host : null;
    }
    return tag(this.#given?.locale ?? "en");
  }

  protected t(word: Word, values?: Values): string {
    return say(this.language, word, values);
  }

  protected get headingText(): string | null {
    return this.getAttribute("heading");
  }

  /** Tell the page; false where it took the matter over by `preventDefault()`. */
  protected tell(name: string, detail: unknown, cancelable = false): boolean {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable }));
  }

  /** Keep what went wrong, and tell the page. */
  protected fail(error: unknown): void {
    this.problem = problemOf(error);
    this.tell("faucet-error", { error, code: this.problem.code });
    this.draw();
  }

  /** Describe what went wrong, what to do, and the buttons that help. */
  protected problemView(problem: Problem | null, ...buttons: Child[]): Child {
    if (problem === null) return null;
    const text = problem.text === null ? problem.said : this.t(problem.text, problem.values);
    return h(
      "div",
      { key: "problem", class: `notice ${problem.tone}`, part: "error", role: "alert" },
      icon("alert"),
      h(
        "div",
        null,
        h("strong", null, this.t(problem.title, problem.values)),
        text ? h("span", { class: "soft" }, text) : null,
        problem.requestId ? h("span", { class: "soft small mono" }, this.t("request", { id: problem.requestId })) : null,
        buttons.some(Boolean) ? h("div", { class: "row" }, buttons) : null,
      ),
    );
  }

  protected heading(fallback: string, text: string | null, ...beside: Child[]): Node_ {
    return h(
      "div",
      { class: "head", part: "header" },
      h(
        "div",
        null,
        h("h2", { part: "heading" }, this.headingText ?? fallback),
        text ? h("p", { class: "soft small" }, text) : null,
      ),
      beside,
    );
  }

  protected loadingView(lines = 2): Child {
    const label = h("span", { class: "unseen" }, this.t("loading"));
    return h("div", { class: "stack" }, label, Array.from({ length: lines }, () => h("div", { class: "skeleton", "aria-hidden": "true" })));
  }
}

function tag(language: string): string {
  return language.toLowerCase().startsWith("zh") ? "zh-CN" : /^[a-z]{2,3}(-[\w]+)*$/i.test(language) ? language : "en";
}
