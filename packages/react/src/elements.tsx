import type {
  Command,
  FaucetByok as ByokElement,
  FaucetChat as ChatElement,
  FaucetCommand as CommandElement,
  FaucetCredits as CreditsElement,
  FaucetLocal as LocalElement,
  FaucetMode as ModeElement,
  FaucetUsage as UsageElement,
} from "@modelfaucet/sdk/components";
import type { ChatResult, Faucet, Mode, ProviderKey, Receipt, TopUp } from "@modelfaucet/sdk";
import { createElement, forwardRef, useCallback, useEffect, useRef, type ForwardedRef, type ReactElement, type ReactNode, type Ref } from "react";
import { useFaucetIfAny } from "./provider.js";

type Listener<Detail> = (event: CustomEvent<Detail>) => void;

interface Common<Element> {
  /** By default the one of the nearest provider. */
  faucet?: Faucet;
  lang?: string;
  theme?: "light" | "dark";
  id?: string;
  className?: string;
  slot?: string;
  children?: ReactNode;
  ref?: Ref<Element>;
  onError?: Listener<{ error: unknown; code: string }>;
}

/** Attributes and properties whose names differ from those of the React property. */
const ATTRIBUTES: Record<string, string> = {
  appName: "app-name",
  className: "class",
  featureKey: "feature",
  htmlFor: "for",
  lookForBridge: "look-for-bridge",
  noAuto: "no-auto",
  noChart: "no-chart",
  noEndpoints: "no-endpoints",
  noMode: "no-mode",
  noPrice: "no-price",
  noTrigger: "no-trigger",
  returnUrl: "return-url",
};

/** Make a component of an element: `properties` are set by name, `on…` are its events, everything else attributes. */
function wrap<Element extends HTMLElement, Props extends object>(tag: string, properties: readonly string[] = []) {
  function Wrapped({ children, faucet, ...rest }: Omit<Common<Element>, "ref">, ref: ForwardedRef<Element>): ReactElement {
    const props = rest as Record<string, unknown>;
    const around = useFaucetIfAny();
    const given = faucet ?? around;
    if (given === null) throw new Error(`<${tag}> needs \`faucet\`, or a FaucetProvider around it.`);
    const own = useRef<Element | null>(null);
    const latest = useRef(props);
    latest.current = props;
    useEffect(() => {
      void import("@modelfaucet/sdk/components"); // in the browser only, and apart from the page's first script
    }, []);
    useEffect(() => {
      if (own.current) Object.assign(own.current, { faucet: given });
    }, [given]);
    useEffect(
      () => {
        const set = properties.filter((name) => latest.current[name] !== undefined);
        for (const name of set) Object.assign(own.current ?? {}, { [name]: latest.current[name] });
      },
      properties.map((name) => props[name]),
    );
    useEvents(own, latest, Object.keys(props).filter(isEvent).sort().join());
    const attach = useCallback((element: Element | null) => both(own, ref, element), [ref]);
    return createElement(tag, { ...attributesOf(props, properties), ref: attach }, children);
  }
  Wrapped.displayName = tag;
  // In React 18 a ref reaches a function component only so.
  return forwardRef(Wrapped as never) as unknown as (props: Common<Element> & Props) => ReactElement;
}

/** Listen to the events of these props, each with the listener of the latest rendering. */
function useEvents(own: { current: HTMLElement | null }, latest: { current: Record<string, unknown> }, names: string): void {
  useEffect(() => {
    const element = own.current;
    const stops = names.split(",").filter(Boolean).map((name) => {
      const listener = (event: Event): void => (latest.current[name] as ((event: Event) => void) | undefined)?.(event);
      element?.addEventListener(eventOf(name), listener);
      return () => element?.removeEventListener(eventOf(name), listener);
    });
    return () => stops.forEach((stop) => stop());
  }, [own, latest, names]);
}

function isEvent(name: string): boolean {
  return /^on[A-Z]/.test(name);
}

