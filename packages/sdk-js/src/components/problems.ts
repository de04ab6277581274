/** Say what went wrong to whoever is in front of it: what it is, what to do, and which button helps. */

import type { Values, Word } from "./words.js";

/** What helps: `retry` after a moment, `topup` credit, `clear` the conversation; null: nothing to press. */
export type Remedy = "retry" | "topup" | "clear" | null;

export interface Problem {
  title: Word;
  text: Word | null;
  values: Values;
  remedy: Remedy;
  code: string;
  requestId: string | null;
  /** The server's own words, where there are no better ones. */
  said: string;
  tone: "bad" | "warn";
}

type Advice = readonly [title: Word, text: Word, remedy: Remedy];

const BY_CODE: Record<string, Advice> = {
  insufficient_funds: ["p_funds", "p_funds_text", "topup"],
  fee_unpaid: ["p_funds", "p_funds_text", "topup"],
  budget_exceeded: ["p_budget", "p_budget_text", null],
  max_price_exceeded: ["p_max_price", "p_max_price_text", null],
  plan_limit_reached: ["p_plan", "p_plan_text", null],
  wallet_frozen: ["p_frozen", "p_frozen_text", null],
  origin_not_allowed: ["p_setup", "p_setup_text", null],
  anonymous_not_allowed: ["p_proof", "p_proof_text", null],
  app_not_found: ["p_setup", "p_setup_text", null],
  proof_required: ["p_proof", "p_proof_text", null],
  end_user_required: ["p_proof", "p_proof_text", null],
  fee_not_acknowledged: ["p_fee", "p_fee_text", null],
  fee_changed: ["p_fee_changed", "p_fee_changed_text", null],
  context_length_exceeded: ["p_long", "p_long_text", "clear"],
  key_rejected: ["p_key", "p_key_text", null],
  payments_off: ["p_payments", "p_payments_text", null],
  provider_broke_off: ["p_broke", "p_broke_text", "retry"],
  provider_error_in_stream: ["p_broke", "p_broke_text", "retry"],
  provider_answer_broken: ["p_broke", "p_broke_text", "retry"],
  provider_timeout_idle: ["p_broke", "p_broke_text", "retry"],
  stream_broke_off: ["p_broke", "p_broke_text", "retry"],
  not_paired: ["p_bridge", "p_not_paired_text", null],
  local_model_missing: ["p_bridge", "fix_models", "retry"],
  bridge_lost: ["p_bridge", "p_bridge_text", "retry"],
  local_bridge_unavailable: ["p_bridge", "p_bridge_text", "retry"],
};

/** Return what to say about an error of a faucet, or of anything else. */
export function problemOf(error: unknown): Problem {
  const fields = (error ?? {}) as { code?: unknown; status?: unknown; requestId?: unknown; retryAfter?: unknown; name?: unknown };
  const code = typeof fields.code === "string" ? fields.code : "";
  const status = typeof fields.status === "number" ? fields.status : 0;
  const seconds = typeof fields.retryAfter === "number" ? Math.ceil(fields.retryAfter) : 0;
  const [title, text, remedy] = BY_CODE[code] ?? byKind(String(fields.name ?? ""), status, seconds);
  return {
    title,
    text,
    values: { code: code || "error", seconds },
    remedy,
    code,
    requestId: typeof fields.requestId === "string" ? fields.requestId : null,
    said: error instanceof Error ? error.message : "",
    tone: status === 402 || title === "p_proof" || title === "p_fee" ? "warn" : "bad",
  };
}

function byKind(name: string, status: number, seconds: number): readonly [Word, Word | null, Remedy] {
  if (name === "BridgeError") return ["p_bridge", "p_bridge_text", "retry"];
  if (status === 401) return ["p_session", "p_session_text", "retry"];
  if (status === 402) return ["p_funds", "p_funds_text", "topup"];
  if (status === 429) return ["p_rate", seconds > 0 ? "p_rate_text" : "p_rate_text_soon", "retry"];
  if (status >= 500) return ["p_provider", "p_provider_text", "retry"];
  if (name === "ConnectionError" || name === "TypeError") return ["p_network", "p_network_text", "retry"];
  return ["p_other", null, status === 0 || status >= 400 ? "retry" : null];
}
