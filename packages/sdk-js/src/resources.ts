/** What the gateway's resources and the local bridge tell, in their own words. */
import type { Usd, RouteMode } from "./types.js";

export interface List<Row> {
  object: "list";
  data: Row[];
  has_more: boolean;
  /** Give it as `cursor` to go on. */
  next_cursor: string | null;
}
export interface ListQuery {
  limit?: number;
  cursor?: string;
}

export interface ProviderKey {
  object: "provider_key";
  id: string;
  provider: string;
  label: string;
  /** The last four characters. */
  hint: string;
  base_url: string | null;
  status: string;
  models: string[];
  features: string[];
  weight: number;
  priority: number;
  monthly_budget_usd: Usd | null;
  monthly_budget: BudgetState | null;
  validation: { result: string; status: number | null; ms: number | null; at: string | null; warning: string | null };
  failing_since: string | null;
  replaces: string | null;
  last_used_at: string | null;
  created_at: string;
  /** Only where it was just added. */
  fee?: Fee;
}
export interface ProviderKeySettings {
  label?: string;
  models?: string[];
  features?: string[];
  weight?: number;
  /** Lower is tried first. */
  priority?: number;
  monthly_budget_usd?: Usd | null;
}
export interface NewProviderKey extends ProviderKeySettings {
  provider: string;
  secret: string;
  base_url?: string;
  acknowledge_fee_usd?: Usd;
}

export interface BudgetState {
  limit_usd: Usd;
  spent_usd: Usd;
  reserved_usd: Usd;
  remaining_usd: Usd;
  period_start: string;
  period_end: string;
  [member: string]: unknown;
}
export interface UserBudget {
  object: "user_budget";
  daily: BudgetState | null;
  monthly: BudgetState | null;
}

export interface Wallet {
  object: "wallet";
  owner: string;
  currency: "usd";
  frozen: boolean;
  balance_usd: Usd;
  held_usd: Usd;
  available_usd: Usd;
  spent_usd: Usd;
  pending_usd: Usd;
  credits: { kind: string; remaining_usd: Usd; expires_at: string | null }[];
  notices: { id: string; kind: string; at: string; [member: string]: unknown }[];
  top_up: { enabled: boolean; presets_usd: Usd[]; min_usd: Usd; max_usd: Usd };
  calls: UsageRow[];
}
export interface TopUp {
  object: "top_up";
  id: string;
  status: "sending" | "open" | "pending" | "paid" | "failed" | "expired" | "canceled";
  currency: "usd";
  credit_usd: Usd;
  tax_usd: Usd;
  total_usd: Usd;
  refunded_usd: Usd;
  /** Send the payer there. */
  checkout_url: string | null;
  receipt_url: string | null;
  return_url: string | null;
  error_code: string | null;
  created_at: string;
  paid_at: string | null;
}
export interface NewTopUp {
  amount_usd: Usd;
  method?: "checkout" | "saved_card";
  /** Where the page after paying leads back to. */
  return_url?: string;
  save_card?: boolean;
  idempotencyKey?: string;
}
export interface PageLink {
  object: "page_link";
  id: string;
  url: string;
  embed: boolean;
  expires_at: string;
}

export interface Fee {
  mode: "byok" | "local";
  type: string;
  per: "request";
  fee_usd: Usd;
  /** The words to show before it is accepted. */
  text: string;
  acknowledged: boolean;
}
export interface Fees {
  object: "fees";
  feature_key: string;
  language: string;
  fees: Fee[];
  catalogue: { fee_key: string; name: string; amount_usd: Usd; per: string; text: string; acknowledged: boolean; [member: string]: unknown }[];
  providers: { id: string; name: string; trains_on_data: boolean | null; notice: string | null; terms_url: string | null }[];
}

