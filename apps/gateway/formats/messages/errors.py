"""Refusals in Anthropic's envelope."""

from typing import Any

from apps.core.errors import FaucetError

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def envelope(error: FaucetError, request_id: str | None) -> dict[str, Any]:
    """Return the JSON body of a refusal: Anthropic's members, and what our own envelope says beside them."""
    kind = _TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")
    body: dict[str, Any] = {"type": kind, "message": error.message, "code": error.code}
    if error.param is not None:
        body["param"] = error.param
    if error.details:
        # Beside Anthropic's own `details`, whose members its client knows.
        body["faucet"] = error.details
    return {"type": "error", "error": body, "request_id": request_id}
