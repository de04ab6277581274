import type { ChatResult, Message, ToolCall, Usage } from "./types.js";

export interface Delta {
  content?: unknown;
  reasoning_content?: unknown;
  reasoning?: unknown;
  tool_calls?: { index?: number; id?: string; function?: { name?: string; arguments?: string } }[];
}
export interface Completion {
  model?: string;
  choices?: { message?: Message; delta?: Delta; finish_reason?: string | null }[];
  usage?: Record<string, unknown> | null;
  error?: unknown;
}

/** Returns usage as the SDK tells it, of either of the gateway's ways to tell it; null where there is none. */
export function usageOf(given: unknown): Usage | null {
  if (!given || typeof given !== "object") return null;
  const all = given as Record<string, unknown>;
  const count = (of: unknown, ...names: string[]): number => {
    for (const name of names) {
      const value = (of as Record<string, unknown> | undefined)?.[name];
      if (typeof value === "number") return value;
    }
    return 0;
  };
  const input = count(all, "prompt_tokens", "input_tokens");
  const output = count(all, "completion_tokens", "output_tokens");
  return {
    input_tokens: input,
    output_tokens: output,
    total_tokens: count(all, "total_tokens") || input + output,
    cache_read_tokens: count(all["prompt_tokens_details"] ?? all["input_tokens_details"], "cached_tokens"),
    reasoning_tokens: count(all["completion_tokens_details"] ?? all["output_tokens_details"], "reasoning_tokens"),
  };
}

/** Returns the text of a message's content, whose parts other than text are passed over. */
export function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part: { text?: unknown }) => (typeof part?.text === "string" ? part.text : "")).join("");
}

/** Puts a streamed answer together. */
export class Gathered {
  text = "";
  model = "";
  finish = "";
  usage: Usage | null = null;
  last: unknown = null;
  readonly calls: ToolCall[] = [];

  add(chunk: Completion): { text: string; reasoning: string } {
    this.last = chunk;
    this.model ||= chunk.model ?? "";
    this.usage = usageOf(chunk.usage) ?? this.usage;
    const choice = chunk.choices?.[0];
    this.finish = choice?.finish_reason || this.finish;
    const delta = choice?.delta ?? {};
    for (const { index = 0, id, function: called } of delta.tool_calls ?? []) {
      const call = (this.calls[index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
      call.id ||= id ?? "";
      call.function.name += called?.name ?? "";
      call.function.arguments += called?.arguments ?? "";
    }
    const text = textOf(delta.content);
    this.text += text;
    return { text, reasoning: textOf(delta.reasoning_content ?? delta.reasoning) };
  }

  message(): Message {
    const calls = this.calls.filter(Boolean);
    return {
      role: "assistant",
      content: this.text || (calls.length ? null : ""),
      ...(calls.length ? { tool_calls: calls } : {}),
    };
  }
}

type Call = Pick<ChatResult, "request_id" | "route_mode" | "price_usd" | "receipt">;

/** Returns a result that reads like its text. */
export function readable<Result extends { text: string }>(result: Result, call: Call): Result & Call {
  return Object.defineProperty({ ...result, ...call }, "toString", { value: () => result.text });
}

export function completed(answer: Completion, call: Call): ChatResult {
  const choice = answer.choices?.[0];
  const message = choice?.message ?? { role: "assistant", content: "" };
  return readable(
    {
      text: textOf(message.content),
      message,
      model: answer.model ?? "",
      finish_reason: choice?.finish_reason ?? "stop",
      usage: usageOf(answer.usage),
      raw: answer,
    },
    call,
  );
}

export const gathered = (all: Gathered, finish: string, call: Call): ChatResult =>
  readable(
    { text: all.text, message: all.message(), model: all.model, finish_reason: finish, usage: all.usage, raw: all.last },
    call,
  );
