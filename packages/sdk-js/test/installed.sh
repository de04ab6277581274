#!/usr/bin/env bash
# Install a packed @modelfaucet/sdk into an empty project, then import it, check types against it and run its command.
set -euo pipefail
tsc=$(cd "$(dirname "$0")/../.." && pwd)/node_modules/typescript/bin/tsc
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
tarball=$(realpath "$1")
cd "$project"
echo '{"name": "app", "private": true, "type": "module"}' >package.json
npm install --silent --no-audit --no-fund --offline "$tarball"
cat >app.ts <<'TS'
import { createFaucet, FaucetError, RateLimitedError, type ChatResult, type Faucet, type StreamPart } from "@modelfaucet/sdk";
const faucet: Faucet = createFaucet({ baseUrl: "https://ai.example.com", publicAppId: "app_pub_1", userToken: async () => "eyJ" });
export async function use(): Promise<ChatResult> {
  for await (const part of faucet.stream({ prompt: "Hi" })) {
    const told: StreamPart = part;
    if (told.type === "text") told.text.toUpperCase();
  }
  const reply = faucet.feature<{ input: { text: string }; output: { mood: "good" | "bad" } }>("reply");
  const { output } = await reply({ text: "Hi" });
  const mood: "good" | "bad" = output.mood;
  faucet.on("balance", ({ spent_usd }) => spent_usd?.toUpperCase());
  try {
    return await faucet.chat({ messages: [{ role: "user", content: mood }], max_tokens: 9 });
  } catch (error) {
    if (error instanceof RateLimitedError) throw new Error(String(error.retryAfter));
    throw error instanceof FaucetError ? new Error(error.code) : error;
  }
}
TS
for resolution in nodenext bundler; do
  module=$([ "$resolution" = bundler ] && echo esnext || echo nodenext)
  node "$tsc" --noEmit --strict --module "$module" --moduleResolution "$resolution" --target es2022 --lib es2022,dom --types "" app.ts
done
sed 's/"Hi" }); *$/5 });/; s/max_tokens: 9/max_tokens: "9"/' app.ts >wrong.ts
if node "$tsc" --noEmit --strict --module nodenext --target es2022 --lib es2022,dom --types "" wrong.ts >/dev/null; then
  echo "The types let a mistake through." >&2
  exit 1
fi
node --input-type=module -e '
  import assert from "node:assert/strict";
  import { createFaucet, VERSION } from "@modelfaucet/sdk";
  import "@modelfaucet/sdk/local";
  const faucet = createFaucet({ baseUrl: "http://127.0.0.1:9", publicAppId: "app_pub_1", bridgeUrl: "http://127.0.0.1:9", maxRetries: 0 });
  assert.equal(await faucet.local.discover(), null);
  await assert.rejects(faucet.generate("Hi"), { name: "ConnectionError", code: "connection_failed" });
  assert.match(VERSION, /^\d+\.\d+\.\d+$/);'
echo '{"input": {"type": "object", "properties": {"text": {"type": "string"}}}}' >reply.json
npx --no-install modelfaucet-sdk types reply.json | grep -q 'text?: string;'
echo "$(basename "$tarball"): installed, imported, type-checked"
