import assert from "node:assert/strict";
import test from "node:test";

globalThis.window = { matchMedia: () => ({ matches: true }) };
const { format, nano, placesOf, short } = await import("../../../static/console/js/money.js");

test("amounts keep every digit that is there", () => {
  assert.equal(format(nano("0.0006335")), "$0.0006335");
  assert.equal(format(nano("0.000000001")), "$0.000000001");
  assert.equal(format(nano("12.5000")), "$12.500000");
  assert.equal(format(nano("0")), "$0.000000");
});

test("a debit has its sign before the currency", () => {
  assert.equal(format(nano("-0.0004")), "−$0.000400");
});

test("short amounts have two places at least", () => {
  assert.equal(short(nano("0.5000")), "$0.50");
  assert.equal(short(nano("0.014413")), "$0.014413");
});

test("places are six unless an amount needs more", () => {
  assert.equal(placesOf(nano("0.5")), 6);
  assert.equal(placesOf(nano("0.0000724")), 7);
});

test("decimal strings become exact nano-dollars", () => {
  for (const usd of ["0.0006335", "0.1", "0.29", "1.005", "8399999.999999999"]) {
    assert.equal(nano(usd), Number(BigInt(usd.replace(".", "").padEnd(usd.indexOf(".") + 9, "0"))));
  }
});
