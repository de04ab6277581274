import { type Io, readJson, type Sent, send } from "./http.js";
import { Sessions } from "./sessions.js";
import { newId, ownStorage } from "./storage.js";
import type { FaucetEvent, FaucetOptions, FaucetStorage, Mode } from "./types.js";
import { FaucetError } from "./errors.js";

/** What all parts of a faucet share. */
export class Context {
  readonly baseUrl: string;
  readonly storage: FaucetStorage;
  readonly io: Io;
  readonly sessions: Sessions;
  readonly listeners = new Set<(event: FaucetEvent) => void>();
  mode: Mode;

  constructor(readonly options: FaucetOptions) {
    this.baseUrl = options.baseUrl.replace(/\/+$/, "").replace(/\/v1$/, "");
    this.storage = options.storage ?? ownStorage();
    this.mode = options.mode ?? "auto";
    this.io = {
      // Called as a method of anything else, a browser's fetch refuses.
      fetch: options.fetch ?? ((input, init) => fetch(input, init)),
      timeout: options.timeout ?? 600_000,
      maxRetries: options.maxRetries ?? 2,
    };
    if (options.onEvent) this.listeners.add(options.onEvent);
    this.sessions = new Sessions(this);
  }

  /** Returns the name of something of this app in the storage. */
  key(name: string): string {
    return `faucet:${this.baseUrl}|${this.options.publicAppId ?? ""}:${name}`;
  }

  emit(event: FaucetEvent): void {
    for (const listener of [...this.listeners]) {
      try {
        listener(event);
      } catch (error) {
        // A listener that fails is its page's affair, and no call's.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Returns the function with its failures told to those who listen. */
  told<Args extends unknown[], T>(work: (...args: Args) => Promise<T>): (...args: Args) => Promise<T> {
    return async (...args) => {
      try {
        return await work(...args);
      } catch (error) {
        if (error instanceof FaucetError) this.emit({ type: "error", error });
        throw error;
      }
    };
  }

  /** Sends a request to the gateway with a session. */
  call<T>(path: string, sent: Sent, read: (response: Response) => Promise<T>, feature?: string): Promise<T> {
    const { locale } = this.options;
    const language = locale ? { "accept-language": locale } : undefined;
    return this.sessions.use(
      ({ token }) =>
        send(
          this.io,
          `${this.baseUrl}/v1/${path}`,
          { ...sent, headers: { ...language, ...sent.headers, authorization: `Bearer ${token}` } },
          read,
        ),
      feature,
    );
  }

  /** Asks one of the JSON resources. Only what the gateway makes good by itself is repeated. */
  resource<T>(method: string, path: string, body?: unknown, key?: string | true): Promise<T> {
    const headers = key ? { "idempotency-key": key === true ? newId() : key } : undefined;
    return this.call(path, { method, body, headers, again: method !== "POST" || !!key }, readJson) as Promise<T>;
  }
}
