// Builds dist/ for npm, and the bundles for <script type="module"> that the gateway serves: static/sdk/VERSION/, committed.
// node build.mjs          both
// node build.mjs --dist   dist/ only
// node build.mjs --static DIRECTORY   the bundles only, there (a test compares them with those that are committed)
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const { version } = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8"));
const [only, directory] = process.argv.slice(2);
const STATIC = directory ?? join(HERE, "..", "..", "static", "sdk", version);
// Bytes of the core on the wire.
const MOST = 8192;
const BANNER = `/*! ModelFaucet SDK ${version} | Apache-2.0 */`;

/**
 * Keeps each file's own code apart: what is beside the core imports it under `core`, so that a page has it once, and the
 * core fetches its local part when it is needed.
 */
const apart = (core) => ({
  name: "apart",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\/(index|local)\.js$/ }, ({ path, resolveDir, kind }) => {
      const found = join(resolveDir, path);
      if (found === join(HERE, "src", "index.js")) return { path: core, external: true };
      return found === join(HERE, "src", "local.js") && kind === "dynamic-import" ? { path, external: true } : undefined;
    });
  },
});

async function bundle(entry, outfile, more) {
  await build({
    absWorkingDir: HERE,
    bundle: true,
    charset: "utf8",
    entryPoints: [entry],
    format: "esm",
    legalComments: "none",
    logLevel: "warning",
    outfile,
    target: "es2022",
    ...more,
  });
}

// The name of an entry in dist/ and, where it differs, on the web.
const entries = [["index", "faucet"], ["local"], ["components", "components", "components/index"]];

async function bundles(directory, web, more) {
  for (const [npm, page = npm, source = npm] of entries) {
    const entry = `src/${source}.ts`;
    if (!existsSync(join(HERE, entry))) continue;
    const plugins = [apart(web ? "./faucet.js" : "./index.js")];
    await bundle(entry, join(directory, `${web ? page : npm}.js`), { plugins, ...more });
  }
}

if (only !== "--dist") {
  mkdirSync(STATIC, { recursive: true });
  await bundles(STATIC, true, { minify: true, banner: { js: BANNER } });
}
if (only !== "--static") {
  rmSync(join(HERE, "dist"), { recursive: true, force: true });
  await bundles(join(HERE, "dist"), false, {});
  const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", HERE], { stdio: "inherit" });
}

const { outputFiles } = await build({
  bundle: true,
  entryPoints: [join(HERE, "src", "index.ts")],
  format: "esm",
  minify: true,
  plugins: [apart("./faucet.js")],
  target: "es2022",
  write: false,
});
const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
writeFileSync(1, `faucet.js: ${size} bytes gzipped, of at most ${MOST}\n`);
if (size > MOST) process.exit(1);
