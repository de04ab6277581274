"""Anticipated failures, each a class with a stable code; the doors turn them into OpenAI's envelope.

FaucetError
├── BadRequest 400        invalid_request_error: the caller must change the request
├── Unauthorized 401      authentication_error
├── InsufficientFunds 402 insufficient_quota: nothing was spent
├── Forbidden 403         permission_error
├── NotFound 404          invalid_request_error
├── Conflict 409          conflict_error
├── TooLarge 413          invalid_request_error
├── RateLimited 429       rate_limit_error, with Retry-After
├── ProviderFailed 502    api_error: every target failed; nothing was charged
└── Unavailable 503       api_error, with Retry-After: our own store is out of reach
"""

from typing import Any, ClassVar


class FaucetError(Exception):
    """Base of every anticipated failure.

    `message` is shown to the caller and never holds a secret or a prompt; `code` is stable and documented
    in docs/reference/errors.md; `retry_after` is in seconds.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retry_after = retry_after
        self.details = details

    def envelope(self, request_id: str | None) -> dict[str, Any]:
        """Return the JSON body: OpenAI's error object with our request id (and details, where there are any)."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.type,
            "code": self.code,
            "param": self.param,
            "request_id": request_id,
        }
        if self.details:
            error["details"] = self.details
        return {"error": error}


class BadRequest(FaucetError):
    status, type, default_code = 400, "invalid_request_error", "invalid_request"


class Unauthorized(FaucetError):
    status, type, default_code = 401, "authentication_error", "invalid_token"


class InsufficientFunds(FaucetError):
    status, type, default_code = 402, "insufficient_quota", "insufficient_funds"


class Forbidden(FaucetError):
    status, type, default_code = 403, "permission_error", "forbidden"


class NotFound(FaucetError):
    status, type, default_code = 404, "invalid_request_error", "not_found"


class Conflict(FaucetError):
    status, type, default_code = 409, "conflict_error", "conflict"


class TooLarge(FaucetError):
    status, type, default_code = 413, "invalid_request_error", "request_too_large"


class RateLimited(FaucetError):
    status, type, default_code = 429, "rate_limit_error", "rate_limited"


class ProviderFailed(FaucetError):
    status, type, default_code = 502, "api_error", "all_providers_failed"


class Unavailable(FaucetError):
    status, type, default_code = 503, "api_error", "unavailable"
