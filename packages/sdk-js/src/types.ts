/** Every public type. Names of members are the API's own, so that its reference describes them. */
import type { FaucetError } from "./errors.js";
import type {
  Bridge,
  BridgeStatus,
  Diagnostic,
  Fees,
  FlushResult,
  List,
  ListQuery,
  LocalEndpoint,
  LocalModel,
  Model,
  NewLocalEndpoint,
  NewProviderKey,
  NewTopUp,
  PageLink,
  Pairing,
  ProviderKey,
  ProviderKeySettings,
  Receipt,
  TopUp,
  UsageList,
  UsageQuery,
  UsageReport,
  UserBudget,
  Wallet,
} from "./resources.js";

export type * from "./resources.js";

/** What a person chose: the app's routing, the platform's models, their own key, or a model on their own machine. */
export type Mode = "auto" | "platform" | "byok" | "local";
/** Whose key, or whose machine, served a call. */
export type RouteMode = "platform" | "developer_key" | "byok" | "local";
/** An amount in USD as a decimal string, such as "0.0140". Never a number: sums of cents would drift. */
export type Usd = string;

/** A place that outlives the page: localStorage, a file, an extension's storage. Answers may be promises. */
export interface FaucetStorage {
  getItem(key: string): string | null | Promise<string | null>;
  setItem(key: string, value: string): void | Promise<void>;
  removeItem(key: string): void | Promise<void>;
}

export interface FaucetOptions {
  /** The gateway's address, such as "https://ai.example.com". A trailing /v1 is taken, too. */
  baseUrl: string;
  /** The app's public id, "app_pub_…". Not needed with `sessionToken`. */
  publicAppId?: string;
  /** A user token that your backend signed, or a function that fetches one; it is asked for each session. */
  userToken?: string | (() => string | Promise<string>);
  /** A session token that your backend opened. It is not refreshed: open a new one. */
  sessionToken?: string;
  /** The feature that sessions are for; without it the app's default. */
  featureKey?: string;
  /** The id of an anonymous device. By default one is made and kept in `storage`. */
  deviceId?: string;
  mode?: Mode;
  fetch?: typeof fetch;
  /** By default localStorage where there is one, else memory. */
  storage?: FaucetStorage;
  /** Where the local bridge answers; by default http://127.0.0.1:19088. */
  bridgeUrl?: string;
  /** A token of the local bridge, for programs that do not pair. */
  bridgeToken?: string;
  /** The language of disclosures and messages, such as "zh-CN". */
  locale?: string;
  /** Milliseconds until an answer must have begun; 600 000 by default. */
  timeout?: number;
  /** How often a refused or lost request is sent again; 2 by default. */
  maxRetries?: number;
  /** Everything that `on` tells. */
  onEvent?: (event: FaucetEvent) => void;
}

/** A value that JSON can hold. */
export type Json = string | number | boolean | null | Json[] | { [member: string]: Json };

export interface ContentPart {
  type: string;
  [member: string]: unknown;
}

export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export interface Message {
  role: "system" | "developer" | "user" | "assistant" | "tool";
  content: string | ContentPart[] | null;
  name?: string;
  tool_calls?: ToolCall[];
  tool_call_id?: string;
  [member: string]: unknown;
}

export interface Tool {
  type: "function";
  function: { name: string; description?: string; parameters?: object; strict?: boolean };
}

/** What a call wishes of its route; the feature's manifest has the last word. */
export interface Wish {
  policy?:
    | "platform_pool"
    | "developer_key_first"
    | "byok_first"
    | "local_first"
    | "cheapest_sufficient"
    | "quality_first"
    | "latency_first"
    | "privacy_first";
  prefer?: "local" | "byok";
  max_price_usd?: Usd;
  min_quality?: number;
  require?: string[];
}

/** What every call of a model takes beside its body. */
export interface CallOptions {
  /** The feature that is called; by default `featureKey`, or the app's default. */
  feature?: string;
  /** Overrides the mode that is set. */
  mode?: Mode;
  wish?: Wish;
  signal?: AbortSignal;
  /** The same key and body again answers again, without calling or charging again. One is made where none is given. */
  idempotencyKey?: string;
}

