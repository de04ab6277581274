"""Posting: the only way entries come to be.

A batch is one call of `ledger_post_batch`, whatever its size: one round trip that inserts entries and headers,
moves the wallets and captures the holds. Wallets are locked in the order of their accounts and last of all, so
that the busy ones (platform, providers) are kept for the shortest time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction
from psycopg.errors import UniqueViolation

from apps.core.errors import Conflict


@dataclass(frozen=True, slots=True)
class Leg:
    """One entry to be: nano-USD on an account, credit +, debit −."""

    account_id: int
    amount: int


@dataclass(frozen=True, slots=True)
class Posting:
    """One transaction to be. Its legs sum to zero; its key is what makes a replay harmless."""

    idempotency_key: str
    kind: str
    legs: Sequence[Leg]
    effective_at: datetime
    memo: Mapping[str, Any] = field(default_factory=dict)
    reverses: int | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """A hold to settle together with the postings: its request and the price in nano-USD."""

    request_id: str
    price: int


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a posting: `created` is False for a key that was known, `same` tells if its content is too."""

    transaction_id: int
    created: bool
    same: bool


_POST = """
SELECT * FROM ledger_post_batch(
    %s::text[], %s::text[], %s::bigint[], %s::timestamptz[], %s::jsonb[], %s::integer[], %s::bigint[], %s::bigint[],
    %s::text[], %s::bigint[], %s, %s
)
"""


def post_batch(
    postings: Sequence[Posting], captures: Sequence[Capture] = (), *, now: datetime, actor: str
) -> dict[str, int]:
    """Post a batch, capture its holds, and return the transaction ids by idempotency key.

    All or nothing. A key that is known already is not posted again and its transaction is returned; a hold that is
    resolved already, or was never taken, is left as it is. Raises IntegrityError when the database refuses a
    posting (unbalanced, fewer than two legs, a leg of 0, an unknown account) and ValueError when the batch names
    a key twice. Call it once in a database transaction: locks are in order within a call, not across calls.
    """
    return {key: posted.transaction_id for key, posted in execute(postings, captures, now=now, actor=actor).items()}


def post(
    *,
    kind: str,
    legs: Sequence[Leg],
    idempotency_key: str,
    now: datetime,
    actor: str,
    effective_at: datetime | None = None,
    memo: Mapping[str, Any] | None = None,
    reverses: int | None = None,
) -> int:
    """Post one transaction and return its id; the same content under the same key returns the first one's id.

    Content is kind, legs, memo and the transaction it reverses. Raises Conflict (idempotency_key_reused) when the
    key was used with other content, and IntegrityError as `post_batch` does.
    """
    posting = Posting(idempotency_key, kind, legs, effective_at or now, memo or {}, reverses)
    posted = execute([posting], now=now, actor=actor)[idempotency_key]
    if not posted.same:
        raise Conflict(
            f"The idempotency key {idempotency_key} was used with other content.", code="idempotency_key_reused"
        )
    return posted.transaction_id


def execute(
    postings: Sequence[Posting], captures: Sequence[Capture] = (), *, now: datetime, actor: str
) -> dict[str, Posted]:
    """Post and capture as `post_batch` does, and tell of each key whether it was new and the content the same."""
    if not postings and not captures:
        return {}
    keys = [posting.idempotency_key for posting in postings]
    if len(set(keys)) != len(keys):
        raise ValueError("a batch names an idempotency key twice")
    parameters = (*_columns(postings, keys), *_capture_columns(captures), actor, now)
    for _ in keys:
        try:
            return _call(parameters)
        except IntegrityError as error:
            if not _is_key_race(error):
                raise
            # Another process committed one of the keys while we waited for it; now we can see that one.
    return _call(parameters)


def _call(parameters: tuple[Any, ...]) -> dict[str, Posted]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_POST, parameters)
        return {key: Posted(pk, created, same) for key, pk, created, same in cursor.fetchall()}


def _columns(postings: Sequence[Posting], keys: list[str]) -> tuple[list[Any], ...]:
    legs = [(index, leg) for index, posting in enumerate(postings, start=1) for leg in posting.legs]
    return (
        keys,
        [str(posting.kind) for posting in postings],
        [posting.reverses for posting in postings],
        [posting.effective_at for posting in postings],
        [json.dumps(posting.memo) for posting in postings],
        [index for index, _ in legs],
        [leg.account_id for _, leg in legs],
        [leg.amount for _, leg in legs],
    )


def _capture_columns(captures: Sequence[Capture]) -> tuple[list[Any], ...]:
    return [capture.request_id for capture in captures], [capture.price for capture in captures]


def _is_key_race(error: IntegrityError) -> bool:
    cause = error.__cause__
    return isinstance(cause, UniqueViolation) and cause.diag.constraint_name == "ledger_transactions_idempotency_key"