/** Return the element's event: `onTopUp` is `faucet-top-up`. */
function eventOf(name: string): string {
  return `faucet${name.slice(2).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function attributesOf(props: Record<string, unknown>, properties: readonly string[]): Record<string, unknown> {
  const attributes: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(props)) {
    if (isEvent(name) || properties.includes(name) || value === false || value === undefined || value === null) continue;
    const text = name === "suggestions" && Array.isArray(value) ? value.join("|") : value;
    attributes[ATTRIBUTES[name] ?? name] = text === true ? "" : text;
  }
  return attributes;
}

function both<Element>(own: { current: Element | null }, ref: Ref<Element> | undefined, element: Element | null): void {
  own.current = element;
  if (typeof ref === "function") ref(element);
  else if (ref) (ref as { current: Element | null }).current = element;
}

type Answered = Pick<ChatResult, "text" | "price_usd" | "request_id" | "route_mode">;

export interface FaucetChatProps {
  featureKey?: string;
  model?: string;
  system?: string;
  heading?: string;
  placeholder?: string;
  greeting?: string;
  suggestions?: string[];
  /** Take the height of what is around it. */
  fill?: boolean;
  noPrice?: boolean;
  noMode?: boolean;
  onMessage?: Listener<{ role: "user"; text: string }>;
  onAnswer?: Listener<Answered & Pick<ChatResult, "usage" | "finish_reason">>;
  /** `preventDefault()` keeps the element from offering credit itself. */
  onTopUp?: Listener<{ request_id: string | null }>;
}
export interface FaucetCommandProps {
  featureKey?: string;
  label?: string;
  htmlFor?: string;
  text?: string;
  field?: string;
  commands?: Command[];
  shortcut?: string;
  instructions?: "off";
  noTrigger?: boolean;
  onOpen?: Listener<{ text: string }>;
  onClose?: Listener<object>;
  onResult?: Listener<Answered & { command: Command }>;
  /** `preventDefault()` leaves the insertion to you. */
  onInsert?: Listener<{ text: string; how: "replace" | "append" }>;
}
export interface FaucetByokProps {
  heading?: string;
  onKeyAdded?: Listener<{ key: ProviderKey }>;
  onKeyRemoved?: Listener<{ id: string }>;
}
export interface FaucetLocalProps {
  heading?: string;
  appName?: string;
  noEndpoints?: boolean;
  onBridge?: Listener<{ state: string; version: string | null; models: string[] }>;
}
export interface FaucetCreditsProps {
  heading?: string;
  compact?: boolean;
  returnUrl?: string;
  target?: "_self" | "_blank";
  /** `preventDefault()` leaves it to you to send the payer there. */
  onCheckout?: Listener<{ url: string | null; top_up: TopUp }>;
  onToppedUp?: Listener<{ top_up: TopUp }>;
}
export interface FaucetUsageProps {
  heading?: string;
  limit?: number;
  noChart?: boolean;
  onReceipt?: Listener<{ request_id: string; receipt: Receipt | null }>;
}
export interface FaucetModeProps {
  heading?: string;
  noAuto?: boolean;
  lookForBridge?: boolean;
  /** `preventDefault()` keeps the mode as it was. */
  onMode?: Listener<{ mode: Mode }>;
}

export const FaucetChat = wrap<ChatElement, FaucetChatProps>("faucet-chat");
export const FaucetCommand = wrap<CommandElement, FaucetCommandProps>("faucet-command", ["commands"]);
export const FaucetByok = wrap<ByokElement, FaucetByokProps>("faucet-byok");
export const FaucetLocal = wrap<LocalElement, FaucetLocalProps>("faucet-local");
export const FaucetCredits = wrap<CreditsElement, FaucetCreditsProps>("faucet-credits");
export const FaucetUsage = wrap<UsageElement, FaucetUsageProps>("faucet-usage");
export const FaucetMode = wrap<ModeElement, FaucetModeProps>("faucet-mode");
