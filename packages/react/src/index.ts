/** React for ModelFaucet: a provider, hooks, and a component for each element of `@modelfaucet/sdk/components`. */
export { FaucetProvider, useFaucet, type FaucetProviderProps } from "./provider.js";
export { useChat, useStream, type CallState, type ChatOptions, type UseChat, type UseStream } from "./calls.js";
export { useBalance, useLocal, useMode, useUsage, type Fetched, type UseBalance, type UseLocal, type UseMode } from "./state.js";
export * from "./elements.js";
