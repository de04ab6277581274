import { Context } from "./context.js";
import { chatOf, Models } from "./models.js";
import { loaderOf } from "./parts.js";
import type { Faucet, FaucetEvent, FaucetOptions, ListQuery, NewTopUp, TopUp, UsageQuery, Wallet } from "./types.js";

/** Returns a faucet: nothing is sent before the first call. */
export function createFaucet(options: FaucetOptions): Faucet {
  const context = new Context(options);
  const local = loaderOf(context);
  const models = new Models(context, local);
  const told = context.told.bind(context) as Context["told"];
  const ask = told(context.resource.bind(context)) as Context["resource"];
  const list = (path: string) => <Row>(query?: ListQuery) => ask<Row>("GET", path + queryOf(query));
  const item = (path: string, id: string, more = ""): string => `${path}/${encodeURIComponent(id)}${more}`;
  const keys = "user/provider-keys";
  const endpoints = "local/endpoints";
  const topUps = "user/top-ups";

  return {
    baseUrl: context.baseUrl,
    locale: options.locale,
    get mode() {
      return context.mode;
    },
    chat: told((request) => models.chat(request)),
    generate: told((request) => models.chat(chatOf(request))),
    stream: (request) => models.stream(request),
    feature: (key) => models.feature(key),
    embeddings: told((request) => models.embeddings(request)),
    models: async () => (await ask<{ data: [] }>("GET", "models")).data,
    session: told(async ({ refresh, feature } = {}) => (await context.sessions.get(feature, refresh)).session),
    signOut: told(() => context.sessions.revoke()),
    setMode(mode) {
      if (mode === context.mode) return;
      context.mode = mode;
      context.emit({ type: "mode", mode });
    },
    on(type, listener) {
      const each = (event: FaucetEvent): void => {
        if (event.type === type) listener(event as never);
      };
      context.listeners.add(each);
      return () => void context.listeners.delete(each);
    },
    keys: {
      list: list(keys),
      add: (key) => ask("POST", keys, key),
      update: (id, settings) => ask("PATCH", item(keys, id), settings),
      remove: (id) => ask("DELETE", item(keys, id)),
      validate: (id) => ask("POST", item(keys, id, "/validate")),
      rotate: (id, secret) => ask("POST", item(keys, id, "/rotate"), { secret }),
    },
    wallet: {
      async get() {
        const wallet = await ask<Wallet>("GET", "user/wallet");
        const { balance_usd, available_usd } = wallet;
        context.emit({ type: "balance", balance_usd, available_usd });
        return wallet;
      },
      topUp(topUp) {
        const { idempotencyKey, ...body }: NewTopUp = typeof topUp === "string" ? { amount_usd: topUp } : topUp;
        return ask<TopUp>("POST", topUps, body, idempotencyKey ?? true);
      },
      topUps: list(topUps),
      page: (wanted = {}) => ask("POST", "user/page-links", wanted),
    },
    fees: {
      list: () => ask("GET", "user/fees"),
      accept: (mode, fee_usd) => ask("POST", "user/fee-consents", { mode, fee_usd }),
    },
    usage: {
      list: (query?: UsageQuery) => ask("GET", `user/usage${queryOf(query)}`),
      receipt: (id) => ask("GET", item("receipts", id)),
    },
    budget: {
      get: () => ask("GET", "user/budget"),
      set: (budget) => ask("PUT", "user/budget", budget),
    },
    local: {
      discover: async () => (await local()).bridge.discover(),
      status: async () => (await local()).bridge.probe(),
      pair: told(async (wanted) => (await local()).bridge.pair(wanted)),
      unpair: async () => (await local()).bridge.unpair(),
      models: async () => (await (await local()).bridge.probe())?.models ?? [],
      diagnostics: async () => (await local()).diagnostics(),
      endpoints: {
        list: list(endpoints),
        add: (endpoint) => ask("POST", endpoints, endpoint),
        remove: (id) => ask("DELETE", item(endpoints, id)),
      },
      reports: {
        pending: async () => (await local()).reports.pending(),
        flush: told(async () => (await local()).reports.flush()),
      },
    },
  };
}

function queryOf(query: object = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()}` : "";
}
