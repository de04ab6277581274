import { completed, type Completion, Gathered, gathered, readable, usageOf } from "./answers.js";
import type { Context } from "./context.js";
import { BridgeError, ConnectionError_, errorOf, FaucetError } from "./errors.js";
import { readJson, secretsOf } from "./http.js";
import type { Local } from "./local.js";
import { type ServerEvent, serverEvents } from "./sse.js";
import { newId } from "./storage.js";
import { type Flow, streamOf } from "./stream.js";
import type {
  CallOptions,
  CallResult,
  ChatRequest,
  ChatResult,
  EmbeddingsRequest,
  EmbeddingsResult,
  FaucetStream,
  Feature,
  FeatureOptions,
  FeatureResult,
  FeatureShape,
  GenerateRequest,
  Receipt,
  RouteMode,
  Usage,
} from "./types.js";

type Facts = Omit<CallResult, "price_usd">;

const STREAMED = { stream: true, stream_options: { include_usage: true } };

/** The calls of models: chats, typed features and embeddings. */
export class Models {
  constructor(
    private readonly context: Context,
    private readonly local: () => Promise<Local>,
  ) {}

  async chat(request: ChatRequest): Promise<ChatResult> {
    const { options, body } = this.parted(request);
    if (await this.isLocal(options)) return (await this.local()).chat(body, options);
    return this.answer("chat/completions", body, options, (answer, call) => completed(answer as Completion, call));
  }

  stream(request: ChatRequest | GenerateRequest): FaucetStream<ChatResult> {
    const { options, body } = this.parted(chatOf(request));
    return streamOf(
      this.context.told(async (flow) => {
        if (await this.isLocal(options)) return (await this.local()).stream({ ...body, ...STREAMED }, options, flow);
        return this.gateway({ ...body, ...STREAMED }, options, flow);
      }),
      options.signal,
    );
  }

  async embeddings(request: EmbeddingsRequest): Promise<EmbeddingsResult> {
    const { options, body } = this.parted(request);
    const read = (answer: unknown, call: CallResult): EmbeddingsResult => {
      const { data = [], model = "", usage } = answer as { data?: { embedding: number[] }[]; model?: string; usage?: unknown };
      return { ...call, embeddings: data.map((row) => row.embedding), model, usage: usageOf(usage), raw: answer };
    };
    if (await this.isLocal(options)) return (await this.local()).embeddings(body, options, read);
    return this.answer("embeddings", body, options, read);
  }

  feature<Shape extends FeatureShape>(key: string): Feature<Shape> {
    type Result = FeatureResult<Shape["output"]>;
    const path = `features/${encodeURIComponent(key)}`;
    const call = this.context.told(async (input: Shape["input"], given: FeatureOptions = {}): Promise<Result> => {
      const { options, body } = this.parted({ ...given, input, feature: key });
      if (await this.isLocal(options)) return (await this.local()).feature<Result>(key, body, options);
      return this.answer(path, body, options, (answer, facts) => featureResult<Result>(answer, facts));
    });
    const stream = (input: Shape["input"], given: FeatureOptions = {}): FaucetStream<Result> => {
      const { options, body } = this.parted({ ...given, input, feature: key });
      return streamOf(
        this.context.told(async (flow) => {
          if (await this.isLocal(options)) return (await this.local()).feature<Result>(key, body, options, flow);
          return this.gatewayFeature<Result>(path, { ...body, stream: true }, options, flow);
        }),
        options.signal,
      );
    };
    return Object.assign(call, { stream });
  }

  /** Returns the options of a call and the body that is sent, with what the mode wishes in it. */
  private parted(request: CallOptions & Record<string, unknown>): { options: CallOptions; body: Record<string, unknown> } {
    const { feature, mode, wish, signal, idempotencyKey, ...body } = request;
    const set = mode ?? this.context.mode;
    const wished = {
      ...(set === "byok" && { prefer: "byok" }),
      ...(set === "platform" && { policy: "platform_pool" }),
      ...wish,
    };
    if (Object.keys(wished).length) body["modelfaucet"] = wished;
    return { options: { feature, mode: set, signal, idempotencyKey }, body };
  }

  /** Tells whether a call must not leave the machine. */
  private async isLocal({ mode, feature }: CallOptions): Promise<boolean> {
    if (mode === "local") return true;
    return (await this.context.sessions.get(feature)).session.privacy_mode === "local_only";
  }

  private deliver<T>(
    path: string,
    body: object,
    { signal, idempotencyKey, feature }: CallOptions,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const headers = { "idempotency-key": idempotencyKey ?? newId() };
    return this.context.call(path, { body, headers, signal, again: true }, read, feature);
  }

  private async answer<T>(
    path: string,
    body: object,
    options: CallOptions,
    read: (answer: unknown, call: CallResult) => T,
  ): Promise<T> {
    return this.deliver(path, body, options, async (response) => {
      const facts = { ...this.factsOf(response), price_usd: response.headers.get("x-modelfaucet-price-usd") };
      const answer = await readJson(response);
      this.spent(facts.price_usd);
      return read(answer, facts);
    });
  }

  /** Streams a chat from the gateway. */
  private async gateway(body: object, options: CallOptions, flow: Flow): Promise<ChatResult> {
    const all = new Gathered();
    const facts = await this.events(
      "chat/completions",
      body,
      options,
      flow,
      ({ data }) => {
        if (data === "[DONE]") return true;
        readChunk(all, data, flow, secretsOf(body));
        return false;
      },
    );
    this.ended(all.usage, facts.price_usd, flow, () => tellCalls(all, flow));
    return gathered(all, flow.aborted() ? "aborted" : all.finish || "stop", facts);
  }

