import type { BridgeStatus, Faucet, Mode, Pairing, RouteMode, UsageList, UsageQuery, Wallet } from "@modelfaucet/sdk";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { useFaucet } from "./provider.js";

export interface Fetched<T> {
  data: T | null;
  error: Error | null;
  loading: boolean;
  refresh(): Promise<void>;
}

/** Milliseconds after which a call that was just answered holds no more than it cost. */
const SETTLE = 600;

/** Fetch with `load` now, on `refresh`, and when `key` changes; an answer that was overtaken is dropped. */
function useFetched<T>(load: (faucet: Faucet) => Promise<T>, key = ""): Fetched<T> {
  const faucet = useFaucet();
  const latest = useRef(load);
  latest.current = load;
  const turn = useRef(0);
  const [state, setState] = useState<Omit<Fetched<T>, "refresh">>({ data: null, error: null, loading: true });
  const refresh = useCallback(async () => {
    const ours = (turn.current += 1);
    const told = (next: Partial<Omit<Fetched<T>, "refresh">>): void => {
      if (turn.current === ours) setState((before) => ({ ...before, ...next, loading: false }));
    };
    setState((before) => ({ ...before, loading: true }));
    await latest.current(faucet).then(
      (data) => told({ data, error: null }),
      (error: unknown) => told({ error: error as Error }),
    );
  }, [faucet]);
  useEffect(() => {
    void refresh();
    return () => void (turn.current += 1);
  }, [refresh, key]);
  return { ...state, refresh };
}

/** Run `refresh` a moment after something was spent. */
function useAfterSpending(refresh: () => Promise<void>): void {
  const faucet = useFaucet();
  useEffect(() => {
    let soon: ReturnType<typeof setTimeout> | undefined;
    const stop = faucet.on("balance", (event) => {
      if (event.spent_usd === undefined) return;
      clearTimeout(soon);
      soon = setTimeout(() => void refresh(), SETTLE);
    });
    return () => {
      clearTimeout(soon);
      stop();
    };
  }, [faucet, refresh]);
}

export interface UseBalance extends Fetched<Wallet> {
  /** What may be spent, in USD; null until it is known. */
  available: string | null;
  /** Whether the gateway says that it is running low. */
  low: boolean;
  /** Start a top-up and return where to send the payer. */
  topUp(amountUsd: string): Promise<string | null>;
}

/** The wallet, kept up to date as calls are paid. */
export function useBalance(): UseBalance {
  const faucet = useFaucet();
  const fetched = useFetched((each) => each.wallet.get());
  useAfterSpending(fetched.refresh);
  const topUp = useCallback(
    async (amount: string) => {
      const back = typeof location === "undefined" ? {} : { return_url: location.href };
      return (await faucet.wallet.topUp({ amount_usd: amount, ...back })).checkout_url;
    },
    [faucet],
  );
  const low = fetched.data?.notices.some((notice) => notice.kind === "low_balance") ?? false;
  return { ...fetched, available: fetched.data?.available_usd ?? null, low, topUp };
}

/** The latest calls with their prices, kept up to date. */
export function useUsage(query: UsageQuery = {}): Fetched<UsageList> {
  const fetched = useFetched((faucet) => faucet.usage.list(query), JSON.stringify(query));
  useAfterSpending(fetched.refresh);
  return fetched;
}

export interface UseMode {
  mode: Mode;
  setMode(mode: Mode): void;
  /** The route modes that are there now; null until they are known. */
  available: RouteMode[] | null;
  error: Error | null;
  refresh(): Promise<void>;
}

/** Where answers come from. */
export function useMode(): UseMode {
  const faucet = useFaucet();
  const subscribe = useCallback((changed: () => void) => faucet.on("mode", changed), [faucet]);
  const mode = useSyncExternalStore(subscribe, () => faucet.mode, () => faucet.mode);
  const looked = useRef(false);
  const { data, error, refresh } = useFetched(async (each) => {
    const session = await each.session({ refresh: looked.current });
    looked.current = true;
    return session.available_modes;
  });
  return { mode, setMode: faucet.setMode, available: data, error, refresh };
}

export interface UseLocal extends Fetched<BridgeStatus | null> {
  paired: boolean;
  /** The pairing that waits for its code to be confirmed. */
  pairing: Pairing | null;
  pair(appName?: string): Promise<boolean>;
  unpair(): Promise<void>;
}

/** The bridge on the user's machine: whether it is there, paired, and what it offers. */
export function useLocal(): UseLocal {
  const faucet = useFaucet();
  const fetched = useFetched((each) => each.local.status());
  const { refresh } = fetched;
  const [pairing, setPairing] = useState<Pairing | null>(null);
  useEffect(() => () => pairing?.cancel(), [pairing]);
  const pair = useCallback(
    async (appName?: string) => {
      const asked = await faucet.local.pair(appName ? { appName } : {});
      setPairing(asked);
      try {
        return await asked.allowed;
      } finally {
        setPairing(null);
        await refresh();
      }
    },
    [faucet, refresh],
  );
  const unpair = useCallback(async () => {
    await faucet.local.unpair();
    await refresh();
  }, [faucet, refresh]);
  return { ...fetched, paired: fetched.data?.paired ?? false, pairing, pair, unpair };
}
