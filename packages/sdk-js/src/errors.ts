/**
 * FaucetError
 * ├── BadRequestError 400, 405, 409, 413, 415   the request must change
 * ├── AuthenticationError 401                   the session or its proof is not valid
 * ├── InsufficientFundsError 402                nothing was spent; offer a top-up, or a key of one's own
 * ├── PermissionError_ 403
 * ├── NotFoundError 404
 * ├── RateLimitedError 429                      `retryAfter` says when
 * ├── UnavailableError 5xx                      nothing was charged
 * ├── ConnectionError_                          the gateway was not reached, or the answer broke off
 * └── BridgeError                               the local bridge; nothing was sent anywhere else
 *
 * No error holds a prompt, an answer or a token, nor a `cause` that might.
 */
export interface ErrorFields {
  status?: number;
  code?: string;
  type?: string;
  param?: string | null;
  requestId?: string | null;
  retryAfter?: number | null;
  details?: Record<string, unknown> | null;
}

export class FaucetError extends Error {
  /** The HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** Stable; the API's reference lists them. */
  readonly code: string;
  readonly type: string;
  readonly param: string | null;
  readonly requestId: string | null;
  /** Seconds, where waiting helps. */
  readonly retryAfter: number | null;
  readonly details: Record<string, unknown> | null;

  constructor(message: string, fields: ErrorFields = {}) {
    super(message);
    this.name = new.target.title;
    this.status = fields.status ?? 0;
    this.code = fields.code ?? "error";
    this.type = fields.type ?? "api_error";
    this.param = fields.param ?? null;
    this.requestId = fields.requestId ?? null;
    this.retryAfter = fields.retryAfter ?? null;
    this.details = fields.details ?? null;
  }
  /** The name: a minifier shortens those of classes. */
  protected static title = "FaucetError";
}
export class BadRequestError extends FaucetError {
  protected static override title = "BadRequestError";
}
export class AuthenticationError extends FaucetError {
  protected static override title = "AuthenticationError";
}
export class InsufficientFundsError extends FaucetError {
  protected static override title = "InsufficientFundsError";
}
export class PermissionError_ extends FaucetError {
  protected static override title = "PermissionError";
}
export class NotFoundError extends FaucetError {
  protected static override title = "NotFoundError";
}
export class RateLimitedError extends FaucetError {
  protected static override title = "RateLimitedError";
}
export class UnavailableError extends FaucetError {
  protected static override title = "UnavailableError";
}
export class ConnectionError_ extends FaucetError {
  protected static override title = "ConnectionError";
}
export class BridgeError extends FaucetError {
  protected static override title = "BridgeError";
}

const CLASSES: Record<number, typeof FaucetError> = {
  401: AuthenticationError,
  402: InsufficientFundsError,
  403: PermissionError_,
  404: NotFoundError,
  429: RateLimitedError,
};

/** Returns the error of an answer with this status and body. `secrets` are texts that no message may repeat. */
export function errorOf(
  status: number,
  body: unknown,
  headers: Headers | null,
  secrets: string[],
  Class?: typeof FaucetError,
): FaucetError {
  const found = (body as { error?: unknown } | null)?.error;
  const given = (typeof found === "object" && found ? found : {}) as Record<string, unknown>;
  const text = (name: string): string | undefined => (typeof given[name] === "string" ? given[name] : undefined);
  const Kind = Class ?? CLASSES[status] ?? (status < 500 ? BadRequestError : UnavailableError);
  const wait = Number.parseFloat(headers?.get("retry-after") ?? "");
  return new Kind(scrub(text("message") ?? `The server answered with status ${status}.`, secrets), {
    status,
    code: text("code") ?? `http_${status}`,
    type: text("type"),
    param: text("param"),
    requestId: text("request_id") ?? headers?.get("x-request-id"),
    retryAfter: Number.isFinite(wait) ? wait : null,
    details: (given["details"] as Record<string, unknown> | undefined) ?? null,
  });
}

/** As many characters of what people wrote, in a row, are a quotation. */
const QUOTE = 16;

/** Providers quote what they refuse, and so might a proxy: returns a message without that, and without tokens. */
export function scrub(message: string, secrets: string[]): string {
  const text = message.slice(0, 1000).replace(/\b(mf_[a-z]+_|sk-|eyJ)[\w.-]+/g, "[…]");
  const quotes = (secret: string): boolean => {
    if (secret.length <= QUOTE) return secret.length > 3 && text.includes(secret);
    for (let i = 0; i + QUOTE <= text.length; i++) if (secret.includes(text.slice(i, i + QUOTE))) return true;
    return false;
  };
  return secrets.some(quotes) ? "The request was refused; what was said of it quotes it." : text;
}
