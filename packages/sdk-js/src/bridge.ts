import type { Context } from "./context.js";
import type { FaucetError } from "./errors.js";
import { internals } from "./index.js";
import type { Bridge, BridgeEndpoint, BridgeStatus, LocalModel, Pairing } from "./types.js";

const { BridgeError, readJson, send, sleep } = internals;

/** How long a bridge on this machine may take to say that it is there, and how long that is believed (milliseconds). */
const PROBE = 1000;
const BELIEVED = 30_000;
const POLL = 1000;

export interface BridgeRequest {
  method?: string;
  body?: Record<string, unknown>;
  signal?: AbortSignal;
  headers?: Record<string, string> | undefined;
}

/** The way to the bridge on the user's machine: whether it is there, who may ask it, and how. */
export class BridgeLink {
  readonly url: string;
  private known: { status: BridgeStatus; until: number } | null = null;
  private probing: Promise<BridgeStatus | null> | null = null;

  constructor(private readonly context: Context) {
    this.url = (context.options.bridgeUrl ?? "http://127.0.0.1:19088").replace(/\/+$/, "");
  }

  async discover(): Promise<Bridge | null> {
    const status = await this.probe();
    if (!status) return null;
    const { paired: _, endpoints: __, models: ___, ...bridge } = status;
    return bridge;
  }

  /** Returns what the bridge says of itself, or null; whoever asks while it is being asked waits for that answer. */
  probe(): Promise<BridgeStatus | null> {
    this.probing ??= this.ask().finally(() => (this.probing = null));
    return this.probing;
  }

  /** Returns the bridge's state, asked for a little while ago at most. Throws BridgeError where it cannot be used. */
  async ready(): Promise<BridgeStatus> {
    const known = this.known;
    const status = known && known.status.paired && Date.now() < known.until ? known.status : await this.probe();
    if (!status) throw new BridgeError("The local bridge is not running.", { code: "bridge_unavailable" });
    if (!status.paired) throw new BridgeError("The local bridge does not know this app yet: pair it.", { code: "not_paired" });
    return status;
  }

  async pair({ appName, signal }: { appName?: string; signal?: AbortSignal } = {}): Promise<Pairing> {
    const app_name = appName || globalThis.document?.title || this.context.options.publicAppId || "App";
    const asked = (await this.fetch("pair", { body: { app_name }, signal }, readJson)) as {
      pairing_id: string;
      code: string;
      expires_in: number;
    };
    const expires = Date.now() + asked.expires_in * 1000;
    const own = new AbortController();
    const both = signal ? AbortSignal.any([signal, own.signal]) : own.signal;
    const allowed = this.decided(`pair/${encodeURIComponent(asked.pairing_id)}`, expires, both);
    allowed.catch(() => undefined);
    return { code: asked.code, expires_at: new Date(expires).toISOString(), allowed, cancel: () => own.abort() };
  }

  async unpair(): Promise<void> {
    this.known = null;
    await this.context.storage.removeItem(this.tokenKey);
  }

  async fetch<T>(path: string, sent: BridgeRequest, read: (response: Response) => Promise<T>): Promise<T> {
    const headers = { ...sent.headers, ...(path.startsWith("pair") ? undefined : await this.authorization()) };
    return send(this.context.io, `${this.url}/${path}`, { ...sent, headers, bridge: true }, read);
  }

  /** Tells whether the bridge reports to the gateway that this faucet calls: only then may it see the session. */
  isOurs({ gateway }: BridgeStatus): boolean {
    return !!gateway && gateway.replace(/\/+$/, "").replace(/\/v1$/, "") === this.context.baseUrl;
  }

  private async ask(): Promise<BridgeStatus | null> {
    const io = { ...this.context.io, timeout: PROBE };
    const read = async (headers?: Record<string, string>): Promise<Partial<BridgeStatus> | null> =>
      (await send(io, `${this.url}/status`, { method: "GET", bridge: true, headers }, readJson)) as Partial<BridgeStatus>;
    const authorization = await this.authorization();
    this.known = null;
    try {
      let paired = !!authorization;
      const found = await read(authorization).catch((error: FaucetError) => {
        if (!paired || ![401, 403].includes(error.status)) throw error;
        paired = false; // the token was withdrawn
        return read();
      });
      if (found?.name !== "modelfaucet-bridge") return null;
      const { name, version = "", ok = false, reports = false, gateway = null, endpoints = [] } = found;
      const models = modelsOf(endpoints);
      const status = { url: this.url, name, version, ok, reports, gateway, paired, endpoints, models };
      this.known = { status, until: Date.now() + BELIEVED };
      return status;
    } catch {
      return null;
    }
  }

  private async decided(path: string, expires: number, signal: AbortSignal): Promise<boolean> {
    try {
      while (Date.now() < expires) {
        const { state, token } = (await this.fetch(path, { method: "GET", signal }, readJson)) as { state: string; token?: string };
        if (state === "allowed" && token) {
          await this.context.storage.setItem(this.tokenKey, token);
          this.known = null;
          return true;
        }
        if (state !== "waiting") return false;
        await sleep(POLL, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    return false;
  }

  private async authorization(): Promise<{ authorization: string } | undefined> {
    const token = this.context.options.bridgeToken ?? (await this.context.storage.getItem(this.tokenKey));
    return token ? { authorization: `Bearer ${token}` } : undefined;
  }

  private get tokenKey(): string {
    return `faucet:bridge:${this.url}`;
  }
}

/** Returns the models that may be used. A channel of the bridge may lead to a provider: nothing is sent there. */
function modelsOf(endpoints: BridgeEndpoint[]): LocalModel[] {
  const usable = endpoints.filter(({ local, enabled, health }) => local && enabled && health.state !== "down");
  return usable.flatMap(({ kind, models }) => models.map((model) => ({ ...model, kind })));
}
