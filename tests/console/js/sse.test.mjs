import assert from "node:assert/strict";
import test from "node:test";

const { EventParser, eventsOf } = await import("../../../static/console/js/sse.js");

const STREAM = 'data: {"a":"你好"}\n\n: modelfaucet {"price_usd":"0.1"}\n\ndata: one\ndata: two\r\n\r\nevent: x\nid: 1\n\ndata:bare\n\ndata: [DONE]\n\n';
const EVENTS = [
  { data: '{"a":"你好"}' },
  { comment: 'modelfaucet {"price_usd":"0.1"}' },
  { data: "one\ntwo" },
  { data: "bare" },
  { data: "[DONE]" },
];

test("a stream in one piece", () => {
  assert.deepEqual(new EventParser().feed(STREAM), EVENTS);
});

test("a stream cut at every place", () => {
  for (let cut = 0; cut <= STREAM.length; cut++) {
    const parser = new EventParser();
    assert.deepEqual([...parser.feed(STREAM.slice(0, cut)), ...parser.feed(STREAM.slice(cut))], EVENTS);
  }
});

test("a response whose bytes are cut within a character", async () => {
  const bytes = new TextEncoder().encode(STREAM);
  const body = new ReadableStream({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const events = [];
  for await (const event of eventsOf(new Response(body))) events.push(event);
  assert.deepEqual(events, EVENTS);
});

test("an event that never ended is not one", () => {
  assert.deepEqual(new EventParser().feed("data: half"), []);
});
