import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import {
  AuthenticationError,
  BadRequestError,
  ConnectionError_,
  createFaucet,
  FaucetError,
  InsufficientFundsError,
  NotFoundError,
  PermissionError_,
  RateLimitedError,
  UnavailableError,
} from "../dist/index.js";
import { chunk, completion, fault, gateway, json, seen, session, Store, TOKEN } from "./support.mjs";

const CHAT = "/v1/chat/completions";
const SECRET = "my bank's number is 12345678";
const said = (content = "Hi") => ({ messages: [{ role: "user", content }] });
const of = (server, more = {}) => createFaucet({ baseUrl: `${server.url}/v1/`, publicAppId: "app_pub_1", ...more });
const caught = (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);
const sse = (response) => response.writeHead(200, { "content-type": "text/event-stream", "x-request-id": "req_9" });

test("a chat tells its text, usage, price and route", async (t) => {
  const server = await gateway(t, (request, response) =>
    json(response, completion(), 200, {
      "x-request-id": "req_9",
      "x-modelfaucet-price-usd": "0.0012",
      "x-modelfaucet-route-mode": "byok",
    }),
  );
  const faucet = of(server);
  const spent = [];
  faucet.on("balance", (event) => spent.push(event));
  const answer = await faucet.chat({ ...said(), model: "m", temperature: 0, made_up: [1] });
  assert.equal(`${answer}`, "Hello");
  assert.deepEqual(answer.usage, {
    input_tokens: 5, output_tokens: 2, total_tokens: 7, cache_read_tokens: 1, reasoning_tokens: 0,
  });
  assert.deepEqual([answer.request_id, answer.price_usd, answer.route_mode, answer.finish_reason], ["req_9", "0.0012", "byok", "stop"]);
  const [sent] = seen(server, CHAT);
  assert.deepEqual(sent.body, { messages: [{ role: "user", content: "Hi" }], model: "m", temperature: 0, made_up: [1] });
  assert.equal(sent.headers.authorization, `Bearer ${TOKEN}`);
  assert.match(sent.headers["idempotency-key"], /^[0-9a-f]{32}$/);
  assert.deepEqual(spent.map(({ type, ...event }) => event), [
    { balance_usd: "1.0000", available_usd: "1.0000" },
    { spent_usd: "0.0012" },
  ]);
});

test("generate takes a prompt, and a mode and wishes are told to the gateway", async (t) => {
  const server = await gateway(t, (request, response) => json(response, completion()));
  const faucet = of(server);
  const modes = [];
  const off = faucet.on("mode", ({ mode }) => modes.push(mode));
  faucet.setMode("byok");
  faucet.setMode("byok");
  assert.equal((await faucet.generate({ prompt: "Hi", system: "Be kind." })).text, "Hello");
  off();
  faucet.setMode("platform");
  await faucet.generate("Hi");
  await faucet.chat({ ...said(), mode: "auto", wish: { max_price_usd: "0.02" } });
  const bodies = seen(server, CHAT).map(({ body }) => body);
  assert.deepEqual(bodies[0].messages, [{ role: "system", content: "Be kind." }, { role: "user", content: "Hi" }]);
  assert.deepEqual(bodies.map(({ modelfaucet }) => modelfaucet), [
    { prefer: "byok" }, { policy: "platform_pool" }, { max_price_usd: "0.02" },
  ]);
  assert.deepEqual(modes, ["byok"]);
});

test("one session is opened for many calls at once, and one more when it nears its end", async (t) => {
  let lives = 3600;
  const server = await gateway(t, (request, response) => json(response, completion()), () => session({ expires_in: lives }));
  const faucet = of(server);
  await Promise.all([1, 2, 3, 4].map(() => faucet.chat(said())));
  assert.equal(seen(server, "/v1/sessions").length, 1);
  lives = 1;
  await faucet.session({ refresh: true });
  await new Promise((resolve) => setTimeout(resolve, 850));
  await Promise.all([faucet.chat(said()), faucet.chat(said())]);
  assert.equal(seen(server, "/v1/sessions").length, 3);
});

