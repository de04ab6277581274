import assert from "node:assert/strict";
import { test } from "node:test";
import { internals } from "../dist/index.js";

const TEXT = ": note\r\n\r\ndata: {\"a\":\"小猫 🐈\"}\n\nevent: x\rdata: one\rdata:two\r\rdata\n\nid: 7\nignored: y\n\ndata:  z\n\ndata: lost";
const EXPECTED = [
  { event: "", data: "", comment: "note" },
  { event: "", data: '{"a":"小猫 🐈"}' },
  { event: "x", data: "one\ntwo" },
  { event: "", data: "" },
  { event: "", data: " z" },
];

async function read(pieces) {
  const body = new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  });
  const events = [];
  for await (const event of internals.eventsOf(new Response(body))) events.push(event);
  return events;
}

test("a stream is read alike wherever it is cut in two", async () => {
  const bytes = new TextEncoder().encode(TEXT);
  for (let at = 0; at <= bytes.length; at++) {
    assert.deepEqual(await read([bytes.slice(0, at), bytes.slice(at)]), EXPECTED, `cut at ${at}`);
  }
});

test("a stream is read alike byte by byte", async () => {
  const bytes = new TextEncoder().encode(TEXT);
  assert.deepEqual(await read([...bytes].map((byte) => Uint8Array.of(byte))), EXPECTED);
});

test("a byte order mark is not a part of the first line", async () => {
  assert.deepEqual(await read([Uint8Array.of(0xef, 0xbb), Uint8Array.of(0xbf), new TextEncoder().encode("data: a\n\n")]), [
    { event: "", data: "a" },
  ]);
});

test("a line of a megabyte in small pieces is read in good time", { timeout: 5000 }, async () => {
  const piece = new TextEncoder().encode("x".repeat(1000));
  const [event] = await read([new TextEncoder().encode("data: "), ...Array(1000).fill(piece), new TextEncoder().encode("\n\n")]);
  assert.equal(event.data.length, 1_000_000);
});

test("leaving the loop closes the connection", async () => {
  let closed = false;
  const body = new ReadableStream({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("data: a\n\n")),
    cancel: () => void (closed = true),
  });
  for await (const _ of internals.eventsOf(new Response(body))) break;
  assert.equal(closed, true);
});
