import type { ChatRequest, ChatResult, FaucetStream, GenerateRequest, Message } from "@modelfaucet/sdk";
import { useCallback, useEffect, useRef, useState } from "react";
import { useFaucet } from "./provider.js";

export type CallState = "idle" | "waiting" | "streaming" | "done" | "stopped" | "failed";

export interface UseStream {
  text: string;
  state: CallState;
  /** Present once the answer is complete, or stopped. */
  result: ChatResult | null;
  error: Error | null;
  /** Ask; what came before is dropped. Resolves with the result, or null where it failed or something else was asked. */
  start(request: string | ChatRequest | GenerateRequest): Promise<ChatResult | null>;
  /** End the answer; what came of it stays. */
  stop(): void;
}

/** One answer as it comes. It ends when the component goes away. */
export function useStream(): UseStream {
  const faucet = useFaucet();
  const current = useRef<FaucetStream<ChatResult> | null>(null);
  const [text, setText] = useState("");
  const [state, setState] = useState<CallState>("idle");
  const [result, setResult] = useState<ChatResult | null>(null);
  const [error, setError] = useState<Error | null>(null);

  const end = useCallback(() => {
    const stream = current.current;
    current.current = null;
    stream?.abort();
  }, []);
  useEffect(() => end, [end, faucet]);

  const start = useCallback(
    async (request: string | ChatRequest | GenerateRequest): Promise<ChatResult | null> => {
      end();
      const stream = faucet.stream(typeof request === "string" ? { prompt: request } : request);
      current.current = stream;
      const ours = (): boolean => current.current === stream;
      setText("");
      setResult(null);
      setError(null);
      setState("waiting");
      try {
        for await (const part of stream) {
          if (!ours()) return null;
          if (part.type !== "text") continue;
          setState("streaming");
          setText((before) => before + part.text);
        }
        const whole = await stream.result;
        if (!ours()) return null;
        setText(whole.text);
        setResult(whole);
        setState(whole.finish_reason === "aborted" ? "stopped" : "done");
        return whole;
      } catch (problem) {
        if (!ours()) return null;
        setError(problem as Error);
        setState("failed");
        return null;
      } finally {
        if (ours()) current.current = null;
      }
    },
    [faucet, end],
  );
  const stop = useCallback(() => current.current?.abort(), []);
  return { text, state, result, error, start, stop };
}

export interface ChatOptions extends Omit<ChatRequest, "messages"> {
  /** What the conversation begins with. */
  initialMessages?: Message[];
}

export interface UseChat {
  /** The conversation, with the answer that is coming as its last message. */
  messages: Message[];
  state: CallState;
  /** The latest complete answer: its price, usage and receipt. */
  result: ChatResult | null;
  error: Error | null;
  send(text: string): Promise<ChatResult | null>;
  /** Ask the last question again. */
  retry(): Promise<ChatResult | null>;
  stop(): void;
  clear(): void;
}

/** A conversation: send, stream, stop, retry. */
export function useChat(options: ChatOptions = {}): UseChat {
  const { initialMessages, ...request } = options;
  const { text, state, result, error, start, stop } = useStream();
  const [first] = useState<Message[]>(() => initialMessages ?? []);
  const [settled, setSettled] = useState<Message[]>(first);
  const latest = useRef({ settled, request });
  latest.current = { settled, request };

  const ask = useCallback(
    async (messages: Message[]): Promise<ChatResult | null> => {
      setSettled(messages);
      const answer = await start({ ...latest.current.request, messages });
      if (answer?.text) setSettled([...messages, answer.message]);
      return answer;
    },
    [start],
  );
  const send = useCallback(
    (content: string) => ask([...latest.current.settled, { role: "user", content }]),
    [ask],
  );
  const retry = useCallback(async () => {
    const all = latest.current.settled;
    const last = all.map((message) => message.role).lastIndexOf("user");
    return last < 0 ? null : ask(all.slice(0, last + 1));
  }, [ask]);
  const clear = useCallback(() => {
    stop();
    setSettled(first);
  }, [stop, first]);

  const coming = (state === "waiting" || state === "streaming") && text !== "";
  const messages: Message[] = coming ? [...settled, { role: "assistant", content: text }] : settled;
  return { messages, state, result, error, send, retry, stop, clear };
}
