import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { createFaucet } from "../dist/index.js";
import { chunk, completion, fault, gateway, json, seen, serve, session, Store, TOKEN, until } from "./support.mjs";

const BRIDGE_TOKEN = "mf_local_abcdefghijkl";
const CHAT = "/v1/chat/completions";
const REPORTS = "/v1/local/usage-reports";
const said = { messages: [{ role: "user", content: "my secret" }], model: "tiny" };
const caught = (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);

const ENDPOINTS = [
  { name: "cloud", kind: "openai_compatible", local: false, enabled: true, health: { state: "up" }, models: [{ id: "far", capabilities: ["chat"] }] },
  { name: "off", kind: "vllm", local: true, enabled: true, health: { state: "down" }, models: [{ id: "dead" }] },
  { name: "ollama", kind: "ollama", local: true, enabled: true, health: { state: "up" }, models: [{ id: "embed", capabilities: ["embeddings"] }, { id: "tiny", capabilities: ["chat"] }] },
];

/** Starts a bridge; `more` is what it says of itself. */
function bridge(t, answer = (request, response) => json(response, completion("local")), more = {}) {
  return serve(t, (request, response) => {
    const paired = request.headers.authorization === `Bearer ${BRIDGE_TOKEN}`;
    if (request.path === "/status") {
      if (request.headers.authorization && !paired) return fault(response, 401, "invalid_token");
      const status = { name: "modelfaucet-bridge", version: "0.1.0", ok: true, requires_token: true, reports: false, gateway: null, ...more };
      return json(response, paired ? { ...status, endpoints: ENDPOINTS } : status);
    }
    if (request.path.startsWith("/pair")) return answer(request, response);
    if (!paired) return fault(response, 401, "invalid_token");
    return answer(request, response);
  });
}

/** Starts a gateway that takes reports, and knows those that it has. */
function accountant(t, opened, taken = new Map()) {
  const known = taken;
  return gateway(
    t,
    (request, response) => {
      if (request.path !== REPORTS) return fault(response, 404, "unknown_url");
      const data = request.body.reports.map((report) => {
        const state = report.model === "refused" ? "rejected" : known.has(report.report_id) ? "duplicate" : "accepted";
        if (state === "accepted") known.set(report.report_id, report);
        return { report_id: report.report_id, state, request_id: `req_${report.report_id}`, price_usd: "0.0010", error: { code: "invalid_report" } };
      });
      return json(response, { object: "list", data });
    },
    opened,
  );
}

const of = (server, local, more = {}) =>
  createFaucet({ baseUrl: server.url, publicAppId: "app_pub_1", mode: "local", bridgeUrl: local?.url, bridgeToken: BRIDGE_TOKEN, maxRetries: 0, ...more });

test("a bridge is found, and its absence is no error", async (t) => {
  const server = await gateway(t, () => undefined);
  const local = await bridge(t);
  const errors = [];
  const onEvent = (event) => errors.push(event);
  const found = await of(server, local, { onEvent, bridgeToken: undefined }).local.discover();
  assert.deepEqual(found, { url: local.url, name: "modelfaucet-bridge", version: "0.1.0", ok: true, reports: false, gateway: null });
  for (const url of ["http://127.0.0.1:9", server.url]) {
    assert.equal(await of(server, { url }, { onEvent }).local.discover(), null);
  }
  const silent = await serve(t, () => undefined);
  const began = Date.now();
  assert.equal(await of(server, silent, { onEvent }).local.discover(), null);
  assert.ok(Date.now() - began < 2000);
  assert.deepEqual(errors, []);
});

test("models are those on the user's own machine that work", async (t) => {
  const server = await gateway(t, () => undefined);
  const faucet = of(server, await bridge(t));
  assert.deepEqual((await faucet.local.models()).map(({ id, kind }) => [id, kind]), [["embed", "ollama"], ["tiny", "ollama"]]);
  assert.equal((await faucet.local.status()).endpoints.length, 3);
});

