// The elements without a page: safe to import, what Markdown becomes, and what each error says.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { EN, markdown, problemOf, ZH } from "../dist/components.js";
import { FaucetError, InsufficientFundsError, RateLimitedError, UnavailableError } from "../dist/index.js";

const SOURCE = fileURLToPath(new URL("../src/components", import.meta.url));
const ERRORS = fileURLToPath(new URL("../../../docs/reference/errors.md", import.meta.url));

/** Writes what `markdown` describes as text: an attribute that could hold something foreign is written out. */
function written(nodes) {
  return nodes
    .map((each) => {
      if (typeof each === "string") return each.replaceAll("<", "&lt;");
      const href = each.props.href ? ` href=${each.props.href}` : "";
      return `<${each.tag}${href}>${written(each.children)}</${each.tag}>`;
    })
    .join("");
}
const shown = (text) => written(markdown(text));

test("nothing of a page is touched by the import", () => {
  assert.equal(globalThis.window, undefined);
  assert.equal(globalThis.customElements, undefined);
});

test("markdown becomes plain elements", () => {
  assert.equal(shown("One **two** and *three*\nfour `a < b`"), "<p>One <strong>two</strong> and <em>three</em><br></br>four <code>a &lt; b</code></p>");
  assert.equal(shown("# Title\n\n- a\n  - b\n- c"), "<h3>Title</h3><ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>");
  assert.equal(shown("> quoted\n> on"), "<blockquote><p>quoted<br></br>on</p></blockquote>");
  assert.equal(shown("```js\nlet a;\n\nlet b;\n```\nafter"), "<pre><code>let a;\n\nlet b;</code></pre><p>after</p>");
  assert.equal(shown("| a | b |\n|---|---|\n| 1 | 2 |"), "<div><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table></div>");
  assert.equal(shown("2 * 3 * 4, snake_case_name, 5*6*7"), "<p>2 * 3 * 4, snake_case_name, 5*6*7</p>");
  assert.equal(shown("参见 https://example.com/a。谢谢"), "<p>参见 <a href=https://example.com/a>https://example.com/a</a>。谢谢</p>");
});

test("an answer that is still coming is drawn as far as it came", () => {
  assert.equal(shown("```py\nprint("), "<pre><code>print(</code></pre>");
  for (const whole of ["**bold** [a](https://b.c) `x` | a |\n|--|\n- x\n  1. y\n> z\n```\nq\n```", "***\n___\n* * *\n#\n-\n1."]) {
    for (let length = 0; length <= whole.length; length += 1) assert.ok(Array.isArray(markdown(whole.slice(0, length))));
  }
});

test("no markup and no address of another kind gets through", () => {
  assert.equal(shown("<script>alert(1)</script>"), "<p>&lt;script>alert(1)&lt;/script></p>");
  for (const address of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "//evil.example", "java\tscript:x", "file:///etc"]) {
    assert.doesNotMatch(shown(`[a](${address}) ![b](${address}) <${address}>`), /<a/, address);
  }
  assert.equal(shown("[a](mailto:a@b.c)"), "<p><a href=mailto:a@b.c>a</a></p>");
});

test("hostile texts take no time", () => {
  const began = performance.now();
  for (const piece of ["*", "**a", "_a ", "`", "[", "[a](", "~~", "> ", "- ", "  - ", "| ", "#", "https://", "*a*"]) markdown(piece.repeat(20_000));
  assert.ok(performance.now() - began < 8_000, `${performance.now() - began} ms`);
});

test("each error says what it is and what helps", () => {
  const said = (error) => [problemOf(error).title, problemOf(error).remedy];
  assert.deepEqual(said(new InsufficientFundsError("", { status: 402, code: "insufficient_funds" })), ["p_funds", "topup"]);
  assert.deepEqual(problemOf(new RateLimitedError("", { status: 429, retryAfter: 6.2 })).values.seconds, 7);
  assert.deepEqual(said(new UnavailableError("", { status: 502, code: "provider_error" })), ["p_provider", "retry"]);
  assert.deepEqual(said(new TypeError("Failed to fetch")), ["p_network", "retry"]);
  assert.deepEqual(problemOf(new FaucetError("The words", { status: 400, code: "new_code" })).said, "The words");
});

test("every code that is advised on is one of the gateway's, or the SDK's own", () => {
  const documented = readFileSync(ERRORS, "utf8");
  const sources = readdirSync(`${SOURCE}/..`).filter((name) => name.endsWith(".ts")).map((name) => readFileSync(`${SOURCE}/../${name}`, "utf8")).join("");
  const codes = [...readFileSync(`${SOURCE}/problems.ts`, "utf8").matchAll(/^ {2}(\w+): \["p_/gm)].map(([, code]) => code);
  assert.ok(codes.length > 20);
  for (const code of codes) assert.ok(documented.includes(`\`${code}\``) || sources.includes(`"${code}"`), code);
});

test("both languages say everything, with the same values", () => {
  const values = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();
  assert.deepEqual(Object.keys(ZH), Object.keys(EN));
  for (const word of Object.keys(EN)) assert.deepEqual(values(ZH[word]), values(EN[word]), word);
  const used = readdirSync(SOURCE).filter((name) => name !== "words.ts").map((name) => readFileSync(`${SOURCE}/${name}`, "utf8")).join("");
  const made = /^(mode|top_up|credit|check|fix)_/; // named by a mode, state, kind or check
  const unused = Object.keys(EN).filter((word) => !made.test(word) && !used.includes(`"${word}"`));
  assert.deepEqual(unused, []);
});
