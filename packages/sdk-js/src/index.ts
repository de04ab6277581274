/** Language models in any app, without an API key in it. `createFaucet` is where everything begins. */
export { createFaucet } from "./faucet.js";
export {
  AuthenticationError,
  BadRequestError,
  BridgeError,
  ConnectionError_,
  FaucetError,
  InsufficientFundsError,
  NotFoundError,
  PermissionError_,
  RateLimitedError,
  UnavailableError,
} from "./errors.js";
/** @internal */
export * as internals from "./internals.js";
export type * from "./types.js";
/** The version of this package. */
export const VERSION = "0.1.0";