test("each feature has a session of its own", async (t) => {
  const server = await gateway(t, (request, response) => json(response, completion()), ({ body }) =>
    session({ session_token: `mf_sess_${body.feature_key ?? "default"}` }),
  );
  const faucet = of(server, { featureKey: "write" });
  await faucet.chat(said());
  await faucet.chat({ ...said(), feature: "read" });
  assert.deepEqual(seen(server, CHAT).map(({ headers }) => headers.authorization), ["Bearer mf_sess_write", "Bearer mf_sess_read"]);
});

test("a session that the gateway no longer takes is opened anew, once, by a new user token", async (t) => {
  let good = "";
  const server = await gateway(
    t,
    (request, response) =>
      request.headers.authorization === `Bearer ${good}` ? json(response, completion()) : fault(response, 401, "token_expired"),
    ({ body }) => session({ session_token: `mf_sess_${body.user_token}` }),
  );
  let number = 0;
  const faucet = of(server, { userToken: async () => `user${++number}` });
  good = "mf_sess_user2";
  const answers = await Promise.all([faucet.chat(said()), faucet.chat(said()), faucet.chat(said())]);
  assert.deepEqual(answers.map(String), ["Hello", "Hello", "Hello"]);
  assert.equal(seen(server, "/v1/sessions").length, 2);
  good = "nobody's";
  assert.equal((await caught(faucet.chat(said()))).code, "token_expired");
  assert.equal(seen(server, "/v1/sessions").length, 3);
});

test("a session that the app's backend opened is used as it is", async (t) => {
  const server = await gateway(t, (request, response) => fault(response, 401, "token_expired"), () => session({ session_token: undefined }));
  const faucet = of(server, { sessionToken: "mf_sess_ours", publicAppId: undefined });
  assert.equal((await faucet.session()).end_user_id, "usr_1");
  assert.ok((await caught(faucet.chat(said()))) instanceof AuthenticationError);
  assert.equal(seen(server, CHAT).length, 1);
  assert.equal(seen(server, "/v1/sessions").length, 0);
});

test("an anonymous device keeps its id, also after a restart", async (t) => {
  const server = await gateway(t, (request, response) => json(response, completion()));
  const storage = new Store();
  await of(server, { storage }).session();
  await of(server, { storage }).session();
  const [first, second] = seen(server, "/v1/sessions").map(({ body }) => body.device_id);
  assert.match(first, /^[0-9a-f]{32}$/);
  assert.equal(first, second);
  assert.ok(![...storage.values()].some((value) => value.includes("mf_sess_")), "no token is stored");
});

test("a lost or refused request is sent again with the same key, and no more than twice", async (t) => {
  const server = await gateway(t, (request, response) => {
    const attempt = seen(server, CHAT).length;
    if (attempt === 1) return response.destroy();
    if (attempt === 2) return fault(response, 503, "unavailable", { "retry-after": "0" });
    return json(response, completion());
  });
  assert.equal((await of(server).chat(said())).text, "Hello");
  const keys = seen(server, CHAT).map(({ headers }) => headers["idempotency-key"]);
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
});

test("what stays unavailable is told after two repeats, and nothing is repeated with none allowed", async (t) => {
  const server = await gateway(t, (request, response) => fault(response, 502, "all_providers_failed", { "retry-after": "0" }));
  assert.ok((await caught(of(server).chat(said()))) instanceof UnavailableError);
  assert.equal(seen(server, CHAT).length, 3);
  await caught(of(server, { maxRetries: 0 }).chat(said()));
  assert.equal(seen(server, CHAT).length, 4);
});

