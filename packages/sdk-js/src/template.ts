/**
 * The part of Jinja that a manifest's prompts are written in, as the gateway renders it (docs/reference/manifest.md): it
 * reads members of `input`, tests, loops and filters. A template is interpreted: nothing of it becomes code.
 */
import { compare, fail, FILTERS, Float, memberOf, Missing, real, shown, TESTS, truth } from "./values.js";

const MOST_TURNS = 2000;
const MOST_CHARACTERS = 1_000_000;

type Scope = Map<string, unknown>;
type Expression = (scope: Scope) => unknown;
interface Run {
  out: string[];
  length: number;
  turns: number;
}
type Step = (scope: Scope, run: Run) => void;

const TOKEN = /\s*(?:([A-Za-z_]\w*)|(\d+(?:\.\d+)?)|("(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*')|(==|!=|<=|>=|[<>|.,()[\]]))/y;

/** Returns the text that a template makes of an input. Throws TemplateProblem, which quotes no input. */
export function render(source: string, input: unknown): string {
  const run: Run = { out: [], length: 0, turns: 0 };
  const pieces = piecesOf(source.replace(/\r\n?/g, "\n").replace(/\n$/, ""));
  const { steps } = stepsOf(pieces, []);
  const scope: Scope = new Map([["input", input]]);
  for (const step of steps) step(scope, run);
  return run.out.join("");
}

type Piece = { text: string } | { output: string } | { tag: string };

function piecesOf(source: string): Piece[] {
  const found: Piece[] = [];
  const open = /\{\{-?|\{%[-+]?|\{#-?/g;
  let at = 0;
  let strip = false;
  for (let match = open.exec(source); match; match = open.exec(source)) {
    const kind = match[0].slice(0, 2);
    let text = source.slice(at, match.index);
    if (strip) text = text.trimStart();
    if (match[0].endsWith("-")) text = text.trimEnd();
    else if (kind !== "{{" && !match[0].endsWith("+")) text = text.replace(at === 0 || source[at - 1] === "\n" ? /(^|\n)[ \t]*$/ : /(\n)[ \t]*$/, "$1");
    if (text) found.push({ text });
    const { inside, end, dash } = closed(source, open.lastIndex, kind);
    at = end;
    strip = dash;
    if (kind === "{{") found.push({ output: inside });
    if (kind !== "{{" && !strip && source[at] === "\n") at++;
    if (kind === "{%" && inside.trim() === "raw") {
      const until = /\{%[-+]?\s*endraw\s*-?%\}\n?/g;
      until.lastIndex = at;
      const ended = until.exec(source) ?? fail("The prompt's 'raw' has no end.");
      found.push({ text: source.slice(at, ended.index) });
      at = until.lastIndex;
    } else if (kind === "{%") found.push({ tag: inside });
    open.lastIndex = at;
  }
  const rest = strip ? source.slice(at).trimStart() : source.slice(at);
  return rest ? [...found, { text: rest }] : found;
}

/** Returns what stands in a pair of braces; a brace within a quoted text closes nothing. */
function closed(source: string, from: number, kind: string): { inside: string; end: number; dash: boolean } {
  const close = { "{{": "}}", "{%": "%}", "{#": "#}" }[kind] ?? "";
  for (let i = from; i < source.length; i++) {
    const character = source[i] ?? "";
    if (source.startsWith(close, i)) {
      const dash = source[i - 1] === "-" && i > from;
      return { inside: source.slice(from, dash ? i - 1 : i), end: i + 2, dash };
    }
    if (kind !== "{#" && (character === '"' || character === "'")) {
      for (i++; i < source.length && source[i] !== character; i++) if (source[i] === "\\") i++;
    }
  }
  return fail("The prompt has braces that do not close.");
}

function stepsOf(pieces: Piece[], ends: string[]): { steps: Step[]; end: string } {
  const steps: Step[] = [];
  for (let piece = pieces.shift(); piece; piece = pieces.shift()) {
    if ("text" in piece) {
      const { text } = piece;
      steps.push((_, run) => put(run, text));
    } else if ("output" in piece) {
      const value = new Parser(piece.output).whole();
      steps.push((scope, run) => put(run, shown(value(scope))));
    } else {
      const [, word = "", rest = ""] = /^\s*(\w+)([^]*)$/.exec(piece.tag) ?? [];
      if (ends.includes(word)) return { steps, end: piece.tag.trim() };
      if (word === "if") steps.push(ifStep(pieces, rest));
      else if (word === "for") steps.push(forStep(pieces, rest));
      else fail(`The prompt has a tag '${word}' that is not known.`);
    }
  }
  if (ends.length) fail(`The prompt misses '${ends.at(-1)}'.`);
  return { steps, end: "" };
}

function ifStep(pieces: Piece[], condition: string): Step {
  const test = new Parser(condition).whole();
  const { steps, end } = stepsOf(pieces, ["elif", "else", "endif"]);
  let otherwise: Step[] = [];
  if (end.startsWith("elif")) otherwise = [ifStep(pieces, end.slice(4))];
  else if (end === "else") otherwise = stepsOf(pieces, ["endif"]).steps;
  return (scope, run) => {
    for (const step of truth(test(scope)) ? steps : otherwise) step(scope, run);
  };
}

function forStep(pieces: Piece[], head: string): Step {
  const [, name = "", of = ""] = /^\s*([A-Za-z_]\w*)\s+in\s([^]*)$/.exec(head) ?? fail("The prompt has a loop that is not known.");
  const items = new Parser(of).whole();
  const { steps, end } = stepsOf(pieces, ["else", "endfor"]);
  const otherwise = end === "else" ? stepsOf(pieces, ["endfor"]).steps : [];
  return (scope, run) => {
    const all = real(items(scope));
    if (!Array.isArray(all)) return fail("The prompt goes through something that is not an array.");
    all.forEach((item: unknown, index) => {
      if (++run.turns > MOST_TURNS) fail(`The input makes the prompt repeat itself more than ${MOST_TURNS} times.`);
      const loop = { index: index + 1, index0: index, first: !index, last: index === all.length - 1, length: all.length };
      const inside: Scope = new Map([...scope, [name, item], ["loop", loop]]);
      for (const step of steps) step(inside, run);
    });
    if (!all.length) for (const step of otherwise) step(scope, run);
  };
}

function put(run: Run, text: string): void {
  run.length += text.length;
  if (run.length > MOST_CHARACTERS) fail(`The input makes a prompt of more than ${MOST_CHARACTERS} characters.`);
  run.out.push(text);
}

/** Reads an expression; each method is a level of precedence, the loosest first. */
class Parser {
  private readonly tokens: string[] = [];
  private at = 0;

  constructor(source: string) {
    TOKEN.lastIndex = 0;
    const text = source.trimEnd();
    while (TOKEN.lastIndex < text.length) {
      const match = TOKEN.exec(text) ?? fail("The prompt has an expression that is not known.");
      this.tokens.push(match[0].trim());
    }
  }

  whole(): Expression {
    const value = this.choice();
    if (this.at < this.tokens.length) fail("The prompt has an expression that is not known.");
    return value;
  }

  private take(...wanted: string[]): string | undefined {
    const token = this.tokens[this.at];
    if (token === undefined || !wanted.includes(token)) return undefined;
    this.at++;
    return token;
  }

  private need(token: string): void {
    if (!this.take(token)) fail("The prompt has an expression that is not known.");
  }

  private choice(): Expression {
    const value = this.or();
    if (!this.take("if")) return value;
    const test = this.or();
    const otherwise = this.take("else") ? this.choice() : () => new Missing("else");
    return (scope) => (truth(test(scope)) ? value(scope) : otherwise(scope));
  }

  private or(): Expression {
    let value = this.and();
    while (this.take("or")) {
      const [left, right] = [value, this.and()];
      value = (scope) => {
        const found = left(scope);
        return truth(found) ? found : right(scope);
      };
    }
    return value;
  }

  private and(): Expression {
    let value = this.not();
    while (this.take("and")) {
      const [left, right] = [value, this.not()];
      value = (scope) => {
        const found = left(scope);
        return truth(found) ? right(scope) : found;
      };
    }
    return value;
  }

  private not(): Expression {
    if (!this.take("not")) return this.comparison();
    const value = this.not();
    return (scope) => !truth(value(scope));
  }

  private comparison(): Expression {
    const first = this.filtered();
    const rest: [string, Expression][] = [];
    for (;;) {
      const negated = this.tokens[this.at] === "not" && this.tokens[this.at + 1] === "in";
      if (negated) this.at++;
      const operator = this.take("==", "!=", "<", "<=", ">", ">=", "in");
      if (!operator) break;
      rest.push([negated ? "not in" : operator, this.filtered()]);
    }
    if (!rest.length) return first;
    return (scope) => {
      let left = first(scope);
      for (const [operator, of] of rest) {
        const right = of(scope);
        if (!compare(operator, left, right)) return false;
        left = right;
      }
      return true;
    };
  }

  private filtered(): Expression {
    let value = this.member(this.primary());
    for (;;) {
      const inner = value;
      if (this.take("|")) {
        const name = this.name();
        const args = this.take("(") ? this.items(")") : [];
        const filter = FILTERS[name] ?? fail(`The prompt has a filter '${name}' that is not known.`);
        value = (scope) => filter(inner(scope), ...args.map((argument) => argument(scope)));
      } else if (this.take("is")) {
        const negated = !!this.take("not");
        const name = this.name();
        const given = name === "in" ? this.only() : undefined;
        const test = TESTS[name] ?? fail(`The prompt has a test '${name}' that is not known.`);
        value = (scope) => test(inner(scope), given?.(scope)) !== negated;
      } else return value;
    }
  }

  /** Reads the one argument of a test, in brackets or not. */
  private only(): Expression {
    if (!this.take("(")) return this.member(this.primary());
    const [argument, ...more] = this.items(")");
    return argument && !more.length ? argument : fail("The prompt has a test that is not known.");
  }

  private member(of: Expression): Expression {
    let value = of;
    for (;;) {
      const inner = value;
      let key: string | number;
      if (this.take(".")) {
        const name = this.tokens[this.at++] ?? "";
        key = /^\d+$/.test(name) ? Number(name) : name;
      } else if (this.take("[")) {
        const token = this.tokens[this.at++] ?? "";
        key = /^\d/.test(token) ? Number(token) : text(token);
        this.need("]");
      } else return value;
      value = (scope) => memberOf(inner(scope), key);
    }
  }

  private primary(): Expression {
    const token = this.tokens[this.at++] ?? fail("The prompt has an expression that is not known.");
    if (token === "(" || token === "[") {
      const items = this.items(token === "(" ? ")" : "]");
      const [only] = items;
      if (token === "(" && items.length === 1 && only) return only;
      return (scope) => items.map((item) => item(scope));
    }
    if (/^["']/.test(token)) {
      const value = text(token);
      return () => value;
    }
    if (/^\d/.test(token)) {
      const value = token.includes(".") ? new Float(Number(token)) : Number(token);
      return () => value;
    }
    const word = { true: true, True: true, false: false, False: false, none: null, None: null }[token];
    if (word !== undefined) return () => word;
    if (!/^\w/.test(token)) fail("The prompt has an expression that is not known.");
    return (scope) => (scope.has(token) ? scope.get(token) : new Missing(token));
  }

  private items(end: string): Expression[] {
    const found: Expression[] = [];
    while (!this.take(end)) {
      found.push(this.choice());
      if (!this.take(",")) {
        this.need(end);
        break;
      }
    }
    return found;
  }

  private name(): string {
    return this.tokens[this.at++] ?? "";
  }
}

const ESCAPES: Record<string, string> = { n: "\n", t: "\t", r: "\r" };
const text = (token: string): string =>
  token.slice(1, -1).replace(/\\([^])/g, (whole, character: string) => ESCAPES[character] ?? (/["'\\]/.test(character) ? character : whole));
