"""What other rooms may read of credit. Amounts are nano-USD.

What was spent since lots were last drawn is taken off as the next drawing will: what is shown is what there is now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from apps.billing.models import CreditLot, LotDraw, LotKind
from apps.billing.services.lots import Part, consume, in_order, parts_of
from apps.ledger.queries import Balance, balance


@dataclass(frozen=True, slots=True)
class Credit:
    """What a wallet has of one kind that expires at one time."""

    kind: str
    remaining: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class LotInfo:
    """A lot of credit; `reference` says what brought it, such as a top-up's id."""

    id: str
    kind: str
    amount: int
    remaining: int
    expires_at: datetime | None
    reference: str
    created_at: datetime
    closed_at: datetime | None
    draws: tuple["DrawInfo", ...]


@dataclass(frozen=True, slots=True)
class DrawInfo:
    """What was taken from a lot; negative: what came back to it."""

    kind: str
    amount: int
    created_at: datetime


# The latest draws that a lot is shown with.
DRAWS = 20
_END = datetime.max.replace(tzinfo=UTC)


def credits_of(account_id: int) -> tuple[Credit, ...]:
    """Return what a wallet's money consists of, in the order in which it is consumed."""
    merged: dict[tuple[str, datetime | None], int] = {}
    for part in _now(account_id, balance(account_id)):
        key = part.kind, part.expires_at
        merged[key] = merged.get(key, 0) + part.remaining
    return tuple(Credit(kind, remaining, expires) for (kind, expires), remaining in merged.items())


def unused_paid(account_id: int, top_up_id: str) -> int:
    """Return what is left of a top-up, in nano-USD, once all that was spent and that open holds keep is taken off.

    Binding only under the lock of the wallet. Raises NotFound (account_not_found).
    """
    return unused_top_ups(account_id, balance(account_id)).get(top_up_id, 0)


def unused_top_ups(account_id: int, funds: Balance) -> dict[str, int]:
    """Return what `unused_paid` does for each top-up of a wallet of which something may be left."""
    parts = _now(account_id, funds)
    left = {part.lot_id: part.remaining for part in parts}
    for lot_id, amount in list(consume(parts, funds.held)):
        left[lot_id] -= amount
    lots = CreditLot.objects.filter(account_id=account_id, kind=LotKind.PAID, closed_at=None)
    unused: dict[str, int] = {}
    for lot_id, top_up_id in lots.values_list("id", "reference"):
        unused[top_up_id] = unused.get(top_up_id, 0) + left.get(lot_id, 0)
    return unused


def lots_of(account_id: int, *, before: str | None = None, limit: int) -> tuple[LotInfo, ...]:
    """Return at most `limit` lots of a wallet with their latest draws, newest first, older than `before`."""
    rows = CreditLot.objects.filter(account_id=account_id).order_by("-id")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return _shown(account_id, list(rows[:limit]))


def lot_of(account_id: int, lot_id: str) -> LotInfo | None:
    """Return one lot of a wallet."""
    found = _shown(account_id, list(CreditLot.objects.filter(account_id=account_id, pk=lot_id)))
    return found[0] if found else None


def _now(account_id: int, funds: Balance) -> list[Part]:
    """Return the lots as drawing them now would leave them, in order of consumption."""
    parts = in_order(parts_of(account_id))
    total, target = sum(part.remaining for part in parts), max(funds.posted, 0)
    if total < target:
        parts = in_order([*parts, Part("", LotKind.OTHER, target - total, None, _END)])
    taken = dict(consume(parts, total - target))
    left = (
        Part(part.lot_id, part.kind, part.remaining - taken.get(part.lot_id, 0), part.expires_at, part.created_at)
        for part in parts
    )
    return [part for part in left if part.remaining > 0]


def _shown(account_id: int, lots: Sequence[CreditLot]) -> tuple[LotInfo, ...]:
    remaining = {part.lot_id: part.remaining for part in _now(account_id, balance(account_id))}
    draws = _draws(lots)
    return tuple(
        LotInfo(
            id=lot.id,
            kind=lot.kind,
            amount=lot.amount_nano,
            remaining=remaining.get(lot.id, 0),
            expires_at=lot.expires_at,
            reference=lot.reference,
            created_at=lot.created_at,
            closed_at=lot.closed_at,
            draws=draws.get(lot.id, ()),
        )
        for lot in lots
    )


def _draws(lots: Sequence[CreditLot]) -> dict[str, tuple[DrawInfo, ...]]:
    latest = Window(RowNumber(), partition_by="lot_id", order_by=F("id").desc())
    rows = LotDraw.objects.filter(lot__in=lots).annotate(place=latest).filter(place__lte=DRAWS).order_by("-id")
    found: dict[str, tuple[DrawInfo, ...]] = {}
    for row in rows:
        found[row.lot_id] = (*found.get(row.lot_id, ()), DrawInfo(row.kind, row.amount_nano, row.created_at))
    return found
