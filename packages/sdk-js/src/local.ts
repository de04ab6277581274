import type { Completion, Gathered as Gathering } from "./answers.js";
import type { Context } from "./context.js";
import { BridgeLink } from "./bridge.js";
import { internals } from "./index.js";
import { messagesOf, outputOf, type Shape } from "./prompts.js";
import { Reports } from "./reports.js";
import type { Flow } from "./stream.js";
import type {
  BridgeStatus,
  CallOptions,
  CallResult,
  ChatResult,
  Diagnostic,
  EmbeddingsResult,
  FeatureResult,
  LocalModel,
  Message,
  Usage,
} from "./types.js";

const { BridgeError, ConnectionError_, FaucetError, Gathered } = internals;
const { brokeOff, completed, eventsOf, featureResult, gathered, newId, parts, readChunk, readJson, receiptOf } = internals;
const { secretsOf, tellCalls, textOf, untilAborted, usageOf } = internals;

type Body = Record<string, unknown>;

/** Models on the user's own machine, through the bridge there. No prompt of theirs is sent anywhere else. */
export class Local {
  readonly bridge: BridgeLink;
  readonly reports: Reports;

  constructor(private readonly context: Context) {
    this.bridge = new BridgeLink(context);
    this.reports = new Reports(context);
  }

  async diagnostics(): Promise<Diagnostic[]> {
    const found: Diagnostic[] = [];
    const note = (check: Diagnostic["check"], ok: boolean, code: string, detail?: string): void => {
      found.push({ check, ok, code: ok ? "ok" : code, ...(detail && { detail }) });
    };
    note("secure_context", globalThis.isSecureContext !== false, "insecure_page");
    const status = await this.bridge.probe();
    note("bridge", !!status?.ok, status ? "unhealthy" : "unreachable", status ? status.version : this.bridge.url);
    if (status) {
      note("paired", status.paired, "not_paired");
      note("models", status.models.length > 0, "no_models", String(status.models.length));
      note("gateway", this.bridge.isOurs(status), status.gateway ? "other_gateway" : "not_connected", status.gateway ?? undefined);
    }
    const waiting = (await this.reports.pending()).length;
    note("reports", waiting === 0, "waiting", String(waiting));
    return found;
  }

  async chat(body: Body, options: CallOptions): Promise<ChatResult> {
    return this.metered(body, options, async (fetch, model) => {
      const answer = (await fetch("v1/chat/completions", { ...body, model }, readJson)) as Completion;
      return (call) => completed(answer, call);
    });
  }

  async stream(body: Body, options: CallOptions, flow: Flow): Promise<ChatResult> {
    return this.metered(body, { ...options, signal: flow.signal }, async (fetch, model, use) => {
      const all = new Gathered();
      await untilAborted(flow, options.signal, async () => {
        const response = await fetch("v1/chat/completions", { ...body, model }, (each) => Promise.resolve(each));
        for await (const { data } of eventsOf(response)) {
          if (data === "[DONE]") return;
          if (data) readChunk(all, data, flow, secretsOf(body));
        }
        if (!all.finish) throw brokeOff();
      });
      use(all.usage ?? estimate(body, all.text));
      if (!flow.aborted()) {
        tellCalls(all, flow);
        flow.push({ type: "usage", usage: all.usage, price_usd: null });
      }
      return (call) => gathered({ ...all, message: () => all.message() } as Gathering, flow.aborted() ? "aborted" : all.finish, call);
    });
  }

  async embeddings(
    body: Body,
    options: CallOptions,
    read: (answer: unknown, call: CallResult) => EmbeddingsResult,
  ): Promise<EmbeddingsResult> {
    return this.metered(body, options, async (fetch, model) => {
      const answer = await fetch("v1/embeddings", { ...body, model }, readJson);
      return (call) => read(answer, call);
    });
  }

  /** Calls a typed feature: its prompt is made here, of what the gateway tells of the feature, never of the input. */
  async feature<Result>(key: string, { input, ...more }: Body, options: CallOptions, flow?: Flow): Promise<Result> {
    const feature = (await this.context.call(
      `features/${encodeURIComponent(key)}`,
      { method: "GET", again: true, signal: options.signal },
      readJson,
      key,
    )) as Shape;
    const { messages, extra } = messagesOf(feature, input);
    const body = { ...extra, ...more, messages };
    const answer = flow
      ? await this.stream({ ...body, stream: true, stream_options: { include_usage: true } }, options, flow)
      : await this.chat(body, options);
    const made = { ...answer, ...outputOf(feature, answer.text), feature: key, usage: null };
    const { usage } = answer;
    return { ...featureResult<FeatureResult>(made, answer, answer.text), usage, raw: answer.raw } as Result;
  }