test("a page pairs, keeps its token, and forgets one that was withdrawn", async (t) => {
  let asked = 0;
  let token = BRIDGE_TOKEN;
  const local = await bridge(t, (request, response) => {
    if (request.path === "/pair") return json(response, { pairing_id: "pair_1", code: "4821", expires_in: 120 }, 202);
    if (request.path === "/pair/pair_1") return json(response, ++asked < 2 ? { state: "waiting" } : { state: "allowed", token });
    return json(response, completion("local"));
  });
  const server = await accountant(t);
  const storage = new Store();
  const options = { storage, bridgeToken: undefined };
  const faucet = of(server, local, options);
  assert.equal((await caught(faucet.chat(said))).code, "not_paired");
  const pairing = await faucet.local.pair({ appName: "Notes" });
  assert.equal(pairing.code, "4821");
  assert.deepEqual(seen(local, "/pair")[0].body, { app_name: "Notes" });
  assert.equal(await pairing.allowed, true);
  assert.equal((await faucet.chat(said)).text, "local");
  assert.equal((await of(server, local, options).local.status()).paired, true);
  token = "mf_local_withdrawn";
  storage.set(`faucet:bridge:${local.url}`, token);
  const status = await of(server, local, options).local.status();
  assert.deepEqual([status.paired, status.models], [false, []]);
  await faucet.local.unpair();
  assert.equal(storage.get(`faucet:bridge:${local.url}`), undefined);
});

test("a pairing that is denied or given up is not allowed", async (t) => {
  let state = "denied";
  const local = await bridge(t, (request, response) =>
    request.path === "/pair" ? json(response, { pairing_id: "p", code: "1", expires_in: 120 }, 202) : json(response, { state }),
  );
  const faucet = of(await gateway(t, () => undefined), local, { bridgeToken: undefined });
  assert.equal(await (await faucet.local.pair()).allowed, false);
  state = "waiting";
  const pairing = await faucet.local.pair();
  pairing.cancel();
  assert.equal(await pairing.allowed, false);
});

test("a local chat goes to the bridge only, and its usage to the gateway once", async (t) => {
  const local = await bridge(t);
  const server = await accountant(t);
  const faucet = of(server, local);
  const spent = [];
  faucet.on("balance", ({ spent_usd }) => spent_usd && spent.push(spent_usd));
  const answer = await faucet.chat({ ...said, wish: { policy: "local_first" } });
  assert.deepEqual([answer.text, answer.route_mode, answer.request_id], ["local", "local", null]);
  assert.deepEqual(seen(local, CHAT)[0].body, said);
  await until(async () => (await faucet.local.reports.pending()).length === 0);
  const [{ body }] = seen(server, REPORTS);
  const { report_id, latency_ms, started_at, ...report } = body.reports[0];
  assert.deepEqual(report, { model: "tiny", endpoint_kind: "ollama", input_tokens: 5, output_tokens: 2, cache_read_tokens: 1, status: "ok" });
  assert.ok(latency_ms >= 0 && Date.parse(started_at) <= Date.now());
  assert.deepEqual(spent, ["0.0010"]);
  assert.doesNotMatch(JSON.stringify(server.requests.map((request) => request.body)), /my secret/);
  await caught(answer.receipt());
  assert.equal(server.requests.at(-1).path, `/v1/receipts/req_${report_id}`);
});

test("a feature that is local_only goes to the bridge whatever the mode", async (t) => {
  const local = await bridge(t);
  const server = await accountant(t, () => session({ privacy_mode: "local_only" }));
  const faucet = of(server, local, { mode: "platform" });
  assert.equal((await faucet.chat(said)).text, "local");
  assert.equal((await faucet.stream(said).result.catch((error) => error)).code, "stream_broke_off"); // it answered in JSON
  assert.equal(seen(server, CHAT).length, 0);
  const alone = of(server, { url: "http://127.0.0.1:9" }, { mode: "auto" });
  const error = await caught(alone.chat(said));
  assert.deepEqual([error.name, error.code], ["BridgeError", "bridge_unavailable"]);
  assert.equal(seen(server, CHAT).length, 0);
});

test("a model that the machine does not have is served by one that it has, never by a channel to a provider", async (t) => {
  const local = await bridge(t, (request, response) =>
    request.path === CHAT ? json(response, completion()) : json(response, { data: [{ embedding: [1] }], model: "embed" }),
  );
  const faucet = of(await accountant(t), local);
  await faucet.chat({ ...said, model: "far" });
  await faucet.embeddings({ input: "x" });
  assert.equal(seen(local, CHAT)[0].body.model, "tiny");
  assert.equal(seen(local, "/v1/embeddings")[0].body.model, "embed");
});