export interface UsageRow {
  request_id: string;
  model: string;
  requested_model: string | null;
  feature_key: string;
  route_mode: RouteMode;
  price_usd: Usd;
  input_tokens: number;
  cache_read_tokens: number;
  output_tokens: number;
  reasoning_tokens: number;
  total_tokens: number;
  estimated: boolean;
  outcome: string;
  stream: boolean;
  rated: boolean;
  at: string;
  [member: string]: unknown;
}
export interface UsageQuery extends ListQuery {
  /** Dates or times in UTC; `to` is exclusive. */
  from?: string;
  to?: string;
  feature_key?: string;
  route_mode?: RouteMode;
  model?: string;
  outcome?: string;
}
export interface UsageList extends List<UsageRow> {
  /** Sums over the whole filter, not over the page. */
  totals: { calls: number; input_tokens: number; output_tokens: number; total_tokens: number; price_usd: Usd };
}
export interface Receipt {
  object: "receipt";
  request_id: string;
  served_model: string | null;
  route_mode: RouteMode;
  outcome: string;
  charged: boolean;
  price_usd: Usd;
  tokens: { input: number; cache_read: number; cache_write: number; output: number; reasoning: number; total: number };
  [member: string]: unknown;
}

export interface Model {
  id: string;
  object: "model";
  owned_by: string;
  context_window?: number | null;
  capabilities?: string[];
  route_modes?: RouteMode[];
  [member: string]: unknown;
}

export type EndpointKind = "ollama" | "vllm" | "lm_studio" | "llama_cpp" | "openai_compatible";
/** What a bridge says of itself to anybody. */
export interface Bridge {
  url: string;
  name: string;
  version: string;
  ok: boolean;
  /** Whether it reports usage to its gateway by itself. */
  reports: boolean;
  gateway: string | null;
}
export interface BridgeStatus extends Bridge {
  /** Whether a token for it is kept here; without one, `endpoints` and `models` are empty. */
  paired: boolean;
  endpoints: BridgeEndpoint[];
  /** Those of endpoints on the user's own machine or network, which work. */
  models: LocalModel[];
}
export interface BridgeEndpoint {
  name: string;
  kind: EndpointKind;
  /** Whether it is on the user's own machine or network; a prompt is sent nowhere else. */
  local: boolean;
  enabled: boolean;
  /** What the bridge saw when it last looked; `checked_at` is seconds since 1970. */
  health: {
    state: "up" | "down" | "unknown" | "disabled";
    latency_ms: number | null;
    checked_at: number | null;
    error: string | null;
  };
  models: LocalModel[];
  [member: string]: unknown;
}
export interface LocalModel {
  id: string;
  kind?: EndpointKind;
  context_window?: number | null;
  capabilities?: string[];
}
export interface Pairing {
  /** To be shown: the person confirms it in the bridge's page, or with `modelfaucet-bridge allow CODE`. */
  code: string;
  expires_at: string;
  /** Whether the person allowed it; false where they did not, or in time. */
  readonly allowed: Promise<boolean>;
  cancel(): void;
}
export interface Diagnostic {
  check: "secure_context" | "bridge" | "paired" | "models" | "gateway" | "reports";
  ok: boolean;
  /** A stable word, such as "unreachable", "not_paired", "other_gateway". */
  code: string;
  detail?: string;
}
export interface LocalEndpoint {
  object: "local_endpoint";
  id: string;
  name: string;
  kind: EndpointKind;
  base_url: string;
  models: { id: string; context_window?: number | null; capabilities?: string[] }[];
  bridge_id: string | null;
  created_at: string;
  [member: string]: unknown;
}
export interface NewLocalEndpoint {
  name: string;
  kind: EndpointKind;
  base_url: string;
  models: { id: string; context_window?: number; capabilities?: string[] }[];
  bridge_id?: string;
}
/** What is reported of a call that a local model served: never a word of it. */
export interface UsageReport {
  report_id: string;
  model: string;
  endpoint_kind: EndpointKind;
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens?: number;
  reasoning_tokens?: number;
  status: "ok" | "error";
  error_code?: string;
  latency_ms: number;
  started_at: string;
}
export interface FlushResult {
  accepted: number;
  duplicate: number;
  rejected: number;
  pending: number;
}
