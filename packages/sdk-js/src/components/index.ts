/**
 * Elements for any page: importing this module defines them. They are drawn in shadow roots, take no framework, and may
 * be imported where there is no window.
 */
import { FaucetByok } from "./byok.js";
import { FaucetChat } from "./chat.js";
import { FaucetCommand } from "./command.js";
import { FaucetCredits } from "./credits.js";
import { FaucetLocal } from "./local.js";
import { FaucetMode } from "./mode.js";
import { FaucetUsage } from "./usage.js";

/** Every element by its tag. */
export const ELEMENTS = {
  "faucet-chat": FaucetChat,
  "faucet-command": FaucetCommand,
  "faucet-byok": FaucetByok,
  "faucet-local": FaucetLocal,
  "faucet-credits": FaucetCredits,
  "faucet-usage": FaucetUsage,
  "faucet-mode": FaucetMode,
} as const;

declare global {
  interface HTMLElementTagNameMap {
    "faucet-chat": FaucetChat;
    "faucet-command": FaucetCommand;
    "faucet-byok": FaucetByok;
    "faucet-local": FaucetLocal;
    "faucet-credits": FaucetCredits;
    "faucet-usage": FaucetUsage;
    "faucet-mode": FaucetMode;
  }
}

/** Define the elements that are not defined yet; without a window it does nothing. */
export function defineElements(): void {
  if (globalThis.customElements === undefined) return;
  for (const [tag, element] of Object.entries(ELEMENTS)) {
    if (customElements.get(tag) === undefined) customElements.define(tag, element as CustomElementConstructor);
  }
}

defineElements();

export { FaucetByok, FaucetChat, FaucetCommand, FaucetCredits, FaucetLocal, FaucetMode, FaucetUsage };
export { FaucetElement } from "./element.js";
export { markdown } from "./markdown.js";
export { problemOf, type Problem } from "./problems.js";
export { EN, ZH, type Word } from "./words.js";
export type { Command } from "./command.js";
