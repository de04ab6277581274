"""Providers' failures: what each means for the next target, and what the client is told when all have failed.

Pure. Nothing of a credential and no prompt is in what the client is told.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from apps.core.errors import BadRequest, FaucetError, ProviderFailed, RateLimited
from apps.gateway.bridges.errors import BridgeError
from apps.gateway.upstream import UpstreamConnectError, UpstreamError, UpstreamTimeout, UpstreamTooLarge

MAX_MESSAGE = 500
MAX_PARAM = 100
_SECONDS = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,6})?")
# A date further ahead than this, in seconds, is none.
_LONGEST_WAIT = 999_999
_RETRY_DELAY = re.compile(r"([0-9]{1,6})(?:\.[0-9]+)?s")
# The provider understood and refuses what the caller wrote: another target would be asked the same.
_CALLERS_FAULT = {400, 413, 422}
_PASSING = {429, 500, 502, 503, 504, 529}
# A limit of our own on calls with one of our keys.
CREDENTIAL_LIMIT = "credential_rate_limited"
UNSUPPORTED = "unsupported_by_provider"
_BAD_KEY = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED"})
_BAD_ACCOUNT = frozenset({"UNAUTHENTICATED", "FAILED_PRECONDITION"})
_NO_CREDIT = frozenset(
    {
        *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"),
        *("insufficient_balance", "Arrearage", "exceeded_current_quota_error"),
        "1113",  # Zhipu's
    }
)
_LOW_CREDIT = "credit balance is too low"


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed. `final`: no other target is tried. `retry_after` in seconds."""

    code: str
    status: int
    message: str = ""
    param: str | None = None
    retry_after: int | None = None
    final: bool = False

    @property
    def retryable(self) -> bool:
        """Tell whether the same target may answer in a moment. What may have been worked on is not asked for twice."""
        return self.status in _PASSING or self.code.startswith("provider_unreachable") or self.code == CREDENTIAL_LIMIT


def failure_of_error(error: UpstreamError) -> Failure:
    """Return what a transport error means."""
    if isinstance(error, BridgeError):
        return Failure(error.code, 0)
    if isinstance(error, UpstreamTimeout):
        return Failure(f"provider_timeout_{error.phase}", 0)
    if isinstance(error, UpstreamConnectError):
        return Failure(f"provider_unreachable_{error.reason}", 0)
    if isinstance(error, UpstreamTooLarge):
        return Failure("provider_answer_too_large", 0)
    return Failure("provider_broke_off", 0)


def failure_of_status(
    status: int, body: bytes, headers: Mapping[bytes, bytes], secrets: Sequence[str], *, now: float
) -> Failure:
    """Return what an error answer means; `secrets` are blotted out of the provider's words. `now` is POSIX time."""
    error = _read_error(body)
    wait = _retry_after(headers, now)
    if wait is None:
        wait = _retry_delay(error)
    if status in _CALLERS_FAULT or (status == 403 and _is_moderated(error)):
        if _is_bad_key(error):
            return Failure("provider_auth_failed", status)
        if _is_out_of_credit(error):
            return Failure("provider_out_of_credit", status)
        message, param = _words(error, secrets)
        return Failure("provider_rejected_request", status, message, param, final=True)
    if status == 402 or (status in (401, 403, 429) and _is_out_of_credit(error)):
        return Failure("provider_out_of_credit", status)
    if status in (401, 403):
        return Failure("provider_auth_failed", status)
    if status == 404:
        return Failure("provider_model_not_found", status)
    if status == 429:
        return Failure("provider_rate_limited", status, retry_after=wait)
    return Failure("provider_error", status, retry_after=wait)


