"""What an operator watches of the ledger: what is owed, what is below zero, which holds are overdue. Nano-USD."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Q
from django.db.models.fields.json import KeyTextTransform

from apps.ledger.models import AccountKind, Hold, LedgerTransaction

COUNTED = 10_000

# All balances sum to zero, so what users own is what all others lack: their accounts, of which there may be millions,
# are not read.
_OWED = """
SELECT a.kind, coalesce(sum(w.posted), 0)::bigint
FROM ledger_accounts a JOIN wallets w ON w.account_id = a.id
WHERE a.kind = ANY (%s) GROUP BY a.kind
"""
_BELOW_ZERO = """
SELECT count(*), coalesce(sum(w.posted), 0)::bigint
FROM wallets w JOIN ledger_accounts a ON a.id = w.account_id
WHERE w.posted < 0 AND a.kind = ANY (%s)
"""
_OVERDUE = """
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM holds WHERE resolved_at IS NULL AND expires_at < %(now)s LIMIT %(most)s) q),
    (SELECT min(expires_at) FROM holds WHERE resolved_at IS NULL AND expires_at < %(now)s)
"""
_CLIENTS = (AccountKind.END_USER, AccountKind.DEVELOPER_CREDIT, AccountKind.APP_ALLOWANCE, AccountKind.DEVELOPER)


@dataclass(frozen=True, slots=True)
class Owed:
    """What we owe, by whose it is: credit of end users and developers, revenue, payouts under way, tax."""

    users: int
    developer_credit: int
    allowances: int
    developers: int
    payouts: int
    tax: int

    @property
    def total(self) -> int:
        return self.users + self.developer_credit + self.allowances + self.developers + self.payouts + self.tax


@dataclass(frozen=True, slots=True)
class BelowZero:
    """Clients' wallets that are below zero: how many, and their sum (negative)."""

    wallets: int
    amount: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """Holds whose lease ran out and that nobody has resolved; a sweeper takes them within seconds."""

    holds: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class HoldInfo:
    """The life of a hold."""

    id: int
    account_id: int
    amount: int
    captured: int
    state: str
    stage: str
    created_at: datetime
    expires_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """A leg of a transaction, and whose account it is on."""

    account_id: int
    kind: str
    kind_name: str
    owner_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class TransactionInfo:
    """A transaction with all its legs; `reverses` is the id of the one it takes back."""

    id: int
    kind: str
    idempotency_key: str
    reverses: int | None
    actor: str
    effective_at: datetime
    created_at: datetime
    entries: tuple[EntryInfo, ...]


def owed() -> Owed:
    """Return what is owed now."""
    others = [kind.value for kind in AccountKind if kind != AccountKind.END_USER]
    with connection.cursor() as cursor:
        cursor.execute(_OWED, [others])
        sums: dict[str, int] = dict(cursor.fetchall())
    return Owed(
        users=-sum(sums.values()),
        developer_credit=sums.get(AccountKind.DEVELOPER_CREDIT, 0),
        allowances=sums.get(AccountKind.APP_ALLOWANCE, 0),
        developers=sums.get(AccountKind.DEVELOPER, 0),
        payouts=sums.get(AccountKind.PAYOUT, 0),
        tax=sums.get(AccountKind.TAX, 0),
    )


def below_zero() -> BelowZero:
    """Return the clients' wallets below zero: one pass over the wallets, whose balances have no index."""
    return BelowZero(*_row(_BELOW_ZERO, [[kind.value for kind in _CLIENTS]]))


def overdue_holds(*, now: datetime) -> Overdue:
    """Return the holds whose lease ran out before `now`, counted to COUNTED."""
    return Overdue(*_row(_OVERDUE, {"now": now, "most": COUNTED}))


def hold_of(request_id: str) -> HoldInfo | None:
    """Return the hold of a request."""
    row = Hold.objects.filter(request_id=request_id).first()
    if row is None:
        return None
    return HoldInfo(
        row.pk,
        row.account_id,
        row.amount,
        row.captured,
        row.get_state_display(),
        row.get_stage_display(),
        row.created_at,
        row.expires_at,
        row.resolved_at,
    )


def transactions_of_request(request_id: str, *, also: int | None = None) -> tuple[TransactionInfo, ...]:
    """Return every transaction that names a request or reverses one that does, and the one whose id is `also`."""
    by_request = LedgerTransaction.objects.alias(of=KeyTextTransform("request_id", "memo")).filter(of=request_id)
    ids = {*by_request.values_list("pk", flat=True)[:50], *(() if also is None else (also,))}
    rows = LedgerTransaction.objects.filter(Q(pk__in=ids) | Q(reverses__in=ids))
    return tuple(_transaction(row) for row in rows.prefetch_related("entries__account").order_by("pk"))


def _transaction(row: LedgerTransaction) -> TransactionInfo:
    return TransactionInfo(
        row.pk,
        row.kind,
        row.idempotency_key,
        row.reverses_id,
        row.actor,
        row.effective_at,
        row.created_at,
        tuple(
            EntryInfo(
                entry.account_id,
                entry.account.kind,
                entry.account.get_kind_display(),
                entry.account.owner_id,
                entry.amount,
            )
            for entry in sorted(row.entries.all(), key=lambda entry: entry.pk)
        ),
    )


def _row(sql: str, values: Any) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        row: tuple[Any, ...] = cursor.fetchone()
    return row