/** OpenAI's chat completion; what is not named here goes to the model as it is. */
export interface ChatRequest extends CallOptions {
  messages: Message[];
  model?: string;
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  stop?: string | string[];
  seed?: number;
  tools?: Tool[];
  tool_choice?: "none" | "auto" | "required" | { type: "function"; function: { name: string } };
  response_format?: object;
  [parameter: string]: unknown;
}

export interface GenerateRequest extends CallOptions {
  prompt: string;
  system?: string;
  model?: string;
  [parameter: string]: unknown;
}

/** Tokens; cached ones are a part of `input_tokens`, reasoning a part of `output_tokens`. */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
  total_tokens: number;
  cache_read_tokens: number;
  reasoning_tokens: number;
}

/** What is known of a call that was answered. */
export interface CallResult {
  /** The id in the receipt, usage and ledger; null where a local bridge answered. */
  request_id: string | null;
  route_mode: RouteMode;
  /** What it cost its payer; null where that is not known yet. */
  price_usd: Usd | null;
  /** Fetches the receipt; it is there a moment after the answer. */
  receipt(): Promise<Receipt>;
}

export interface ChatResult extends CallResult {
  text: string;
  message: Message;
  model: string;
  /** "stop", "length", "tool_calls", …; "aborted" where `abort()` ended a stream. */
  finish_reason: string;
  /** Null where a stream was aborted. */
  usage: Usage | null;
  /** The answer as it came; of a stream its last chunk. */
  raw: unknown;
  /** The text: a result reads like a string in a template. */
  toString(): string;
}
export type GenerateResult = ChatResult;

export interface FeatureResult<Output = unknown> extends CallResult {
  output: Output;
  /** Set where the model's answer is not what the feature promises; `output` is then its text. */
  output_problem: "not_json" | "not_of_schema" | null;
  text: string;
  feature: string;
  model: string;
  refusal: string | null;
  finish_reason: string;
  usage: Usage | null;
  raw: unknown;
  toString(): string;
}

export interface EmbeddingsRequest extends CallOptions {
  input: string | string[];
  model?: string;
  dimensions?: number;
  [parameter: string]: unknown;
}
export interface EmbeddingsResult extends CallResult {
  embeddings: number[][];
  model: string;
  usage: Usage | null;
  raw: unknown;
}

export type StreamPart =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  | { type: "tool_call"; index: number; id: string; name: string; arguments: string }
  | { type: "usage"; usage: Usage | null; price_usd: Usd | null };

/**
 * An answer as it comes. Reading may begin at any time and leaving the loop ends the call; `result` is there at the end,
 * whether or not anybody reads.
 */
export interface FaucetStream<Result> extends AsyncIterable<StreamPart> {
  readonly result: Promise<Result>;
  /** Ends the call: the loop ends, and `result` has what came, with the finish reason "aborted". */
  abort(): void;
}

export interface Session {
  object: "session";
  session_id: string;
  expires_at: string;
  /** The route modes in which the feature's models can be served right now. */
  available_modes: RouteMode[];
  feature_key: string;
  end_user_id: string;
  assurance: "user_token" | "app_secret" | "anonymous";
  /** What the feature's manifest says: "local_only" never leaves the machine. */
  privacy_mode: "allow" | "redact_before_cloud" | "local_only";
  balance_usd: Usd;
  available_usd: Usd;
  allowance?: { state: string; amount_usd: Usd; expires_at: string | null; message: string | null };
}

export type FaucetEvent =
  /** The wallet changed, or may have: amounts are there where they are known. */
  | { type: "balance"; balance_usd?: Usd; available_usd?: Usd; spent_usd?: Usd }
  | { type: "mode"; mode: Mode }
  | { type: "session"; session: Session }
  | { type: "error"; error: FaucetError };
