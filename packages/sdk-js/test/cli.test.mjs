import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { typesOf } from "../bin/cli.mjs";

const CLI = fileURLToPath(new URL("../bin/cli.mjs", import.meta.url));
const TSC = fileURLToPath(new URL("../../node_modules/typescript/bin/tsc", import.meta.url));
const MANIFEST = {
  version: 1,
  input: {
    type: "object",
    $defs: { tone: { enum: ["friendly", "formal"] } },
    properties: {
      text: { type: "string", description: "The mail.\nWith */ in it." },
      tone: { $ref: "#/$defs/tone" },
      "max-words": { type: ["integer", "null"] },
      tags: { type: "array", items: { anyOf: [{ type: "string" }, { type: "number" }] } },
      pair: { type: "array", prefixItems: [{ type: "string" }, { type: "boolean" }], items: false },
      any: {},
    },
    required: ["text"],
    additionalProperties: false,
  },
  output: { kind: "json", schema: { type: "object", properties: { mood: { const: "good" } }, required: ["mood"] } },
};

test("a manifest's types are those of its schemas", () => {
  assert.equal(
    typesOf({ "reply-mail": MANIFEST }),
    `// Made by \`npx @modelfaucet/sdk types\`; do not edit.

export interface ReplyMail {
  input: {
    /** The mail. With * / in it. */
    text: string;
    tone?: "friendly" | "formal";
    "max-words"?: number | null;
    tags?: (string | number)[];
    pair?: [string, boolean];
    any?: unknown;
  };
  output: {
    mood: "good";
    [member: string]: unknown;
  };
}

export interface Features {
  "reply-mail": ReplyMail;
}
`,
  );
});

test("the command writes types by which the compiler finds mistakes", () => {
  const directory = mkdtempSync(join(tmpdir(), "faucet-"));
  const at = (name) => join(directory, name);
  writeFileSync(at("reply.json"), JSON.stringify({ object: "manifest", manifest: MANIFEST }));
  writeFileSync(at("other.json"), "{}");
  const made = spawnSync(process.execPath, [CLI, "types", at("reply.json"), `summary=${at("other.json")}`], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stdout, /export interface Summary \{\n {2}input: Record<string, unknown>;\n {2}output: string;/);
  writeFileSync(at("features.d.ts"), made.stdout);
  const head = `import { createFaucet } from ${JSON.stringify(fileURLToPath(new URL("../dist/types/index.js", import.meta.url)))};
    import type { Features, Reply } from "./features.js";
    const faucet = createFaucet({ baseUrl: "x" });
    const key: keyof Features = "reply";
    const reply = faucet.feature<Reply>(key);\n`;
  const check = (line) => {
    writeFileSync(at("app.mts"), head + line);
    const args = [TSC, "--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom", "--types", "", at("app.mts")];
    return spawnSync(process.execPath, args, { encoding: "utf8", cwd: directory }).stdout;
  };
  assert.equal(check('const mood: "good" = (await reply({ text: "Hi", tone: "formal" })).output.mood; void mood;'), "");
  assert.match(check('await reply({ text: "Hi", tone: "rude" });'), /"rude"/);
  assert.match(check("await reply({});"), /text/);
});

test("the command says what it wants and what it cannot read", () => {
  const run = (...args) => spawnSync(process.execPath, [CLI, ...args], { encoding: "utf8" });
  assert.deepEqual([run().status, run("types").status], [2, 2]);
  assert.match(run("types").stderr, /^Usage/);
  const missing = run("types", "/nowhere/x.json");
  assert.deepEqual([missing.status, missing.stdout], [1, ""]);
  assert.throws(() => typesOf({ a: { input: { $ref: "#/$defs/none" } } }), /leads nowhere/);
  assert.throws(() => typesOf({ "a-b": {}, a_b: {} }), /same type name/);
});
