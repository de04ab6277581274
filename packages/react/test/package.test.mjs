// On a server: everything renders without a window, and nothing of the elements is loaded.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement as h } from "react";
import { renderToString } from "react-dom/server";
import * as faucet from "@modelfaucet/react";

const options = { baseUrl: "https://ai.example.com", publicAppId: "app_pub_1" };
const inside = (...children) => renderToString(h(faucet.FaucetProvider, { options }, ...children));

test("elements render on a server with their attributes, and without what is the browser's", () => {
  const onAnswer = () => assert.fail();
  const shown = inside(
    h(faucet.FaucetChat, { heading: "Ask <us>", suggestions: ["One", "Two"], noPrice: true, fill: false, className: "wide", onAnswer }),
    h(faucet.FaucetCommand, { htmlFor: "note", commands: [{ label: "Shorten", feature: "shorten" }] }),
  );
  assert.equal(
    shown,
    '<faucet-chat heading="Ask &lt;us&gt;" suggestions="One|Two" no-price="" class="wide"></faucet-chat>' +
      '<faucet-command for="note"></faucet-command>',
  );
  assert.equal(globalThis.customElements, undefined);
});

test("there is a component for every element, and each is rendered by its tag", async () => {
  const { ELEMENTS } = await import("@modelfaucet/sdk/components");
  for (const tag of Object.keys(ELEMENTS)) {
    const name = tag.replace(/(^|-)(\w)/g, (_, __, letter) => letter.toUpperCase());
    assert.equal(inside(h(faucet[name])), `<${tag}></${tag}>`);
  }
});

test("hooks render their first state on a server", () => {
  const Shown = () => {
    const chat = faucet.useChat({ initialMessages: [{ role: "assistant", content: "Hi" }] });
    const [balance, usage, mode, local] = [faucet.useBalance(), faucet.useUsage(), faucet.useMode(), faucet.useLocal()];
    return h("p", null, [chat.state, chat.messages.length, balance.loading, usage.data, mode.mode, local.paired].join());
  };
  assert.equal(inside(h(Shown)), "<p>idle,1,true,,auto,false</p>");
});

test("a hook or an element without a provider says what is missing", () => {
  const Alone = () => h("p", null, faucet.useFaucet().mode);
  assert.throws(() => renderToString(h(Alone)), /FaucetProvider/);
  assert.throws(() => renderToString(h(faucet.FaucetChat)), /FaucetProvider/);
  assert.throws(() => renderToString(h(faucet.FaucetProvider, {})), /`faucet` or `options`/);
});
