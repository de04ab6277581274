import { internals } from "./index.js";
import { misfit } from "./schema.js";
import { render } from "./template.js";
import type { Message } from "./types.js";
import { TemplateProblem } from "./values.js";

const { BadRequestError, BridgeError } = internals;

/** What the gateway tells of a feature, at GET /v1/features/{key}. */
export interface Shape {
  key: string;
  max_output_tokens: number;
  input: object | null;
  output: { kind: "text" | "json"; schema: object | null };
  prompt: { system?: string; user?: string; examples?: { user: string; assistant: string }[] } | null;
}

/** Returns the messages that a feature's prompt makes of an input, and what else goes into the request. */
export function messagesOf({ key, input: schema, output, prompt, max_output_tokens }: Shape, input: unknown): { messages: Message[]; extra: object } {
  if (!prompt) {
    const message = `The prompt of '${key}' stays on the gateway; its manifest names no local policy.`;
    throw new BridgeError(message, { code: "prompt_not_shared" });
  }
  const wrong = schema && misfit(schema, input, "input");
  if (wrong) throw new BadRequestError(`${wrong} does not fit the feature's input.`, { status: 400, code: "invalid_input", param: wrong });
  try {
    const [system, user] = [render(prompt.system ?? "", input), render(prompt.user ?? "", input)];
    const turns = (prompt.examples ?? []).flatMap((example): Message[] => [
      { role: "user", content: example.user },
      { role: "assistant", content: example.assistant },
    ]);
    const told: Message[] = system.trim() ? [{ role: "system", content: system }] : [];
    const wanted = output.schema
      ? { type: "json_schema", json_schema: { name: key, schema: output.schema } }
      : { type: "json_object" };
    return {
      messages: [...told, ...turns, { role: "user", content: user }],
      extra: { max_tokens: max_output_tokens, ...(output.kind === "json" && { response_format: wanted }) },
    };
  } catch (error) {
    if (!(error instanceof TemplateProblem)) throw error;
    throw new BadRequestError(error.message, { status: 400, code: "invalid_input", param: "input" });
  }
}

/** Returns the output, and what is wrong with it; then it is the text as the model wrote it. */
export function outputOf({ output }: Shape, text: string): { output: unknown; output_problem: string | null } {
  if (output.kind === "text") return { output: text, output_problem: null };
  try {
    const [, inside] = /^```[^\n]*\n([^]*)```$/.exec(text.trim()) ?? [];
    const value: unknown = JSON.parse(inside ?? text);
    const problem = output.schema && misfit(output.schema, value, "output") ? "not_of_schema" : null;
    return { output: problem ? text : value, output_problem: problem };
  } catch {
    return { output: text, output_problem: "not_json" };
  }
}
