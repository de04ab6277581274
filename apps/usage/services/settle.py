"""Settling: store the usage events of calls, then shrink their holds, many calls in one statement each.

Pure: the gateway's group committers run what is built here. The answer waits for SETTLE, which is durable when it
returns; METER comes after, and what is lost of it is done by rating (docs/decisions/0012-settling-in-two-steps.md).
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import msgspec

SETTLE = "SELECT request_id, outcome FROM usage_settle(%s::json, %s::json)"
# Takes the ids of calls whose events are stored; again changes nothing.
METER = "SELECT usage_meter(%s::text[])"
# The last part of METER alone: what calls that are over had reserved of budgets.
CLOSE_USES = "SELECT usage_close_uses(%s::text[])"
RECORDED = "recorded"
ABANDONED = "abandoned"


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One usage event as the gateway writes it; the columns are explained on `UsageEvent`."""

    request_id: str
    app_id: str
    developer_id: str
    end_user_id: str | None
    feature_key: str
    principal_id: str
    account_id: int
    endpoint: str
    stream: bool
    route_mode: str
    provider: str
    credential_id: str
    requested_model: str
    served_model: str
    outcome: str
    charged: bool
    finish_reason: str | None
    error_code: str | None
    status: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    estimated: bool
    output_cap: int | None
    price_version_id: str | None
    terms_id: int
    infra_nano: int
    payment_bps: int
    price_nano: int
    cost_nano: int
    attempts: list[dict[str, Any]]
    started_at: float  # POSIX time
    first_byte_ms: int | None
    duration_ms: int
    effective_at: float  # POSIX time
    provider_bill_nano: int = 0
    policy: str | None = None
    task_class: str | None = None
    routing: dict[str, Any] | None = None
    degraded: bool = False
    cache: str | None = None
    cache_price_bps: int | None = None
    redactions: int = 0
    prompt_hash: str | None = None
    manifest_id: str | None = None


class Known(TypedDict):
    """What of a usage event is known before the call, under the names that `UsageRecord` has for it."""

    app_id: str
    developer_id: str
    end_user_id: str | None
    feature_key: str
    principal_id: str
    endpoint: str
    stream: bool
    route_mode: str
    provider: str
    credential_id: str
    requested_model: str
    served_model: str
    price_version_id: str | None
    terms_id: int
    infra_nano: int
    payment_bps: int
    started_at: float  # POSIX time


class HoldMemo(Known):
    """What a hold tells whoever finds it alone: what is known, and the most tokens that the call may use."""

    prompt_tokens: int
    output_tokens: int


KNOWN = tuple(Known.__annotations__)


class Replayable(msgspec.Struct, frozen=True, kw_only=True):
    """The answer kept for an Idempotency-Key; `body` is ciphertext, empty where it was too long to keep."""

    request_id: str
    status: int
    headers: dict[str, str]
    body: str


class Settlement(msgspec.Struct, frozen=True):
    """What settles one call: its event and, where it came with an Idempotency-Key, its answer."""

    record: UsageRecord
    replayable: Replayable | None = None


def settle_parameters(settlements: Sequence[Settlement]) -> tuple[str, str | None]:
    """Return the parameters of `SETTLE` for a batch."""
    encode = msgspec.json.encode
    kept = [s.replayable for s in settlements if s.replayable is not None]
    return encode([s.record for s in settlements]).decode(), encode(kept).decode() if kept else None


def settle_results(settlements: Sequence[Settlement], rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return the outcome of each settlement in order: RECORDED or ABANDONED."""
    outcomes = dict(rows)
    return [outcomes[s.record.request_id] for s in settlements]
