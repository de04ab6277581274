"""What can go wrong, each a class.

FaucetError
├── BadRequestError          400, 413, 415, 422: change the request
├── AuthenticationError      401: the token, secret or user token does not hold
├── InsufficientFundsError   402: nothing was spent
├── PermissionDeniedError    403
├── NotFoundError            404, 405
├── ConflictError            409
├── RateLimitedError         429, with `retry_after`
├── UnavailableError         5xx: the gateway or every provider failed; nothing was charged
└── ConnectionFailedError    no answer, or one that broke off
    ├── TimedOutError        it took longer than the timeout
    └── BridgeError          the bridge to local models is not there
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_SECRET = re.compile(r"\bmf_[a-z]+_[\w-]+|\beyJ[\w-]+\.[\w-]+\.[\w-]*|\bsk-[\w-]{8,}")
_LONGEST = 500


class FaucetError(Exception):
    """Base of every failure.

    `code` is stable and listed in the gateway's error reference; `message` is for people. `status` is the HTTP status,
    None where there was no answer. `retry_after` is in seconds. Nothing here holds a secret or a prompt.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = without_secrets(message)
        super().__init__(self.message)
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.details = dict(details or {})

    def __str__(self) -> str:
        known = [str(each) for each in (self.status, self.code, self.request_id) if each is not None]
        return f"{self.message} ({', '.join(known)})" if known else self.message


class BadRequestError(FaucetError):
    """The request cannot be acted on; `param` says what is wrong."""


class AuthenticationError(FaucetError):
    """The token, secret or user token does not hold."""


class InsufficientFundsError(FaucetError):
    """The wallet, key or budget does not cover the call. Nothing was spent."""


class PermissionDeniedError(FaucetError):
    """The caller may not do this."""


class NotFoundError(FaucetError):
    """There is no such thing, or it is somebody else's."""


class ConflictError(FaucetError):
    """It contradicts the present state."""


class RateLimitedError(FaucetError):
    """A limit is reached; try again after `retry_after` seconds."""


class UnavailableError(FaucetError):
    """The gateway or every provider failed. Nothing was charged."""


class ConnectionFailedError(FaucetError):
    """There was no answer, or it broke off."""


class TimedOutError(ConnectionFailedError):
    """The answer took longer than the timeout."""


class BridgeError(ConnectionFailedError):
    """The bridge to local models is not there. Nothing went anywhere else."""


_BY_STATUS: dict[int, type[FaucetError]] = {
    401: AuthenticationError,
    402: InsufficientFundsError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
}
_BY_TYPE: dict[str, type[FaucetError]] = {
    "invalid_request_error": BadRequestError,
    "authentication_error": AuthenticationError,
    "insufficient_quota": InsufficientFundsError,
    "permission_error": PermissionDeniedError,
    "conflict_error": ConflictError,
    "rate_limit_error": RateLimitedError,
}


def without_secrets(text: str) -> str:
    """Return `text` with tokens, keys and JWTs blotted out, in case something on the way repeats them."""
    return _SECRET.sub("•••", text)


def error_of_answer(status: int, headers: Mapping[str, str], body: bytes) -> FaucetError:
    """Return the error that an answer of 300 or more stands for, whoever on the way wrote it."""
    kind = _BY_STATUS.get(status) or (BadRequestError if 400 <= status < 500 else UnavailableError)
    envelope = _envelope(body)
    given = _members(envelope)
    given["request_id"] = given["request_id"] or headers.get("x-request-id")
    message = envelope.get("message")
    if not isinstance(message, str):
        message = f"The answer was {status}."
    return kind(message[:_LONGEST], status=status, retry_after=read_retry_after(headers), **given)


def error_of_event(data: str) -> FaucetError | None:
    """Return the error that the event of a stream tells, or None where it tells none."""
    envelope = _envelope(data.encode())
    if not envelope:
        return None
    kind = _BY_TYPE.get(str(envelope.get("type")), UnavailableError)
    return kind(str(envelope.get("message") or "The stream ended with an error.")[:_LONGEST], **_members(envelope))


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After; a date, which the gateway never sends, counts as none."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 10**6 else None


def _envelope(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = content.get("error") if isinstance(content, dict) else None
    return error if isinstance(error, dict) else {}


def _members(envelope: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: envelope.get(name) for name in ("code", "type", "param", "request_id")}
    details = envelope.get("details")
    known: dict[str, Any] = {name: text if isinstance(text, str) else None for name, text in texts.items()}
    return {**known, "details": details if isinstance(details, dict) else None}
