import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { VERSION } from "../dist/index.js";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const { version } = JSON.parse(readFileSync(at("../package.json"), "utf8"));
const STATIC = at(`../../../static/sdk/${version}`);
const built = (directory) =>
  readdirSync(directory, { recursive: true })
    .filter((name) => /\.(m?js|d\.ts)$/.test(name))
    .map((name) => join(directory, name));

test("the version is that of the package", () => assert.equal(VERSION, version));

test("no built file makes code of text, or holds anything like a secret", () => {
  const files = [...built(at("../dist")), ...built(at("../bin")), ...built(STATIC)];
  assert.ok(files.length > 5);
  const forbidden = [
    /\beval\s*\(/, /\bnew\s+Function\b/, /\bFunction\s*\(/, /setTimeout\s*\(\s*["'`]/,
    /sk-[A-Za-z0-9]{16,}/, /mf_(app|dev|key|sess|brg|local)_[A-Za-z0-9]{8,}/, /-----BEGIN/, /AKIA[0-9A-Z]{16}/, /eyJ[A-Za-z0-9_-]{20,}/,
  ];
  for (const file of files) {
    const content = readFileSync(file, "utf8");
    for (const pattern of forbidden) assert.doesNotMatch(content, pattern, file);
  }
});

test("no public type is any", () => {
  for (const file of built(at("../dist/types"))) {
    const code = readFileSync(file, "utf8").replace(/\/\*[^]*?\*\//g, "").replace(/\/\/.*/g, "");
    assert.doesNotMatch(code, /[:<|(,=]\s*any\b/, file);
  }
});

test("the package asks for no other at run time", () => {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(at("../package.json"), "utf8"));
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
  for (const file of built(STATIC)) {
    const found = readFileSync(file, "utf8").matchAll(/\bimport(?:[\w\s{},*$]*from)?\s*\(?"([^"]+)"/g);
    for (const [, name] of found) assert.match(name, /^\.\/(faucet|local)\.js$/, file);
  }
});
