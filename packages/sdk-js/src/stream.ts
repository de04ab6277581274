import type { FaucetStream, StreamPart } from "./types.js";

/** What the one who makes a stream works with. */
export interface Flow {
  push(part: StreamPart): void;
  /** Aborted by the caller's signal, or by `abort()`. */
  signal: AbortSignal;
  /** Whether `abort()` was called, which is no failure. */
  aborted(): boolean;
}

/** Begins at once, and keeps what comes until it is read. */
export function streamOf<Result>(
  work: (flow: Flow) => Promise<Result>,
  signal?: AbortSignal,
): FaucetStream<Result> {
  const own = new AbortController();
  const parts: StreamPart[] = [];
  let ended = false;
  let wake = (): void => undefined;
  const result = work({
    push(part) {
      parts.push(part);
      wake();
    },
    signal: signal ? AbortSignal.any([own.signal, signal]) : own.signal,
    aborted: () => own.signal.aborted,
  }).finally(() => {
    ended = true;
    wake();
  });
  // Whoever only reads the parts hears of the failure there.
  result.catch(() => undefined);

  async function* read(): AsyncGenerator<StreamPart, void> {
    try {
      for (;;) {
        const part = parts.shift();
        if (part) yield part;
        else if (ended) break;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
      if (!own.signal.aborted) await result;
    } finally {
      if (!ended) own.abort();
    }
  }
  return { result, abort: () => own.abort(), [Symbol.asyncIterator]: read };
}
