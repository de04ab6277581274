import type { Context } from "./context.js";
import { AuthenticationError } from "./errors.js";
import { readJson, send } from "./http.js";
import { newId } from "./storage.js";
import type { Session } from "./types.js";

export interface Held {
  token: string;
  session: Session;
  /** When it is replaced, in milliseconds since the epoch: a little before it expires. */
  until: number;
}
type Opened = Session & { session_token?: string; expires_in?: number };

/** Keeps a session for each feature that is called; whoever asks while one is being opened waits for that one. */
export class Sessions {
  private readonly held = new Map<string, Held>();
  private readonly opening = new Map<string, Promise<Held>>();

  constructor(private readonly context: Context) {}

  get(feature = this.context.options.featureKey ?? "", refresh = false): Promise<Held> {
    const found = this.held.get(feature);
    if (found && !refresh && Date.now() < found.until) return Promise.resolve(found);
    let opening = this.opening.get(feature);
    if (!opening) {
      opening = this.open(feature).finally(() => this.opening.delete(feature));
      this.opening.set(feature, opening);
    }
    return opening;
  }

  /** Runs `work` with a session, and once more with a new one where the gateway no longer takes it. */
  async use<T>(work: (held: Held) => Promise<T>, feature?: string): Promise<T> {
    const held = await this.get(feature);
    try {
      return await work(held);
    } catch (error) {
      if (!(error instanceof AuthenticationError) || this.context.options.sessionToken) throw error;
      const now = await this.get(feature);
      return work(now === held ? await this.get(feature, true) : now);
    }
  }

  async revoke(): Promise<void> {
    const all = [...this.held.values()];
    this.held.clear();
    const { baseUrl, io } = this.context;
    for (const { token } of all) {
      const sent = { method: "DELETE", again: true, headers: { authorization: `Bearer ${token}` } };
      await send(io, `${baseUrl}/v1/sessions/current`, sent, readJson).catch((error: unknown) => {
        if (!(error instanceof AuthenticationError)) throw error; // that session is over already
      });
    }
  }

  private async open(feature: string): Promise<Held> {
    const { options, baseUrl, io } = this.context;
    const { sessionToken } = options;
    const url = `${baseUrl}/v1/sessions`;
    const opened = (await (sessionToken
      ? send(
          io,
          `${url}/current${feature && `?feature_key=${encodeURIComponent(feature)}`}`,
          { method: "GET", again: true, headers: { authorization: `Bearer ${sessionToken}` } },
          readJson,
        )
      : send(
          io,
          url,
          { again: true, body: { ...(await this.proof()), feature_key: feature || undefined } },
          readJson,
        ))) as Opened;
    const { session_token, expires_in, ...session } = opened;
    const lives = (expires_in ?? 60) * 1000;
    const held = {
      token: sessionToken ?? session_token ?? "",
      session,
      until: Date.now() + lives - Math.min(60_000, lives / 5),
    };
    this.held.set(feature, held);
    this.context.emit({ type: "session", session });
    const { balance_usd, available_usd } = session;
    this.context.emit({ type: "balance", balance_usd, available_usd });
    return held;
  }

  private async proof(): Promise<Record<string, string | undefined>> {
    const { publicAppId, userToken, deviceId } = this.context.options;
    const public_app_id = publicAppId;
    if (userToken) return { public_app_id, user_token: typeof userToken === "string" ? userToken : await userToken() };
    return { public_app_id, device_id: deviceId ?? (await this.device()) };
  }

  private async device(): Promise<string> {
    const { storage } = this.context;
    const key = this.context.key("device");
    let id = await storage.getItem(key);
    if (!id) await storage.setItem(key, (id = newId()));
    return id;
  }
}