  private async gatewayFeature<Result>(path: string, body: object, options: CallOptions, flow: Flow): Promise<Result> {
    let text = "";
    let done: Record<string, unknown> | undefined;
    const facts = await this.events(path, body, options, flow, ({ event, data }) => {
      const said = parse(data) as { text?: string; error?: unknown };
      if (said.error) throw errorOf(502, said, null, secretsOf(body));
      if (event === "feature.done") {
        done = said as Record<string, unknown>;
        return true;
      }
      text += said.text ?? "";
      if (said.text) flow.push({ type: "text", text: said.text });
      return false;
    });
    const { modelfaucet: note, ...answer } = (done ?? { output: text, finish_reason: "aborted" }) as Record<string, unknown>;
    const price_usd = (note as { price_usd?: string } | undefined)?.price_usd ?? null;
    this.ended(usageOf(answer["usage"]), price_usd, flow);
    return featureResult<Result>(answer, { ...facts, price_usd }, text);
  }

  /**
   * Reads a stream of the gateway's until `take` says that it is complete. Throws where it ends before, but for what
   * `abort()` has ended.
   */
  private async events(
    path: string,
    body: object,
    options: CallOptions,
    flow: Flow,
    take: (event: ServerEvent) => boolean,
  ): Promise<CallResult> {
    let facts: Facts | undefined;
    let price: string | null = null;
    await untilAborted(flow, options.signal, async () => {
      const response = await this.deliver(path, body, { ...options, signal: flow.signal }, (each) => Promise.resolve(each));
      facts = this.factsOf(response);
      for await (const event of eventsOf(response)) {
        if (event.comment?.startsWith("modelfaucet ")) {
          price = (parse(event.comment.slice(12)) as { price_usd?: string }).price_usd ?? null;
        } else if (event.data && take(event)) return;
      }
      throw brokeOff();
    });
    return { ...(facts ?? this.factsOf(null)), price_usd: price };
  }

  private ended(usage: Usage | null, price_usd: string | null, flow: Flow, before = (): void => undefined): void {
    if (flow.aborted()) return;
    before();
    flow.push({ type: "usage", usage, price_usd });
    this.spent(price_usd);
  }

  private spent(spent_usd: string | null): void {
    if (Number(spent_usd) > 0) this.context.emit({ type: "balance", spent_usd: spent_usd ?? undefined });
  }

  private factsOf(response: Response | null): Facts {
    const request_id = response?.headers.get("x-request-id") ?? null;
    return {
      request_id,
      route_mode: (response?.headers.get("x-modelfaucet-route-mode") ?? "platform") as RouteMode,
      receipt: () => receiptOf(this.context, request_id),
    };
  }
}

export const brokeOff = (): FaucetError =>
  new ConnectionError_("The answer broke off.", { code: "stream_broke_off", status: 200 });

export function receiptOf(context: Context, id: string | null): Promise<Receipt> {
  if (id) return context.resource("GET", `receipts/${encodeURIComponent(id)}`);
  return Promise.reject(new BridgeError("No gateway has taken the report of this call yet.", { code: "not_reported" }));
}

/** Yields the events of an answer, whose loss has a name of its own. */
export async function* eventsOf(response: Response): AsyncGenerator<ServerEvent> {
  if (!response.body) throw brokeOff();
  try {
    yield* serverEvents(response.body);
  } catch (error) {
    throw error instanceof FaucetError ? error : brokeOff();
  }
}

/** Runs what reads a stream. What `abort()` ends is complete; what the caller's signal ends fails with its reason. */
export async function untilAborted(flow: Flow, signal: AbortSignal | undefined, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (flow.aborted()) return;
    signal?.throwIfAborted();
    throw error;
  }
}

/** Adds a chunk to what was gathered, and tells of it. Throws what the stream ended with. */
export function readChunk(all: Gathered, data: string, flow: Flow, secrets: string[]): void {
  const chunk = parse(data) as Completion;
  if (chunk.error) throw errorOf(502, chunk, null, secrets);
  const { text, reasoning } = all.add(chunk);
  if (reasoning) flow.push({ type: "reasoning", text: reasoning });
  if (text) flow.push({ type: "text", text });
}

export function tellCalls(all: Gathered, flow: Flow): void {
  all.calls.forEach(({ id, function: called }, index) => flow.push({ type: "tool_call", index, id, ...called }));
}

export function chatOf(request: string | ChatRequest | GenerateRequest): ChatRequest {
  if (typeof request === "object" && "messages" in request) return request as ChatRequest;
  const { prompt, system, ...more } = typeof request === "string" ? { prompt: request } : (request as GenerateRequest);
  const told = system ? [{ role: "system" as const, content: system }] : [];
  return { ...more, messages: [...told, { role: "user", content: prompt }] };
}

function parse(data: string): unknown {
  try {
    return (JSON.parse(data) as unknown) ?? {};
  } catch {
    throw brokeOff();
  }
}

export function featureResult<Result>(answer: unknown, call: CallResult, text?: string): Result {
  const all = answer as Record<string, unknown>;
  const output = all["output"];
  return readable(
    {
      output,
      output_problem: all["output_problem"] ?? null,
      text: text ?? (typeof output === "string" ? output : JSON.stringify(output)),
      feature: all["feature"],
      model: all["model"],
      refusal: all["refusal"] ?? null,
      finish_reason: all["finish_reason"],
      usage: usageOf(all["usage"]),
      raw: answer,
    },
    call,
  ) as Result;
}
