/** The faucet of an element that was given none: made of its attributes, and shared by those with the same ones. */

import { createFaucet } from "../index.js";
import type { Faucet, FaucetOptions } from "../types.js";

/** The attributes that say which faucet an element works with. */
export const CLIENT = ["base-url", "public-app-id", "feature", "user-token-url", "bridge-url"] as const;

const made = new Map<string, Faucet>();

/** Return the faucet for these attributes, or null while they are not enough to make one. */
export function faucetOf(element: Element, language: string): Faucet | null {
  const read = (name: string): string | undefined => element.getAttribute(name) || undefined;
  const [baseUrl, publicAppId, featureKey, url, bridgeUrl] = CLIENT.map(read);
  if (!baseUrl || !publicAppId) return null;
  const key = JSON.stringify([baseUrl, publicAppId, featureKey, url, bridgeUrl, language]);
  let faucet = made.get(key);
  if (faucet === undefined) {
    const options: FaucetOptions = { baseUrl, publicAppId, locale: language };
    if (featureKey) options.featureKey = featureKey;
    if (bridgeUrl) options.bridgeUrl = bridgeUrl;
    if (url) options.userToken = () => userToken(url);
    faucet = createFaucet(options);
    made.set(key, faucet);
  }
  return faucet;
}

/** Fetch a user token from the app's own backend: as text, or as JSON with `user_token` or `token`. */
async function userToken(url: string): Promise<string> {
  const answer = await fetch(url, { credentials: "same-origin", headers: { accept: "application/json, text/plain" } });
  const text = (await answer.text()).trim();
  if (!answer.ok) {
    throw Object.assign(new Error(`${url} answered with status ${answer.status}.`), { status: answer.status, code: "user_token" });
  }
  if (!text.startsWith("{")) return text;
  const content = JSON.parse(text) as { user_token?: unknown; token?: unknown };
  return String(content.user_token ?? content.token ?? "");
}