test("a local stream gives parts and usage, and abort() lets the model stop", async (t) => {
  let open = false;
  const local = await bridge(t, (request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(chunk({ content: "小" }));
    if (open) return;
    response.write(chunk({ content: "猫" }, "stop"));
    response.end("data: [DONE]\n\n");
  });
  const server = await accountant(t);
  const faucet = of(server, local);
  const parts = [];
  const stream = faucet.stream(said);
  for await (const part of stream) parts.push(part.text ?? part.type);
  assert.deepEqual(parts, ["小", "猫", "usage"]);
  assert.deepEqual([(await stream.result).text, `${await stream.result}`], ["小猫", "小猫"]);
  open = true;
  const left = faucet.stream(said);
  for await (const _ of left) break;
  assert.equal((await left.result).finish_reason, "aborted");
  assert.equal(await seen(local, CHAT)[1].left, true);
  await until(() => seen(server, REPORTS).flatMap(({ body }) => body.reports).length === 2);
  const [whole] = seen(server, REPORTS)[0].body.reports;
  assert.deepEqual([whole.input_tokens, whole.output_tokens], [3, 1]); // estimated: this model does not count
});

test("a bridge of the same gateway gets the session and reports itself; another never sees it", async (t) => {
  const server = await accountant(t);
  const answer = (request, response) =>
    json(response, completion(), 200, request.headers["x-faucet-session"] ? { "x-faucet-reported": "bridge" } : {});
  const ours = await bridge(t, answer, { reports: true, gateway: server.url });
  const faucet = of(server, ours);
  await faucet.chat(said);
  const { headers } = seen(ours, CHAT)[0];
  assert.deepEqual([headers["x-faucet-session"], headers["x-faucet-gateway"], headers["x-faucet-feature"]], [TOKEN, server.url, "default"]);
  assert.deepEqual(await faucet.local.reports.pending(), []);
  assert.equal(seen(server, REPORTS).length, 0);
  const theirs = await bridge(t, answer, { reports: true, gateway: "https://other.example.com" });
  await of(server, theirs).chat(said);
  assert.equal(seen(theirs, CHAT)[0].headers["x-faucet-session"], undefined);
});

test("what the bridge refuses is a BridgeError that quotes nothing, and is reported as such", async (t) => {
  const server = await accountant(t);
  const local = await bridge(t, (request, response) => fault(response, 500, "upstream_failed", {}, 'Failed on "my secret"'));
  const faucet = of(server, local);
  const error = await caught(faucet.chat(said));
  assert.deepEqual([error.name, error.code, error.status], ["BridgeError", "upstream_failed", 500]);
  assert.doesNotMatch(error.message, /secret/);
  assert.equal(seen(local, CHAT).length, 1);
  await until(() => seen(server, REPORTS).length);
  const [report] = seen(server, REPORTS)[0].body.reports;
  assert.deepEqual([report.status, report.error_code], ["error", "upstream_failed"]);
});

test("without the gateway local models answer, and the report is sent after a restart", async (t) => {
  const local = await bridge(t);
  const storage = new Store();
  const baseUrl = "http://127.0.0.1:9";
  const offline = createFaucet({ baseUrl, publicAppId: "app_pub_1", mode: "local", bridgeUrl: local.url, bridgeToken: BRIDGE_TOKEN, storage, maxRetries: 0 });
  assert.equal((await offline.chat(said)).text, "local");
  assert.equal((await offline.local.reports.pending()).length, 1);
  const taken = new Map();
  const server = await accountant(t, undefined, taken);
  // The same app at the same address, which answers now.
  const fetchThere = (url, init) => fetch(String(url).replace(baseUrl, server.url), init);
  const again = createFaucet({ baseUrl, publicAppId: "app_pub_1", storage, fetch: fetchThere });
  await again.session();
  await until(() => taken.size === 1);
  await until(async () => (await again.local.reports.pending()).length === 0);
});