test("Retry-After is waited for, unless it is long", async (t) => {
  let wait = "1";
  const server = await gateway(t, (request, response) =>
    seen(server, CHAT).length % 2 ? fault(response, 429, "rate_limit_exceeded", { "retry-after": wait }) : json(response, completion()),
  );
  const began = Date.now();
  await of(server).chat(said());
  assert.ok(Date.now() - began >= 1000);
  wait = "60";
  const error = await caught(of(server).chat(said()));
  assert.ok(error instanceof RateLimitedError);
  assert.equal(error.retryAfter, 60);
  assert.equal(seen(server, CHAT).length, 3);
});

test("a key is not added twice where the answer was lost", async (t) => {
  const server = await gateway(t, (request, response) => response.destroy());
  const error = await caught(of(server).keys.add({ provider: "openai", secret: "sk-verysecretkey" }));
  assert.ok(error instanceof ConnectionError_);
  assert.equal(seen(server, "/v1/user/provider-keys").length, 1);
});

test("each status has its error, with what the gateway told", async (t) => {
  let status = 400;
  const server = await gateway(t, (request, response) =>
    json(response, { error: { message: "No.", type: "x", code: "c", param: "p", request_id: "req_7", details: { a: 1 } } }, status, { "retry-after": "99" }),
  );
  const faucet = of(server);
  const errors = [];
  faucet.on("error", ({ error }) => errors.push(error));
  const classes = { 400: BadRequestError, 401: AuthenticationError, 402: InsufficientFundsError, 403: PermissionError_, 404: NotFoundError, 409: BadRequestError, 429: RateLimitedError, 500: UnavailableError, 503: UnavailableError };
  for (const [code, Class] of Object.entries(classes)) {
    status = Number(code);
    const error = await caught(faucet.chat(said()));
    assert.ok(error instanceof Class && error instanceof FaucetError, code);
    assert.deepEqual(
      [error.status, error.code, error.param, error.requestId, error.retryAfter, error.message, error.details],
      [status, "c", "p", "req_7", 99, "No.", { a: 1 }],
    );
    assert.equal(errors.at(-1), error);
  }
  assert.equal(new PermissionError_("x").name, "PermissionError");
});

test("what is no answer of a gateway is told by its status", async (t) => {
  const server = await gateway(t, (request, response) => response.writeHead(404, { "content-type": "text/html" }).end("<html>"));
  const error = await caught(of(server).chat(said()));
  assert.deepEqual([error.code, error.message], ["http_404", "The server answered with status 404."]);
});

test("no error and no event repeats a prompt or a token", async (t) => {
  const words = [
    `Invalid content: '${SECRET.slice(0, 20)}…'`, `You said "${SECRET}"`, `Bad token ${TOKEN}`, "key sk-verysecretkey is wrong", "eyJhbGciOi.x.y",
  ];
  const server = await gateway(t, (request, response) => fault(response, 400, "provider_rejected_request", {}, words[0]));
  const told = [];
  const faucet = of(server, { onEvent: (event) => told.push(event) });
  for (; words.length; words.shift()) {
    const error = await caught(faucet.chat(said(SECRET)));
    assert.equal(error.cause, undefined);
    for (const text of [error.message, error.stack, JSON.stringify(error)]) {
      assert.doesNotMatch(text, /bank|mf_sess_|sk-very|eyJ/);
    }
  }
  assert.doesNotMatch(JSON.stringify(told.map((event) => [event, event.error?.message])), /bank|mf_sess_/);
  const broken = of(server, { sessionToken: "mf_sess_with\nnewline", maxRetries: 0 });
  const error = await caught(broken.chat(said(SECRET)));
  assert.doesNotMatch(`${error.message}${error.stack}`, /newline/);
});

test("an error that quotes nothing keeps its words", async (t) => {
  const server = await gateway(t, (request, response) => fault(response, 404, "model_not_found", {}, "The model 'x' does not exist here."));
  assert.equal((await caught(of(server).chat(said(SECRET)))).message, "The model 'x' does not exist here.");
});

