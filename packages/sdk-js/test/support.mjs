// Real servers on real sockets for the tests: a gateway and a bridge that answer as they are told.
import { createServer } from "node:http";

export const TOKEN = "mf_sess_abcdefghijklmnop";

/** Starts a server; `answer(request, response)` gets the request with its body read. Closed at the end of the test. */
export async function serve(t, answer) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const text = Buffer.concat(parts).toString();
    const seen = { method: request.method, path: request.url, headers: request.headers, body: text ? JSON.parse(text) : null };
    requests.push(seen);
    seen.left = new Promise((resolve) => response.on("close", () => resolve(!response.writableFinished)));
    await answer(seen, response, requests.length);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests, server };
}

export function json(response, content, status = 200, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(content));
}

export const fault = (response, status, code, headers = {}, message = "Refused.") =>
  json(response, { error: { message, type: "t", code, param: null, request_id: "req_1" } }, status, headers);

export const session = (more = {}) => ({
  object: "session",
  session_id: "sess_1",
  session_token: TOKEN,
  expires_in: 3600,
  expires_at: new Date(Date.now() + 3600_000).toISOString(),
  available_modes: ["platform"],
  feature_key: "default",
  end_user_id: "usr_1",
  assurance: "anonymous",
  privacy_mode: "allow",
  balance_usd: "1.0000",
  available_usd: "1.0000",
  ...more,
});

export const completion = (text = "Hello") => ({
  id: "chatcmpl-1",
  object: "chat.completion",
  model: "m",
  choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
  usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7, prompt_tokens_details: { cached_tokens: 1 } },
});

export const chunk = (delta, finish_reason = null, more = {}) =>
  `data: ${JSON.stringify({ model: "m", choices: [{ index: 0, delta, finish_reason }], ...more })}\n\n`;

/** Starts a gateway: sessions are opened, and everything else goes to `answer`. */
export const gateway = (t, answer, opened = session) =>
  serve(t, async (request, response, number) => {
    if (request.path === "/v1/sessions") return json(response, opened(request), 201);
    if (request.path.startsWith("/v1/sessions/current")) return json(response, opened(request));
    return answer(request, response, number);
  });

/** Keeps what it is given, as a browser does. */
export class Store extends Map {
  getItem(key) {
    return this.get(key) ?? null;
  }
  setItem(key, value) {
    this.set(key, value);
  }
  removeItem(key) {
    this.delete(key);
  }
}

export const seen = (server, path) => server.requests.filter((request) => request.path === path);

export async function until(condition, ms = 3000) {
  const limit = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > limit) throw new Error("waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
