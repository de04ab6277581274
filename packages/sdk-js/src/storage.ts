import type { FaucetStorage } from "./types.js";

/** How long one holder may keep a lease, and how long a written lease is left to be contested, in milliseconds. */
const LEASE = 10_000;
const CONTEST = 30;

class Memory extends Map<string, string> implements FaucetStorage {
  getItem(key: string): string | null {
    return this.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    this.set(key, value);
  }
  removeItem(key: string): void {
    this.delete(key);
  }
}

/** Returns the page's localStorage where it can be written, else memory. */
export function ownStorage(): FaucetStorage {
  try {
    // Not Node's global of that name: it warns, and wants a file.
    const found = window.localStorage;
    found.setItem("faucet:probe", "");
    found.removeItem("faucet:probe");
    return found;
  } catch {
    return new Memory();
  }
}

export const newId = (): string =>
  // In pages without TLS there is no randomUUID.
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

const queues = new Map<string, Promise<unknown>>();

/** Runs `work` while nobody else who shares the storage runs work of this name: no other tab, and no other process. */
export function exclusively<T>(storage: FaucetStorage, name: string, work: () => Promise<T>): Promise<T> {
  // Node's locks are those of one process only.
  const locks = "process" in globalThis ? undefined : globalThis.navigator?.locks;
  if (locks) return locks.request(name, work) as Promise<T>;
  const run = (queues.get(name) ?? Promise.resolve()).then(() =>
    storage instanceof Memory ? work() : leased(storage, `${name}:lease`, work),
  );
  queues.set(
    name,
    run.catch(() => undefined),
  );
  return run;
}

async function leased<T>(storage: FaucetStorage, key: string, work: () => Promise<T>): Promise<T> {
  const me = newId();
  for (;;) {
    const [, until] = ((await storage.getItem(key)) ?? "").split(" ");
    if (Date.now() >= Number(until ?? 0)) {
      await storage.setItem(key, `${me} ${Date.now() + LEASE}`);
      await sleep(CONTEST);
      if ((await storage.getItem(key))?.startsWith(me)) break;
    }
    await sleep(CONTEST * (1 + Math.random()));
  }
  try {
    return await work();
  } finally {
    if ((await storage.getItem(key))?.startsWith(me)) await storage.removeItem(key);
  }
}
