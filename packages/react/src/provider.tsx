import { createFaucet, type Faucet, type FaucetOptions } from "@modelfaucet/sdk";
import { createContext, useContext, useState, type ReactElement, type ReactNode } from "react";

const Given = createContext<Faucet | null>(null);

export interface FaucetProviderProps {
  /** A faucet of your own, … */
  faucet?: Faucet;
  /** … or what to make one of. It is read once: give the provider another `key` to begin again. */
  options?: FaucetOptions;
  children?: ReactNode;
}

/** Give a faucet to every hook and component beneath. */
export function FaucetProvider({ faucet, options, children }: FaucetProviderProps): ReactElement {
  const [made] = useState(() => (faucet ? null : options ? createFaucet(options) : null));
  const value = faucet ?? made;
  if (value === null) throw new Error("FaucetProvider needs `faucet` or `options`.");
  return <Given.Provider value={value}>{children}</Given.Provider>;
}

/** Return the faucet of the nearest provider, or null. */
export function useFaucetIfAny(): Faucet | null {
  return useContext(Given);
}

/** Return the faucet of the nearest provider. */
export function useFaucet(): Faucet {
  const faucet = useFaucetIfAny();
  if (faucet === null) throw new Error("There is no FaucetProvider around this component.");
  return faucet;
}
