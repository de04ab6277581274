#!/usr/bin/env bash
# Install the packed @modelfaucet/sdk and @modelfaucet/react with React into an empty project, check types and render.
set -euo pipefail
modules=$(cd "$(dirname "$0")/../.." && pwd)/node_modules
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
sdk=$(realpath "$1") react=$(realpath "$2")
cd "$project"
for name in react react-dom scheduler @types/react csstype; do
  npm pack --silent --ignore-scripts "$modules/$name" >/dev/null  # what the lock file installed: nothing is fetched
done
echo '{"name": "app", "private": true, "type": "module"}' >package.json
npm install --silent --no-audit --no-fund --offline "$sdk" "$react" ./*.tgz
cat >app.tsx <<'TSX'
import { FaucetChat, FaucetProvider, useBalance, useChat } from "@modelfaucet/react";
import type { FaucetChat as ChatElement } from "@modelfaucet/sdk/components";
import { useRef, type ReactElement } from "react";
function Inside(): ReactElement {
  const chat = useRef<ChatElement>(null);
  const { available } = useBalance();
  const { messages, send } = useChat({ temperature: 0.2 });
  return (
    <>
      <p onClick={() => void send("Hi").then((result) => result?.price_usd?.toUpperCase())}>{available} {messages.length}</p>
      <FaucetChat ref={chat} theme="dark" onAnswer={({ detail }) => detail.price_usd?.toUpperCase()} />
      <button onClick={() => void chat.current?.send("Hi")} />
    </>
  );
}
export const app = <FaucetProvider options={{ baseUrl: "https://ai.example.com", publicAppId: "app_pub_1" }}><Inside /></FaucetProvider>;
TSX
check() { node "$modules/typescript/bin/tsc" --noEmit --strict --jsx react-jsx --module esnext --moduleResolution bundler --target es2022 --lib es2022,dom --types "" "$1"; }
check app.tsx
sed 's/theme="dark"/theme="blue"/' app.tsx >wrong.tsx
if check wrong.tsx >/dev/null; then
  echo "The types let a mistake through." >&2
  exit 1
fi
node --input-type=module -e '
  import assert from "node:assert/strict";
  import { createElement } from "react";
  import { renderToString } from "react-dom/server";
  import { FaucetMode, FaucetProvider } from "@modelfaucet/react";
  const options = { baseUrl: "https://ai.example.com", publicAppId: "app_pub_1" };
  assert.equal(renderToString(createElement(FaucetProvider, { options }, createElement(FaucetMode))), "<faucet-mode></faucet-mode>");'
echo "$(basename "$react"): installed, imported, type-checked"