test("reports of one user are not sent in another's name", async (t) => {
  const local = await bridge(t);
  const storage = new Store();
  let user = "usr_1";
  let down = true;
  const server = await gateway(
    t,
    (request, response) =>
      down
        ? fault(response, 503, "unavailable")
        : json(response, { data: request.body.reports.map(({ report_id }) => ({ report_id, state: "accepted" })) }),
    () => session({ end_user_id: user }),
  );
  await of(server, local, { storage }).chat(said);
  await until(() => seen(server, REPORTS).length);
  down = false;
  user = "usr_2";
  const other = of(server, local, { storage });
  assert.deepEqual(await other.local.reports.flush(), { accepted: 0, duplicate: 0, rejected: 0, pending: 1 });
  user = "usr_1";
  assert.deepEqual(await of(server, local, { storage }).local.reports.flush(), { accepted: 1, duplicate: 0, rejected: 0, pending: 0 });
});

test("a report whose fee is not covered is kept and sent again", async (t) => {
  const storage = new Store();
  let funded = false;
  const server = await gateway(
    t,
    (request, response) =>
      json(response, {
        data: request.body.reports.map(({ report_id }) =>
          funded ? { report_id, state: "accepted" } : { report_id, state: "rejected", error: { code: "insufficient_funds" } }),
      }),
    () => session({ end_user_id: "usr_1" }),
  );
  const started_at = new Date().toISOString();
  storage.set(`faucet:${server.url}|app_pub_1:reports`, JSON.stringify([{ user: "usr_1", report: { report_id: "r1", model: "tiny", started_at } }]));
  const faucet = of(server, null, { storage });
  assert.deepEqual(await faucet.local.reports.flush(), { accepted: 0, duplicate: 0, rejected: 0, pending: 1 });
  funded = true; // the session that was just opened may have sent it again already
  assert.equal((await faucet.local.reports.flush()).pending, 0);
  assert.ok(seen(server, REPORTS).length >= 2);
});

test("many reports are sent a hundred at a time, and refused and old ones are not kept", async (t) => {
  const storage = new Store();
  const taken = new Map();
  const server = await accountant(t, undefined, taken);
  const key = `faucet:${server.url}|app_pub_1:reports`;
  const started_at = new Date().toISOString();
  const all = Array.from({ length: 230 }, (_, number) => ({ user: "usr_1", report: { report_id: `r${number}`, model: number ? "tiny" : "refused", started_at } }));
  all.push({ user: "usr_1", report: { report_id: "old", model: "tiny", started_at: "2020-01-01T00:00:00Z" } });
  storage.set(key, JSON.stringify(all));
  const faucet = of(server, null, { storage });
  const errors = [];
  faucet.on("error", ({ error }) => errors.push(error.code));
  const [first, second] = await Promise.all([faucet.local.reports.flush(), faucet.local.reports.flush()]);
  assert.deepEqual([first.accepted + second.accepted, first.rejected + second.rejected, first.pending, storage.get(key)], [229, 1, 0, undefined]);
  assert.deepEqual(seen(server, REPORTS).map(({ body }) => body.reports.length), [100, 100, 30]);
  assert.deepEqual(errors, ["invalid_report"]);
  storage.set(key, "{broken");
  assert.deepEqual(await faucet.local.reports.pending(), []);
});

test("a lost answer to a report is asked for again and counts once", async (t) => {
  const taken = new Map();
  let lose = true;
  const server = await gateway(t, (request, response) => {
    const data = request.body.reports.map(({ report_id }) => {
      const state = taken.has(report_id) ? "duplicate" : "accepted";
      taken.set(report_id, 1);
      return { report_id, state };
    });
    if (lose) return (lose = false), response.destroy();
    return json(response, { data });
  });
  const faucet = of(server, await bridge(t), { maxRetries: 2 });
  await faucet.chat(said);
  await until(async () => (await faucet.local.reports.pending()).length === 0);
  assert.equal(taken.size, 1);
  assert.equal(seen(server, REPORTS).length, 2);
});