  /**
   * Runs a call on the bridge and sees that it is reported: by the bridge where it reports to our gateway, else by us.
   * `work` returns what makes the result of what is known of the call.
   */
  private async metered<Result>(
    body: Body,
    options: CallOptions,
    work: (
      fetch: <T>(path: string, body: Body, read: (response: Response) => Promise<T>) => Promise<T>,
      model: string,
      use: (usage: Usage) => void,
    ) => Promise<(call: CallResult) => Result>,
  ): Promise<Result> {
    const status = await this.bridge.ready();
    // Without a gateway local models still answer; the report waits until it knows whose it is.
    const held = await this.context.sessions.get(options.feature).catch((error: unknown) => {
      if (error instanceof ConnectionError_) return null;
      throw error;
    });
    const chosen = choose(status, body);
    const report_id = newId();
    const began = Date.now();
    let reported = false;
    let usage: Usage | null = null;
    const report = (state: "ok" | "error", error_code?: string): Promise<void> | undefined => {
      if (reported) return undefined;
      const kept = this.reports.add(held?.session.end_user_id ?? null, {
        report_id,
        model: chosen.id,
        endpoint_kind: chosen.kind ?? "openai_compatible",
        input_tokens: usage?.input_tokens ?? 0,
        output_tokens: usage?.output_tokens ?? 0,
        ...(usage?.cache_read_tokens && { cache_read_tokens: usage.cache_read_tokens }),
        ...(usage?.reasoning_tokens && { reasoning_tokens: usage.reasoning_tokens }),
        status: state,
        ...(error_code && { error_code }),
        latency_ms: Date.now() - began,
        started_at: new Date(began).toISOString(),
      });
      // A storage that is full costs the app its fee, and nobody the answer.
      return kept.catch(() => {
        const lost = new FaucetError("A usage report could not be kept.", { code: "report_not_kept" });
        this.context.emit({ type: "error", error: lost });
      });
    };
    const fetch = <T>(path: string, sent: Body, read: (response: Response) => Promise<T>): Promise<T> => {
      const { modelfaucet: _, ...content } = sent;
      const reports = held && status.reports && this.bridge.isOurs(status);
      const headers = reports
        ? {
            "x-faucet-session": held.token,
            "x-faucet-gateway": status.gateway ?? "",
            "x-faucet-feature": held.session.feature_key,
          }
        : undefined;
      return this.bridge.fetch(path, { body: content, signal: options.signal, headers }, async (response) => {
        reported = response.headers.get("x-faucet-reported") === "bridge";
        const answer = await read(response);
        if (!(answer instanceof Response)) usage = usageOf((answer as Completion)?.usage) ?? estimate(content, textIn(answer));
        return answer;
      });
    };
    try {
      const result = await work(fetch, chosen.id, (told) => (usage = told));
      await report("ok");
      return result({
        request_id: null,
        route_mode: "local",
        price_usd: null,
        receipt: async () => {
          await this.reports.flush(options.feature);
          return receiptOf(this.context, this.reports.requests.get(report_id) ?? null);
        },
      });
    } catch (error) {
      await report("error", error instanceof FaucetError ? error.code : "aborted");
      throw error;
    }
  }
}

/** Returns the model that is asked for, or the first that can do what the call needs. Throws BridgeError. */
function choose({ models }: BridgeStatus, body: Body): LocalModel {
  const needs = "messages" in body ? "chat" : "embeddings";
  const found =
    models.find(({ id }) => id === body["model"]) ??
    models.find(({ capabilities }) => !capabilities?.length || capabilities.includes(needs));
  if (!found) throw new BridgeError("The local bridge has no model for this.", { code: "local_model_missing" });
  return found;
}

const textIn = (answer: unknown): string => textOf((answer as Completion)?.choices?.[0]?.message?.content);

/** Returns about how many tokens there were, where a local model does not count: four characters each. */
function estimate(body: Body, text: string): Usage {
  const said = ((body["messages"] ?? []) as Message[]).map(({ content }) => textOf(content)).join("");
  const input_tokens = Math.ceil((said || JSON.stringify(body["input"] ?? "")).length / 4);
  const output_tokens = Math.ceil(text.length / 4);
  return { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens, cache_read_tokens: 0, reasoning_tokens: 0 };
}

parts.Local = Local;
/** @internal For tests of what both sides must do alike. */
export { misfit } from "./schema.js";
export { render } from "./template.js";