export type FaucetEventType = FaucetEvent["type"];
export type FaucetEventOf<Type extends FaucetEventType> = Extract<FaucetEvent, { type: Type }>;

/** What `npx @modelfaucet/sdk types` writes of a manifest. */
export interface FeatureShape {
  input: object;
  output: unknown;
}
export interface FeatureOptions extends Omit<CallOptions, "feature"> {
  model?: string;
  max_tokens?: number;
}
export interface Feature<Shape extends FeatureShape> {
  (input: Shape["input"], options?: FeatureOptions): Promise<FeatureResult<Shape["output"]>>;
  stream(input: Shape["input"], options?: FeatureOptions): FaucetStream<FeatureResult<Shape["output"]>>;
}

export interface Faucet {
  readonly baseUrl: string;
  readonly mode: Mode;
  readonly locale: string | undefined;
  chat(request: ChatRequest): Promise<ChatResult>;
  stream(request: ChatRequest | GenerateRequest): FaucetStream<ChatResult>;
  generate(request: string | GenerateRequest): Promise<GenerateResult>;
  feature<Shape extends FeatureShape = { input: Record<string, Json>; output: unknown }>(key: string): Feature<Shape>;
  embeddings(request: EmbeddingsRequest): Promise<EmbeddingsResult>;
  models(): Promise<Model[]>;
  /** The session, opened where there is none, or anew with `refresh`. */
  session(options?: { refresh?: boolean; feature?: string }): Promise<Session>;
  /** Revokes the sessions and forgets them: call it when the user signs out. */
  signOut(): Promise<void>;
  setMode(mode: Mode): void;
  on<Type extends FaucetEventType>(type: Type, listener: (event: FaucetEventOf<Type>) => void): () => void;
  readonly keys: {
    list(query?: ListQuery): Promise<List<ProviderKey>>;
    add(key: NewProviderKey): Promise<ProviderKey>;
    update(id: string, settings: ProviderKeySettings & { status?: "active" | "disabled" }): Promise<ProviderKey>;
    remove(id: string): Promise<void>;
    validate(id: string): Promise<ProviderKey>;
    rotate(id: string, secret: string): Promise<ProviderKey>;
  };
  readonly wallet: {
    get(): Promise<Wallet>;
    /** Starts a top-up: send the payer to its `checkout_url`. */
    topUp(topUp: Usd | NewTopUp): Promise<TopUp>;
    topUps(query?: ListQuery): Promise<List<TopUp>>;
    /** A link that opens the user's own pages, once. */
    page(options?: { embed?: boolean }): Promise<PageLink>;
  };
  readonly fees: {
    list(): Promise<Fees>;
    /** Accepts exactly the fee that was shown. */
    accept(mode: "byok" | "local", feeUsd: Usd): Promise<{ mode: string; fee_usd: Usd; text: string }>;
  };
  readonly usage: {
    list(query?: UsageQuery): Promise<UsageList>;
    receipt(requestId: string): Promise<Receipt>;
  };
  readonly budget: {
    get(): Promise<UserBudget>;
    set(budget: { daily_usd?: Usd | null; monthly_usd?: Usd | null }): Promise<UserBudget>;
  };
  readonly local: {
    /** Looks for a bridge on this machine, for a second at most; null where there is none. */
    discover(): Promise<Bridge | null>;
    status(): Promise<BridgeStatus | null>;
    pair(options?: { appName?: string; signal?: AbortSignal }): Promise<Pairing>;
    unpair(): Promise<void>;
    models(): Promise<LocalModel[]>;
    diagnostics(): Promise<Diagnostic[]>;
    readonly endpoints: {
      list(query?: ListQuery): Promise<List<LocalEndpoint>>;
      add(endpoint: NewLocalEndpoint): Promise<LocalEndpoint>;
      remove(id: string): Promise<void>;
    };
    readonly reports: {
      /** Reports that no gateway has taken yet. */
      pending(): Promise<UsageReport[]>;
      flush(): Promise<FlushResult>;
    };
  };
}
