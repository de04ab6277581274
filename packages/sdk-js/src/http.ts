import { BridgeError, ConnectionError_, errorOf, FaucetError } from "./errors.js";
import { sleep } from "./storage.js";

/** A server that asks for more patience than this (seconds) is not waited for: the caller is told. */
const PATIENCE = 10;

export interface Io {
  fetch: typeof fetch;
  timeout: number;
  maxRetries: number;
}

export interface Sent {
  method?: string;
  headers?: Record<string, string>;
  body?: unknown;
  signal?: AbortSignal;
  /** Whether it may be sent again where it is not known if it arrived. */
  again?: boolean;
  /** Whether it goes to the local bridge. */
  bridge?: boolean;
}

/**
 * Sends a request, again where that is safe, and returns what `read` makes of a good answer. Throws FaucetError, or the
 * reason of the signal.
 */
export async function send<T>(io: Io, url: string, sent: Sent, read: (response: Response) => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await attemptOnce(io, url, sent, read);
    } catch (error) {
      if (!(error instanceof FaucetError) || attempt >= io.maxRetries || !mayRepeat(error, sent)) throw error;
      const wait = error.retryAfter ?? 0.4 * 2 ** attempt;
      if (wait > PATIENCE) throw error;
      await sleep(wait * 1000 * (1 + Math.random() / 4), sent.signal);
    }
  }
}

function mayRepeat({ status, code }: FaucetError, { again, bridge }: Sent): boolean {
  if (bridge) return false; // it is on this machine
  if (code === "idempotency_in_progress" || status === 429 || status === 503) return true;
  return !!again && (status === 0 || status === 502 || status === 504);
}

async function attemptOnce<T>(
  io: Io,
  url: string,
  { method = "POST", headers, body, signal, bridge }: Sent,
  read: (response: Response) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const clock = new AbortController();
  const timer = setTimeout(() => clock.abort(), io.timeout);
  const lost = bridge ? BridgeError : ConnectionError_;
  try {
    const response = await io.fetch(url, {
      method,
      headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "omit",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, clock.signal]) : clock.signal,
    });
    if (response.ok) return await read(response);
    const said: unknown = await response.json().catch(() => null);
    throw errorOf(response.status, said, response.headers, secretsOf(body), bridge ? BridgeError : undefined);
  } catch (error) {
    if (error instanceof FaucetError) throw error;
    signal?.throwIfAborted();
    // Whatever fetch says may quote a header, and so a token.
    throw clock.signal.aborted
      ? new lost("There was no answer in time.", { code: bridge ? "bridge_timeout" : "timeout" })
      : new lost(`${bridge ? "The local bridge" : "The gateway"} cannot be reached.`, {
          code: bridge ? "bridge_unavailable" : "connection_failed",
        });
  } finally {
    clearTimeout(timer);
  }
}

/** Returns the texts of a body that no error may repeat: what people wrote, and keys. */
export function secretsOf(body: unknown): string[] {
  const { messages, input, secret, user_token } = (body ?? {}) as Record<string, unknown>;
  const found: string[] = [];
  const walk = (value: unknown): void => {
    if (typeof value === "string") found.push(value);
    else if (value && typeof value === "object") Object.values(value).forEach(walk);
  };
  const said = Array.isArray(messages) ? messages.map((message: { content?: unknown }) => message?.content) : messages;
  [said, input, secret, user_token].forEach(walk);
  return found;
}

export const readJson = (response: Response): Promise<unknown> =>
  response.status === 204 ? Promise.resolve(undefined) : response.json();