test("a signal ends a call with its own reason, also while it waits to repeat", async (t) => {
  const server = await gateway(t, (request, response) => fault(response, 503, "unavailable", { "retry-after": "9" }));
  const faucet = of(server);
  const error = await caught(faucet.chat({ ...said(), signal: AbortSignal.timeout(200) }));
  assert.equal(error.name, "TimeoutError");
  const reason = new Error("enough");
  assert.equal(await caught(faucet.chat({ ...said(), signal: AbortSignal.abort(reason) })), reason);
});

test("an answer that does not begin in time is given up", async (t) => {
  const server = await gateway(t, () => undefined);
  const error = await caught(of(server, { timeout: 100, maxRetries: 0 }).chat(said()));
  assert.deepEqual([error.name, error.code], ["ConnectionError", "timeout"]);
});

test("a stream gives its parts and then the whole", async (t) => {
  const server = await gateway(t, async (request, response) => {
    sse(response);
    response.write(chunk({ role: "assistant", content: "" }));
    response.write(chunk({ reasoning_content: "Hm." }));
    const bytes = Buffer.from(chunk({ content: "小猫" }) + chunk({ content: " 🐈" }));
    for (const byte of bytes) response.write(Buffer.of(byte));
    response.write(chunk({ tool_calls: [{ index: 0, id: "call_1", function: { name: "get", arguments: "{\"a\"" } }] }));
    response.write(chunk({ tool_calls: [{ index: 0, function: { arguments: ":1}" } }] }, "tool_calls"));
    response.write(`data: ${JSON.stringify({ choices: [], usage: completion().usage })}\n\n`);
    response.write(': modelfaucet {"request_id":"req_9","price_usd":"0.0003"}\n\n');
    response.end("data: [DONE]\n\n");
  });
  const faucet = of(server);
  const spent = [];
  faucet.on("balance", ({ spent_usd }) => spent_usd && spent.push(spent_usd));
  const stream = faucet.stream(said());
  const parts = [];
  for await (const part of stream) parts.push(part);
  assert.deepEqual(parts.slice(0, 3), [{ type: "reasoning", text: "Hm." }, { type: "text", text: "小猫" }, { type: "text", text: " 🐈" }]);
  assert.deepEqual(parts[3], { type: "tool_call", index: 0, id: "call_1", name: "get", arguments: '{"a":1}' });
  assert.deepEqual([parts[4].type, parts[4].usage.input_tokens, parts[4].price_usd], ["usage", 5, "0.0003"]);
  const result = await stream.result;
  assert.deepEqual([result.text, result.model, result.finish_reason, result.price_usd, result.request_id], ["小猫 🐈", "m", "tool_calls", "0.0003", "req_9"]);
  assert.equal(result.message.tool_calls[0].function.arguments, '{"a":1}');
  assert.deepEqual(spent, ["0.0003"]);
  const [sent] = seen(server, CHAT);
  assert.deepEqual([sent.body.stream, sent.body.stream_options], [true, { include_usage: true }]);
});

test("a stream's result is there without anybody reading", async (t) => {
  const server = await gateway(t, (request, response) => {
    sse(response);
    response.end(`${chunk({ content: "Hello" }, "stop")}data: [DONE]\n\n`);
  });
  assert.equal((await of(server).stream({ prompt: "Hi" }).result).text, "Hello");
});

test("leaving the loop, and abort(), let the gateway see the client leave", async (t) => {
  const server = await gateway(t, (request, response) => {
    sse(response);
    response.write(chunk({ content: "One" }));
  });
  const faucet = of(server);
  const errors = [];
  faucet.on("error", ({ error }) => errors.push(error));
  const left = faucet.stream(said());
  for await (const part of left) {
    assert.equal(part.text, "One");
    break;
  }
  assert.equal((await left.result).finish_reason, "aborted");
  const stopped = faucet.stream(said());
  setTimeout(() => stopped.abort(), 50);
  const parts = [];
  for await (const part of stopped) parts.push(part.text);
  assert.deepEqual(parts, ["One"]);
  const result = await stopped.result;
  assert.deepEqual([result.text, result.finish_reason, result.usage], ["One", "aborted", null]);
  for (const request of seen(server, CHAT)) assert.equal(await request.left, true);
  assert.equal(seen(server, CHAT).length, 2);
  assert.deepEqual(errors, []);
});

