"""What other rooms may read of the ledger. Amounts are nano-USD."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from apps.core.errors import NotFound
from apps.ledger.models import AccountKind, LedgerAccount, LedgerEntry, LedgerTransaction, Wallet

# The largest page of a statement.
PAGE = 200


@dataclass(frozen=True, slots=True)
class Balance:
    """A wallet in nano-USD; `available` is what a new hold may take, and may be negative."""

    posted: int
    held: int
    overdraft: int
    frozen: bool

    @property
    def available(self) -> int:
        return self.posted - self.held + self.overdraft


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a statement: the amount in nano-USD (credit +, debit −) and the transaction it belongs to."""

    id: int
    transaction_id: int
    kind: str
    amount: int
    idempotency_key: str
    memo: dict[str, Any]
    effective_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries, newest first; `next_before` is the `before` of the next page, None on the last one."""

    entries: tuple[Entry, ...]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class KindTotals:
    """What one kind of transaction did to an account, in nano-USD: credits that matured and that have not, debits."""

    kind: str
    matured: int
    immature: int
    debits: int


@dataclass(frozen=True, slots=True)
class Maturity:
    """How much of an account's balance has matured, all of one moment.

    `matured` is the balance less the credits that have not: it counts every debit at once, and may be negative.
    `recent` are the credits that matured lately; `maturing` the dates (UTC) on which how much will mature.
    """

    balance: int
    matured: int
    immature: int
    recent: int
    maturing: tuple[tuple[date, int], ...]
    kinds: tuple[KindTotals, ...]


def account_id(kind: str, owner_id: str) -> int | None:
    """Return the id of an owner's account, or None when it was never opened."""
    return (
        LedgerAccount.objects.filter(kind=AccountKind(kind), owner_id=owner_id, currency="USD")
        .values_list("pk", flat=True)
        .first()
    )


def owner_of(account_id: int) -> tuple[str, str]:
    """Return the kind and the owner id of an account. Raises NotFound."""
    owner = LedgerAccount.objects.filter(pk=account_id).values_list("kind", "owner_id").first()
    if owner is None:
        raise NotFound(f"There is no ledger account {account_id}.", code="account_not_found")
    return owner


def account_ids(kind: str, owner_ids: Collection[str]) -> dict[str, int]:
    """Return the ids of several owners' accounts by owner id; those never opened are left out."""
    rows = LedgerAccount.objects.filter(kind=AccountKind(kind), owner_id__in=owner_ids, currency="USD")
    return dict(rows.values_list("owner_id", "pk"))


def balance(account_id: int) -> Balance:
    """Return an account's balance. Raises NotFound."""
    found = balances([account_id])
    if account_id not in found:
        raise NotFound(f"There is no ledger account {account_id}.", code="account_not_found")
    return found[account_id]


def balances(account_ids: Collection[int]) -> dict[int, Balance]:
    """Return the balances of several accounts by account id; unknown ids are left out."""
    rows = Wallet.objects.filter(pk__in=account_ids).values_list("pk", "posted", "held", "overdraft", "frozen_at")
    return {
        pk: Balance(posted, held, overdraft, frozen_at is not None) for pk, posted, held, overdraft, frozen_at in rows
    }


def owners_in_credit(kind: str) -> dict[str, int]:
    """Return the balance in nano-USD of every account of a kind that is above zero, by owner."""
    rows = Wallet.objects.filter(account__kind=AccountKind(kind), account__currency="USD", posted__gt=0)
    return dict(rows.order_by("account__owner_id").values_list("account__owner_id", "posted"))


# One pass over the account; the balance is of the same snapshot, so that nothing is missing or counted twice.
# A day (UTC) matures as a whole.
_MATURITY = """
SELECT m.kind, m.bucket, CASE WHEN m.bucket = 'immature' THEN m.day END, sum(m.amount)::bigint,
       (SELECT posted FROM wallets WHERE account_id = %(account)s)
FROM (
    SELECT t.kind, e.amount, d.day,
        CASE
            WHEN e.amount < 0 THEN 'debit'
            WHEN t.kind <> ALL (%(kinds)s) THEN 'matured'
            WHEN d.day >= %(cutoff)s THEN 'immature'
            WHEN d.day >= %(recent)s THEN 'recent'
            ELSE 'matured'
        END AS bucket
    FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id
    CROSS JOIN LATERAL (SELECT (t.effective_at AT TIME ZONE 'UTC')::date AS day) d
    WHERE e.account_id = %(account)s
) m
GROUP BY 1, 2, 3
"""


def maturity(account_id: int, *, kinds: Collection[str], cutoff: date, recent_from: date, hold_days: int) -> Maturity:
    """Return what of an account's balance has matured, by a look at every entry: seconds, for a million of them.

    Credits of `kinds` mature by whole days (UTC): those of days before `cutoff` have. Credits of other kinds count at
    once, as all debits do. What matured of the days from `recent_from` on is recent.
    """
    values: dict[str, Any] = {
        "account": account_id,
        "cutoff": cutoff,
        "recent": recent_from,
        "kinds": list(kinds),
    }
    with connection.cursor() as cursor:
        cursor.execute(_MATURITY, values)
        rows: list[tuple[str, str, date | None, int, int]] = cursor.fetchall()
    days: dict[date, int] = {}
    lines: dict[str, dict[str, int]] = {}
    for kind, bucket, day, amount, _ in rows:
        found = lines.setdefault(kind, dict.fromkeys(("matured", "recent", "immature", "debit"), 0))
        found[bucket] += amount
        if day is not None:
            matures = day + timedelta(days=hold_days + 1)
            days[matures] = days.get(matures, 0) + amount
    posted = rows[0][4] if rows else 0
    immature = sum(days.values())
    return Maturity(
        balance=posted,
        matured=posted - immature,
        immature=immature,
        recent=sum(found["recent"] for found in lines.values()),
        maturing=tuple(sorted(days.items())),
        kinds=tuple(
            KindTotals(kind, found["matured"] + found["recent"], found["immature"], found["debit"])
            for kind, found in sorted(lines.items())
        ),
    )


def entries_of(
    account_id: int,
    *,
    before: int | None = None,
    limit: int = 50,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> EntryPage:
    """Return a page of an account's entries, newest first, starting below entry id `before`.

    `begin` and `end` (exclusive) bound when they took effect.
    """
    limit = max(1, min(limit, PAGE))
    rows = LedgerEntry.objects.filter(account_id=account_id).select_related("transaction").order_by("-id")
    if before is not None:
        rows = rows.filter(id__lt=before)
    if begin is not None:
        rows = rows.filter(transaction__effective_at__gte=begin)
    if end is not None:
        rows = rows.filter(transaction__effective_at__lt=end)
    found = [_entry(row) for row in rows[: limit + 1]]
    more = len(found) > limit
    return EntryPage(tuple(found[:limit]), found[limit - 1].id if more else None)


def transaction_id(idempotency_key: str) -> int | None:
    """Return the id of the transaction posted under a key, or None."""
    return LedgerTransaction.objects.filter(idempotency_key=idempotency_key).values_list("pk", flat=True).first()


def _entry(row: LedgerEntry) -> Entry:
    header = row.transaction
    return Entry(
        id=row.pk,
        transaction_id=header.pk,
        kind=header.kind,
        amount=row.amount,
        idempotency_key=header.idempotency_key,
        memo=header.memo,
        effective_at=header.effective_at,
        created_at=header.created_at,
    )
