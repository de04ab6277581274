import type { Context } from "./context.js";
import type { Local } from "./local.js";

/** Where reports of local usage wait in the storage. */
export const REPORTS = "reports";

/**
 * What is fetched only where it is needed: most apps never ask for a model on the user's own machine. A program that may
 * not import at run time (an extension's service worker) imports "@modelfaucet/sdk/local" beforehand.
 */
export const parts: { Local?: new (context: Context) => Local } = {};

/** Returns a function that gives the local part, and sends with each new session what an earlier page has left. */
export function loaderOf(context: Context): () => Promise<Local> {
  let loaded: Promise<Local> | undefined;
  const load = (): Promise<Local> => {
    loaded ??= (parts.Local ? Promise.resolve() : import("./local.js"))
      .then(() => new parts.Local!(context))
      .catch((error: unknown) => {
        loaded = undefined; // the network may be back the next time
        throw error;
      });
    return loaded;
  };
  context.listeners.add(({ type }) => {
    if (type !== "session") return;
    void (async () => {
      if (await context.storage.getItem(context.key(REPORTS))) await (await load()).reports.flush();
    })().catch(() => undefined);
  });
  return load;
}
