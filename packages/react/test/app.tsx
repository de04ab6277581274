// An app with everything of this package; tests/browser/test_react.py bundles it and walks through it.
import { createFaucet } from "@modelfaucet/sdk";
import { FaucetChat, FaucetProvider, FaucetUsage, useBalance, useChat, useLocal, useMode, useStream, useUsage } from "@modelfaucet/react";
import { StrictMode, useState, type ReactElement } from "react";
import { createRoot } from "react-dom/client";

const at = document.querySelector<HTMLElement>("#app")!;
const faucet = createFaucet({
  baseUrl: at.dataset["gateway"]!,
  publicAppId: at.dataset["app"]!,
  bridgeUrl: at.dataset["bridge"]!,
  userToken: async () => ((await (await fetch("/token")).json()) as { user_token: string }).user_token,
});

function Conversation(): ReactElement {
  const { messages, state, result, error, send, retry, stop, clear } = useChat({ max_tokens: 500 });
  return (
    <section aria-label="Conversation of hooks">
      <ol>{messages.map((message, place) => <li key={place}>{`${message.role}: ${message.content as string}`}</li>)}</ol>
      <p id="state">{state}</p>
      <p id="price">{result?.price_usd}</p>
      <p id="error">{(error as { code?: string } | null)?.code}</p>
      <button onClick={() => void send("Say hello")}>Ask</button>
      <button onClick={() => void send("[[slow chunks=400 interval=0.02]]")}>Ask for much</button>
      <button onClick={() => void retry()}>Retry</button>
      <button onClick={stop}>Halt</button>
      <button onClick={clear}>Forget</button>
    </section>
  );
}

function Once(): ReactElement {
  const { text, state, start } = useStream();
  return (
    <section>
      <button onClick={() => void start("Say it once")}>Once</button>
      <p id="once">{`${state}: ${text}`}</p>
    </section>
  );
}

function Account(): ReactElement {
  const { available, low } = useBalance();
  const { data } = useUsage({ limit: 5 });
  const { mode, setMode, available: modes } = useMode();
  const { paired, loading, data: bridge } = useLocal();
  return (
    <dl>
      <dd id="balance">{available}</dd>
      <dd id="low">{String(low)}</dd>
      <dd id="calls">{data?.data.map((row) => row.price_usd).join()}</dd>
      <dd id="mode">{`${mode} of ${modes?.join() ?? "?"}`}</dd>
      <dd id="bridge">{loading ? "looking" : `${String(paired)} ${bridge === null ? "none" : bridge.version}`}</dd>
      <dd><button onClick={() => setMode("platform")}>Platform</button></dd>
    </dl>
  );
}

function App(): ReactElement {
  const [answers, setAnswers] = useState<string[]>([]);
  const [shown, setShown] = useState(true);
  return (
    <FaucetProvider faucet={faucet}>
      <Conversation />
      <Once />
      <Account />
      <FaucetChat heading="In React" suggestions={["Say hello there"]} noMode onAnswer={(event) => setAnswers([...answers, event.detail.price_usd ?? ""])} />
      {shown ? <FaucetUsage limit={3} noChart /> : null}
      <p id="answers">{answers.join()}</p>
      <button onClick={() => setShown(false)}>Hide</button>
    </FaucetProvider>
  );
}

createRoot(at).render(<StrictMode><App /></StrictMode>);
