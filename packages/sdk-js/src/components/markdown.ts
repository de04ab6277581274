/**
 * Render what models write, a small part of Markdown, as elements: paragraphs, headings, lists, quotes, code, emphasis,
 * links, tables. HTML in the text stays text; a link leads to http, https or mailto and nowhere else.
 */

import { h, type Child, type Node_ } from "./view.js";

const FENCE = /^\s{0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const HEADING = /^\s{0,3}(#{1,6})\s+(.*)$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^\s{0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^\s{0,3}>\s?(.*)$/;
const TABLE_LINE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
// Every span is bounded: a text full of marks that never close would otherwise be searched to its end for each of them.
const INLINE =
  /(`{1,8})([^`]|[^`].{0,2000}?[^`])\1(?!`)|\*\*(?=\S)(.{0,2000}?\S)\*\*|(?<![*\w])\*(?=[^\s*])([^*]{0,1000}?[^\s*])\*(?![*\w])|(?<!\w)_(?=[^\s_])([^_]{0,1000}?[^\s_])_(?!\w)|~~(?=\S)(.{0,1000}?\S)~~|\[([^[\]\n]{1,500})\]\(\s{0,4}<?([^\s)>]{1,2000})>?(?:\s{1,4}"[^"]{0,200}")?\s{0,4}\)|(https?:\/\/[^\s<>"'`，。；：！？）】」』、]{0,2000}[^\s<>"'`.,;:!?)\]}，。；：！？）】」』、])/gs;
const DEEPEST = 6;

/** Return the elements of `text`; `code` renders a block of code, so that whoever shows it may add to it. */
export function markdown(text: string, code: (source: string, language: string) => Node_ = plainCode): Node_[] {
  return blocks(text.replaceAll("\r\n", "\n").split("\n"), code, 0);
}

/** Return a heading's text without the marks that may close it. */
function withoutEnd(text: string): string {
  let end = text.trimEnd();
  while (end.endsWith("#")) end = end.slice(0, -1);
  return end.trimEnd();
}

function plainCode(source: string): Node_ {
  return h("pre", { part: "code", tabindex: "0" }, h("code", null, source));
}

function blocks(lines: string[], code: (source: string, language: string) => Node_, depth: number): Node_[] {
  const found: Node_[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] ?? "";
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (line.trim() === "") at += 1;
    else if (fence) {
      const end = closing(lines, at + 1, fence[1] ?? "```");
      found.push(code(lines.slice(at + 1, end).join("\n"), fence[2] ?? ""));
      at = end + 1;
    } else if (heading) {
      const level = Math.min((heading[1] ?? "#").length + 2, 6); // the page has its own first and second level
      found.push(h(`h${level}`, null, inline(withoutEnd(heading[2] ?? ""))));
      at += 1;
    } else if (RULE.test(line)) {
      found.push(h("hr", null));
      at += 1;
    } else if (QUOTE.test(line)) {
      const end = runOf(lines, at, (each) => QUOTE.test(each));
      const inner = lines.slice(at, end).map((each) => QUOTE.exec(each)?.[1] ?? "");
      found.push(h("blockquote", null, depth < DEEPEST ? blocks(inner, code, depth + 1) : inner.join(" ")));
      at = end;
    } else if (ITEM.test(line)) {
      const end = endOfList(lines, at);
      found.push(list(lines.slice(at, end), code, depth));
      at = end;
    } else if (line.includes("|") && TABLE_LINE.test(lines[at + 1] ?? "") && (lines[at + 1] ?? "").includes("-")) {
      const end = runOf(lines, at + 2, (each) => each.includes("|"));
      found.push(table(line, lines.slice(at + 2, end)));
      at = end;
    } else {
      const end = Math.max(at + 1, runOf(lines, at, (each) => !beginsBlock(each)));
      found.push(h("p", null, broken(lines.slice(at, end))));
      at = end;
    }
  }
  return found;
}

function beginsBlock(line: string): boolean {
  return line.trim() === "" || [FENCE, HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line));
}