def _read_error(body: bytes) -> dict[str, Any]:
    """Return the error object of OpenAI's, Anthropic's or Google's envelope, empty where there is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(answer, list) and answer:
        answer = answer[0]  # Google's, to a call that was to be streamed
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _words(error: dict[str, Any], secrets: Sequence[str]) -> tuple[str, str | None]:
    message, param = error.get("message"), error.get("param")
    text = message if isinstance(message, str) else ""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return _encodable(text)[:MAX_MESSAGE], _encodable(param)[:MAX_PARAM] if isinstance(param, str) else None


def _is_bad_key(error: dict[str, Any]) -> bool:
    """Tell whether a 400 is about our key or account: Google's way to say so, and xAI's."""
    if any(_named(detail, "reason", _BAD_KEY) for detail in _details(error)) or _named(error, "status", _BAD_ACCOUNT):
        return True
    message = error.get("message")
    return isinstance(message, str) and message.startswith("Incorrect API key")


def _is_out_of_credit(error: dict[str, Any]) -> bool:
    """Tell whether our account at the provider has run dry: no fault of the caller's, and it does not pass soon."""
    if _named(error, "code", _NO_CREDIT) or _named(error, "type", _NO_CREDIT):
        return True
    # Anthropic gives it no type of its own.
    message = error.get("message")
    return error.get("type") == "invalid_request_error" and isinstance(message, str) and _LOW_CREDIT in message.lower()


def _is_moderated(error: dict[str, Any]) -> bool:
    """Tell whether a 403 is about what the caller wrote: OpenRouter's way to say so."""
    metadata = error.get("metadata")
    return isinstance(metadata, dict) and isinstance(metadata.get("reasons"), list)


def _named(holder: dict[str, Any], name: str, names: frozenset[str]) -> bool:
    value = holder.get(name)
    return isinstance(value, str) and value in names


def _retry_after(headers: Mapping[bytes, bytes], now: float) -> int | None:
    """Return Retry-After in whole seconds, rounded up; RFC 9110 also allows a date, which counts from the answer's."""
    said = headers.get(b"retry-after")
    if said is None:
        return None
    if told := _SECONDS.fullmatch(said):
        return math.ceil(float(told[0]))
    until = _http_date(said)
    if until is None:
        return None
    made = _http_date(headers.get(b"date", b""))
    wait = max(math.ceil(until - (now if made is None else made)), 0)
    return wait if wait <= _LONGEST_WAIT else None


def _http_date(value: bytes) -> float | None:
    """Return an HTTP date as POSIX time, None where it is none."""
    try:
        read = parsedate_to_datetime(value.decode("latin-1"))
        return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _retry_delay(error: dict[str, Any]) -> int | None:
    """Return Google's retryDelay in whole seconds, rounded up."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and (found := _RETRY_DELAY.fullmatch(delay)):
            return int(found[1]) + ("." in delay)
    return None


def _details(error: dict[str, Any]) -> list[dict[str, Any]]:
    details = error.get("details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _encodable(text: str) -> str:
    # Half a surrogate pair is JSON, but not UTF-8.
    return text.encode(errors="replace").decode()


def client_error(failures: Sequence[Failure], attempts: Sequence[dict[str, Any]]) -> FaucetError:
    """Return what the client is told when no target answered: the class of the providers' error is kept."""
    last = failures[-1]
    if last.final:
        words = f": {last.message}" if last.message else "."
        return BadRequest(f"The provider rejected the request{words}", code=last.code, param=last.param)
    if all(failure.code == UNSUPPORTED for failure in failures):
        return BadRequest(last.message, code=last.code, param=last.param)
    details = {"attempts": [{key: a[key] for key in ("provider", "code", "status")} for a in attempts]}
    waits = [failure.retry_after for failure in failures if failure.retry_after is not None]
    wait = min(waits) if waits else None
    if all(failure.code in ("provider_rate_limited", CREDENTIAL_LIMIT) for failure in failures):
        return RateLimited(
            "Every provider of this model is at its rate limit.",
            code="provider_rate_limited",
            retry_after=5 if wait is None else wait,
            details=details,
        )
    code = last.code if len({failure.code for failure in failures}) == 1 else "all_providers_failed"
    return ProviderFailed(
        "No provider could answer; nothing was charged.", code=code, retry_after=wait, details=details
    )
