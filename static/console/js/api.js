// The app's calls: a session by way of the demo's backend, chat completions, and the demo's state.

import { eventsOf } from "./sse.js";

/** A request that failed: `status` 0 means that no answer came. */
export class Problem extends Error {
  constructor(status, error = {}, { requestId = null, retryAfter = null } = {}) {
    super(error.message ?? `status ${status}`);
    this.status = status;
    this.code = error.code ?? null;
    this.details = error.details ?? {};
    this.requestId = error.request_id ?? requestId;
    this.retryAfter = retryAfter;
  }
}

async function send(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Problem(response.status, body.error, {
    requestId: response.headers.get("x-request-id"),
    retryAfter: Number(response.headers.get("retry-after")) || null,
  });
}

async function postJson(url, content, { token = null, signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  return send(url, { method: "POST", headers, body: JSON.stringify(content), signal });
}

let opening = null;

/** Return a session token, opened on first use; `fresh` makes this browser a new visitor. */
export function session({ fresh = false, renew = false } = {}) {
  if (fresh || renew || !opening) {
    opening = open(fresh).catch((error) => {
      opening = null;
      throw error;
    });
  }
  return opening;
}

async function open(fresh) {
  const visitor = await (await postJson("/demo/session", fresh ? { new: true } : {})).json();
  const proof = { public_app_id: visitor.public_app_id, user_token: visitor.user_token };
  return (await (await postJson("/v1/sessions", proof)).json()).session_token;
}

/** Return balance, last calls and revenue. */
export async function state() {
  return (await send("/demo/state", { cache: "no-store" })).json();
}

/** Return the receipt of one of the visitor's calls. */
export async function receipt(requestId) {
  const headers = { Authorization: `Bearer ${await session()}` };
  return (await send(`/v1/receipts/${encodeURIComponent(requestId)}`, { headers, cache: "no-store" })).json();
}

/**
 * Ask for an answer and yield what comes: {started}, {text}, {finish}, {usage}, {price} and at the end {done}.
 * Throws a Problem, also when the stream itself reports an error; AbortError when `signal` stopped it.
 */
export async function* chat(messages, signal) {
  const body = { messages, stream: true, stream_options: { include_usage: true } };
  let response;
  try {
    response = await postJson("/v1/chat/completions", body, { token: await session(), signal });
  } catch (error) {
    if (error.status !== 401) throw error;
    response = await postJson("/v1/chat/completions", body, { token: await session({ renew: true }), signal });
  }
  const header = (name) => response.headers.get(name);
  const requestId = header("x-request-id");
  yield {
    started: {
      requestId,
      model: header("x-modelfaucet-served-model"),
      outputCap: header("x-modelfaucet-output-cap"),
    },
  };
  try {
    for await (const event of eventsOf(response)) {
      if (event.comment?.startsWith("modelfaucet ")) {
        yield { price: JSON.parse(event.comment.slice("modelfaucet ".length)) };
      } else if (event.data === "[DONE]") {
        yield { done: true };
        return;
      } else if (event.data) {
        yield* partsOf(JSON.parse(event.data), requestId);
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw new Problem(0, { code: "stream_broken" }, { requestId });
  }
  throw new Problem(0, { code: "stream_broken" }, { requestId });
}

function* partsOf(chunk, requestId) {
  if (chunk.error) throw new Problem(200, chunk.error, { requestId });
  if (chunk.usage) yield { usage: chunk.usage };
  for (const choice of chunk.choices ?? []) {
    if (choice.delta?.content) yield { text: choice.delta.content };
    if (choice.finish_reason) yield { finish: choice.finish_reason };
  }
}