function runOf(lines: string[], from: number, belongs: (line: string) => boolean): number {
  let end = from;
  while (end < lines.length && belongs(lines[end] ?? "")) end += 1;
  return end;
}

function closing(lines: string[], from: number, fence: string): number {
  for (let at = from; at < lines.length; at += 1) if ((lines[at] ?? "").trim().startsWith(fence)) return at;
  return lines.length; // an answer that is still coming
}

function endOfList(lines: string[], from: number): number {
  let end = from;
  for (let at = from; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    if (ITEM.test(line) || /^\s{2,}\S/.test(line)) end = at + 1;
    else if (line.trim() !== "") break;
  }
  return end;
}

function list(lines: string[], code: (source: string, language: string) => Node_, depth: number): Node_ {
  const first = ITEM.exec(lines[0] ?? "");
  const indent = first?.[1]?.length ?? 0;
  const ordered = /\d/.test(first?.[2] ?? "");
  const items: string[][] = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && (item[1]?.length ?? 0) <= indent + 1) items.push([item[3] ?? ""]);
    else items[items.length - 1]?.push(line.slice(Math.min(indent + 2, line.length - line.trimStart().length)));
  }
  const start = ordered ? Number.parseInt(first?.[2] ?? "1", 10) : 1;
  return h(
    ordered ? "ol" : "ul",
    start === 1 ? null : { start },
    items.map((item) => {
      const [head, ...rest] = item;
      const simple = rest.every((line) => line.trim() === "") || depth >= DEEPEST;
      return h("li", null, simple ? inline(head ?? "") : unwrapped(blocks([head ?? "", ...rest], code, depth + 1)));
    }),
  );
}

/** Return the blocks of an item, the first paragraph without its own element, as it stands beside the bullet. */
function unwrapped(found: Node_[]): Child[] {
  const [first, ...rest] = found;
  return first?.tag === "p" ? [...first.children, ...rest] : found;
}

function table(head: string, rows: string[]): Node_ {
  const cells = (line: string): string[] => line.trim().replace(/^\||\|$/g, "").split("|");
  return h(
    "div",
    { class: "wide", tabindex: "0" },
    h(
      "table",
      null,
      h("thead", null, h("tr", null, cells(head).map((cell) => h("th", { scope: "col" }, inline(cell.trim()))))),
      h("tbody", null, rows.map((row) => h("tr", null, cells(row).map((cell) => h("td", null, inline(cell.trim())))))),
    ),
  );
}

function broken(lines: string[]): Child[] {
  return lines.map((line, place) => [place > 0 ? h("br", null) : null, inline(line.trim())]);
}

/** Return the elements of one run of text. */
export function inline(text: string, depth = 0): Child[] {
  if (depth > DEEPEST) return [text];
  const found: Child[] = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, , code, strong, emphasis, underscored, struck, label, target, address] = match;
    if (match.index > at) found.push(text.slice(at, match.index));
    at = match.index + whole.length;
    const inner = emphasis ?? underscored;
    if (code !== undefined) found.push(h("code", null, code.trim()));
    else if (strong !== undefined) found.push(h("strong", null, inline(strong, depth + 1)));
    else if (inner !== undefined) found.push(h("em", null, inline(inner, depth + 1)));
    else if (struck !== undefined) found.push(h("s", null, inline(struck, depth + 1)));
    else if (label !== undefined) found.push(link(target ?? "", inline(label, depth + 1), whole));
    else found.push(link(address ?? "", [address ?? ""], whole));
  }
  if (at < text.length) found.push(text.slice(at));
  return found;
}

function link(target: string, label: Child[], whole: string): Child {
  if (!/^(https?:\/\/|mailto:)/i.test(target)) return whole;
  return h("a", { href: target, target: "_blank", rel: "noopener noreferrer nofollow" }, label);
}