test("a caller's signal ends a stream with its reason", async (t) => {
  const server = await gateway(t, (request, response) => {
    sse(response);
    response.write(chunk({ content: "One" }));
  });
  const control = new AbortController();
  const stream = of(server).stream({ ...said(), signal: control.signal });
  const error = await caught(
    (async () => {
      for await (const _ of stream) control.abort(new Error("enough"));
    })(),
  );
  assert.equal(error.message, "enough");
  assert.equal((await caught(stream.result)).message, "enough");
});

test("a stream that breaks off fails and is not sent again", async (t) => {
  const server = await gateway(t, (request, response) => {
    sse(response);
    response.write(chunk({ content: "One" }));
    setTimeout(() => (seen(server, CHAT).length === 1 ? response.destroy() : response.end()), 30);
  });
  const faucet = of(server);
  for (const _ of [1, 2]) {
    const parts = [];
    const error = await caught(
      (async () => {
        for await (const part of faucet.stream(said())) parts.push(part.text);
      })(),
    );
    assert.deepEqual([error.code, parts], ["stream_broke_off", ["One"]]);
  }
  assert.equal(seen(server, CHAT).length, 2);
});

test("a stream that ends with an error fails with that", async (t) => {
  const server = await gateway(t, (request, response) => {
    sse(response);
    response.end(`${chunk({ content: "One" })}data: {"error":{"message":"It quoted ${SECRET}","code":"bridge_lost","request_id":"req_9"}}\n\n`);
  });
  const error = await caught(of(server).stream(said(SECRET)).result);
  assert.deepEqual([error.code, error.requestId], ["bridge_lost", "req_9"]);
  assert.doesNotMatch(error.message, /bank/);
});

test("a stream that is refused before it begins is sent again, and may be refused for good", async (t) => {
  const server = await gateway(t, (request, response) => {
    if (seen(server, CHAT).length === 1) return fault(response, 503, "unavailable", { "retry-after": "0" });
    return fault(response, 402, "insufficient_funds");
  });
  const stream = of(server).stream(said());
  const error = await caught(stream[Symbol.asyncIterator]().next());
  assert.ok(error instanceof InsufficientFundsError);
  assert.equal(seen(server, CHAT).length, 2);
});

test("a typed feature takes input and gives output, whole and streamed", async (t) => {
  const done = { feature: "reply", model: "m", output: { ok: true }, output_problem: null, refusal: null, finish_reason: "stop", usage: { input_tokens: 3, output_tokens: 4, total_tokens: 7 } };
  const server = await gateway(t, (request, response) => {
    if (!request.body.stream) return json(response, done, 200, { "x-request-id": "req_9", "x-modelfaucet-price-usd": "0.1" });
    sse(response);
    response.write('event: feature.delta\ndata: {"text":"{"}\n\n');
    response.write('event: feature.delta\ndata: {"text":"}"}\n\n');
    return response.end(`event: feature.done\ndata: ${JSON.stringify({ ...done, modelfaucet: { price_usd: "0.2" } })}\n\n`);
  });
  const faucet = of(server);
  const reply = faucet.feature("reply");
  const whole = await reply({ text: "Hi" }, { max_tokens: 9 });
  assert.deepEqual([whole.output, whole.usage.input_tokens, whole.price_usd, `${whole}`], [{ ok: true }, 3, "0.1", '{"ok":true}']);
  const stream = reply.stream({ text: "Hi" });
  const parts = [];
  for await (const part of stream) parts.push(part.text ?? part.type);
  const result = await stream.result;
  assert.deepEqual([parts, result.output, result.price_usd, result.text], [["{", "}", "usage"], { ok: true }, "0.2", "{}"]);
  const [sent] = seen(server, "/v1/features/reply");
  assert.deepEqual(sent.body, { max_tokens: 9, input: { text: "Hi" } });
});

