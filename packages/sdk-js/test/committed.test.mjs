// Before the build, which would make them so: the bundles that the gateway serves are what the source makes.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const { version } = JSON.parse(readFileSync(at("../package.json"), "utf8"));
const STATIC = at(`../../../static/sdk/${version}`);

test("the committed bundles are those of the source, byte for byte", () => {
  const fresh = mkdtempSync(join(tmpdir(), "faucet-"));
  execFileSync(process.execPath, [at("../build.mjs"), "--static", fresh], { stdio: "pipe" });
  assert.deepEqual(readdirSync(fresh).sort(), readdirSync(STATIC).sort());
  for (const name of readdirSync(fresh)) {
    assert.ok(readFileSync(join(fresh, name)).equals(readFileSync(join(STATIC, name))), `${name}: run npm run build and commit static/`);
  }
});