test("processes that share a file lose no report and send none twice", { timeout: 60_000 }, async (t) => {
  const local = await bridge(t);
  const taken = new Map();
  const server = await accountant(t, undefined, taken);
  const file = join(await mkdtemp(join(tmpdir(), "faucet-")), "storage.json");
  const program = `
    import { readFileSync, writeFileSync, renameSync } from "node:fs";
    import { createFaucet } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)};
    const read = () => { try { return JSON.parse(readFileSync(${JSON.stringify(file)}, "utf8")); } catch { return {}; } };
    const write = (all) => { const own = ${JSON.stringify(file)} + process.pid; writeFileSync(own, JSON.stringify(all)); renameSync(own, ${JSON.stringify(file)}); };
    const storage = {
      getItem: (key) => read()[key] ?? null,
      setItem: (key, value) => write({ ...read(), [key]: value }),
      removeItem: (key) => { const { [key]: _, ...rest } = read(); write(rest); },
    };
    const faucet = createFaucet({ baseUrl: ${JSON.stringify(server.url)}, publicAppId: "app_pub_1", deviceId: "d", mode: "local", bridgeUrl: ${JSON.stringify(local.url)}, bridgeToken: ${JSON.stringify(BRIDGE_TOKEN)}, storage });
    for (let i = 0; i < 4; i++) await faucet.generate("Hi");
    while ((await faucet.local.reports.pending()).length) await faucet.local.reports.flush();`;
  const run = () => promisify(execFile)(process.execPath, ["--input-type=module", "-e", program]);
  await Promise.all([run(), run()]);
  assert.equal(taken.size, 8);
  const sent = seen(server, REPORTS).flatMap(({ body }) => body.reports.map(({ report_id }) => report_id));
  assert.equal(new Set(sent).size, sent.length);
  assert.deepEqual(Object.keys(JSON.parse(await readFile(file, "utf8"))), []);
});

test("a typed feature that is local_only is prompted on the machine, and its answer is checked there", async (t) => {
  const shape = {
    key: "reply", privacy_mode: "local_only", max_output_tokens: 60,
    input: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
    output: { kind: "json", schema: { type: "object", properties: { mood: { enum: ["good", "bad"] } }, required: ["mood"] } },
    prompt: { system: "Be kind.", user: "{% if input.text %}Say {{ input.text|upper }}{% endif %}", examples: [{ user: "a", assistant: "b" }] },
  };
  let said = '```json\n{"mood": "good"}\n```';
  const local = await bridge(t, (request, response) => {
    if (!request.body.stream) return json(response, completion(said));
    response.writeHead(200, { "content-type": "text/event-stream" });
    return response.end(`${chunk({ content: said }, "stop")}data: [DONE]\n\n`);
  });
  const server = await gateway(t, (request, response) => json(response, request.path === REPORTS ? { data: [] } : shape), () => session({ privacy_mode: "local_only" }));
  const reply = of(server, local, { mode: "auto" }).feature("reply");
  const answer = await reply({ text: "cat" });
  assert.deepEqual([answer.output, answer.output_problem, answer.feature, answer.usage.input_tokens], [{ mood: "good" }, null, "reply", 5]);
  const { body } = seen(local, CHAT)[0];
  assert.deepEqual(body.messages, [
    { role: "system", content: "Be kind." }, { role: "user", content: "a" }, { role: "assistant", content: "b" }, { role: "user", content: "Say CAT" },
  ]);
  assert.deepEqual([body.max_tokens, body.response_format.type, body.modelfaucet], [60, "json_schema", undefined]);
  said = '{"mood": "so-so"}';
  assert.deepEqual([(await reply({ text: "cat" })).output_problem, (await reply.stream({ text: "cat" }).result).output], ["not_of_schema", said]);
  assert.deepEqual(await caught(reply({ text: 1 })).then(({ code, param }) => [code, param]), ["invalid_input", "input.text"]);
  assert.doesNotMatch(JSON.stringify(server.requests.map((request) => request.body)), /cat/i);
  shape.prompt = null;
  assert.equal((await caught(reply({ text: "cat" }))).code, "prompt_not_shared");
});

test("diagnostics say what is amiss", async (t) => {
  const server = await gateway(t, () => undefined);
  const told = async (faucet) => (await faucet.local.diagnostics()).map(({ check, code }) => `${check} ${code}`);
  assert.deepEqual(await told(of(server, { url: "http://127.0.0.1:9" })), ["secure_context ok", "bridge unreachable", "reports ok"]);
  const local = await bridge(t, undefined, { gateway: "https://other.example.com" });
  assert.deepEqual(await told(of(server, local, { bridgeToken: undefined })), [
    "secure_context ok", "bridge ok", "paired not_paired", "models no_models", "gateway other_gateway", "reports ok",
  ]);
  const ours = await bridge(t, undefined, { gateway: `${server.url}/` });
  assert.ok((await of(server, ours).local.diagnostics()).every(({ ok }) => ok));
});