test("embeddings are vectors", async (t) => {
  const server = await gateway(t, (request, response) =>
    json(response, { model: "e", data: [{ embedding: [0.5, 1] }], usage: { prompt_tokens: 2, total_tokens: 2 } }),
  );
  const { embeddings, usage } = await of(server).embeddings({ input: ["a"], model: "e" });
  assert.deepEqual([embeddings, usage.input_tokens], [[[0.5, 1]], 2]);
});

test("keys, wallet, fees, usage and budget ask what the API has", async (t) => {
  const server = await gateway(t, (request, response) =>
    request.method === "DELETE" ? response.writeHead(204).end() : json(response, { object: "x", data: [1], balance_usd: "2.0000", available_usd: "1.0000" }),
  );
  const faucet = of(server, { locale: "zh-CN" });
  await faucet.keys.list({ limit: 5 });
  await faucet.keys.update("cred_1", { status: "disabled" });
  assert.equal(await faucet.keys.remove("cred_1"), undefined);
  await faucet.keys.validate("a/b");
  await faucet.wallet.get();
  await faucet.wallet.topUp("20");
  await faucet.wallet.topUp({ amount_usd: "5", idempotencyKey: "k1" });
  await faucet.fees.accept("local", "0.0010");
  await faucet.usage.list({ from: "2026-01-01", cursor: undefined });
  await faucet.usage.receipt("req_1");
  await faucet.budget.set({ daily_usd: null });
  await faucet.local.endpoints.remove("lep_1");
  assert.deepEqual(await faucet.models(), [1]);
  const asked = server.requests.slice(1).map(({ method, path, body }) => [method, path.slice(4), body]);
  assert.deepEqual(asked, [
    ["GET", "user/provider-keys?limit=5", null],
    ["PATCH", "user/provider-keys/cred_1", { status: "disabled" }],
    ["DELETE", "user/provider-keys/cred_1", null],
    ["POST", "user/provider-keys/a%2Fb/validate", null],
    ["GET", "user/wallet", null],
    ["POST", "user/top-ups", { amount_usd: "20" }],
    ["POST", "user/top-ups", { amount_usd: "5" }],
    ["POST", "user/fee-consents", { mode: "local", fee_usd: "0.0010" }],
    ["GET", "user/usage?from=2026-01-01", null],
    ["GET", "receipts/req_1", null],
    ["PUT", "user/budget", { daily_usd: null }],
    ["DELETE", "local/endpoints/lep_1", null],
    ["GET", "models", null],
  ]);
  const [, first, second] = seen(server, "/v1/user/top-ups").map(({ headers }) => headers["idempotency-key"]).toSpliced(0, 0, "");
  assert.match(first, /^[0-9a-f]{32}$/);
  assert.equal(second, "k1");
  assert.equal(server.requests.at(-1).headers["accept-language"], "zh-CN");
});

test("signing out revokes every session and forgets it", async (t) => {
  const server = await gateway(t, (request, response) => response.writeHead(204).end());
  const faucet = of(server);
  await faucet.session();
  await faucet.session({ feature: "x" });
  await faucet.signOut();
  assert.equal(seen(server, "/v1/sessions/current").length, 2);
  await faucet.session();
  assert.equal(seen(server, "/v1/sessions").length, 3);
});

test("a listener that throws fails no call, and its error is not swallowed", async (t) => {
  const server = await gateway(t, (request, response) => json(response, completion()));
  const program = `
    import { createFaucet } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)};
    process.on("uncaughtException", (error) => console.log("uncaught", error.message));
    const faucet = createFaucet({ baseUrl: "${server.url}", onEvent: () => { throw new Error("listener"); } });
    console.log(String(await faucet.generate("Hi")));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program]);
  assert.match(stdout, /uncaught listener/);
  assert.match(stdout, /^Hello$/m);
});
