"""Lots: what a wallet's money consists of, kept beside the wallet and never in the way of a call.

Calls debit the wallet alone. Its lots follow: `draw` takes from them, in the order stated in docs/reference/credits.md,
until what remains of them is what the wallet has. Whoever changes lots holds the lock of their wallet.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from apps.billing.models import CreditLot, DrawKind, LotDraw, LotKind
from apps.billing.services.notices import note_low_balance
from apps.core.errors import BadRequest
from apps.core.ids import new_id
from apps.core.money import MAX_NANO
from apps.ledger.services.accounts import lock_wallets

_RANK = {kind: rank for rank, kind in enumerate(LotKind.values)}
# What somebody paid for, or what no promotion gave.
PAID_FOR = (LotKind.OTHER, LotKind.PAID)
# What is consumed soonest expiry first; the rest oldest first.
_EXPIRING = {LotKind.ALLOWANCE, LotKind.PROMO, LotKind.GRANT}


@dataclass(frozen=True, slots=True)
class Part:
    """What remains of a lot, in nano-USD, and what decides when it is consumed. Ids sort by time."""

    lot_id: str
    kind: str
    remaining: int
    expires_at: datetime | None
    created_at: datetime


def in_order(parts: Iterable[Part]) -> list[Part]:
    """Return lots in the order in which they are consumed."""
    return sorted(parts, key=_turn)


def consume(parts: Iterable[Part], amount: int) -> Iterator[tuple[str, int]]:
    """Yield (lot id, nano-USD) of what spending `amount` takes of which lot; all there is where that is less."""
    for part in in_order(parts):
        if amount <= 0:
            return
        taken = min(part.remaining, amount)
        amount -= taken
        yield part.lot_id, taken


def _turn(part: Part) -> tuple[int, bool, float, datetime, str]:
    expires = part.expires_at if part.kind in _EXPIRING else None
    return (
        _RANK[part.kind],
        expires is None,
        expires.timestamp() if expires is not None else 0.0,
        part.created_at,
        part.lot_id,
    )


@transaction.atomic
def add_lot(
    account_id: int,
    *,
    kind: str,
    amount: int,
    transaction_id: int,
    expires_at: datetime | None = None,
    origin_account_id: int | None = None,
    reference: str = "",
    lot_id: str | None = None,
    now: datetime,
) -> str:
    """Note that `amount` nano-USD which a posting credited are a lot of their own, and return the lot's id.

    Call it in the transaction of the posting, after it. The same posting again returns the first lot's id. What the
    wallet owed is taken from the lot at once. `origin_account_id` gets what expires, by default the operator's
    promotions. Raises BadRequest (invalid_amount) and NotFound (account_not_found).
    """
    if not 0 < amount <= MAX_NANO:
        raise BadRequest("The amount must be more than 0.", code="invalid_amount", param="amount")
    posted = lock_wallets([account_id])[account_id].posted
    known = CreditLot.objects.filter(transaction_id=transaction_id, account_id=account_id).first()
    if known is not None:
        return known.id
    # What was there before it is brought up to date first, or what was spent of that would be taken from this.
    _follow(account_id, posted - amount, now=now)
    lot = CreditLot(
        id=lot_id or new_id("lot"),
        account_id=account_id,
        kind=LotKind(kind).value,
        amount_nano=amount,
        remaining_nano=amount,
        balance_nano=posted,
        expires_at=expires_at,
        transaction_id=transaction_id,
        origin_account_id=origin_account_id,
        reference=reference,
        created_at=now,
    )
    lot.save(force_insert=True)
    _follow(account_id, posted, now=now)
    return lot.id


@transaction.atomic
def draw(account_id: int, *, now: datetime) -> None:
    """Make the lots of a wallet add up to what it has, or to 0 where it owes.

    What was spent is taken from them in order; where the wallet rose without a lot, one of the kind `other` is added.
    Locks the wallet. Again changes nothing. Raises NotFound (account_not_found).
    """
    _follow(account_id, lock_wallets([account_id])[account_id].posted, now=now)


@transaction.atomic
def take_back(account_id: int, *, reference: str, amount: int, kind: str, transaction_id: int, now: datetime) -> int:
    """Take what a posting debited from the lot it concerns, not from the first in order; return how much that was.

    For a refund or dispute of the top-up that is the lot's `reference`: call it in the transaction of the posting,
    after it, with the amount it debited in nano-USD. What the lot no longer has is taken from the others. The same
    posting again takes nothing. `kind` is refunded or disputed.
    """
    posted = lock_wallets([account_id])[account_id].posted
    if LotDraw.objects.filter(transaction_id=transaction_id, lot__account_id=account_id).exists():
        return 0
    # What was spent before comes off first. What has no lot yet needs none before this took its part.
    _follow(account_id, posted + amount, may_rise=False, now=now)
    lots = CreditLot.objects.filter(account_id=account_id, reference=reference, closed_at=None).order_by("id")
    left = amount
    for lot in lots:
        taken = min(left, lot.remaining_nano)
        if taken:
            _take([(lot, taken)], kind=kind, transaction_id=transaction_id, now=now)
            left -= taken
    _follow(account_id, posted, now=now)
    return amount - left


@transaction.atomic
def take_paid(account_id: int, amount: int, *, transaction_id: int, now: datetime) -> None:
    """Take what a posting debited from what was paid for, though free credit would be spent first.

    Call it in the transaction of the posting, after it, with lots that were drawn before. The same posting again takes
    nothing.
    """
    posted = lock_wallets([account_id])[account_id].posted
    if LotDraw.objects.filter(transaction_id=transaction_id, lot__account_id=account_id).exists():
        return
    lots = {lot.id: lot for lot in CreditLot.objects.filter(account_id=account_id, closed_at=None, kind__in=PAID_FOR)}
    taken = consume(map(_part, lots.values()), amount)
    _take(
        [(lots[lot_id], part) for lot_id, part in taken],
        kind=DrawKind.SPENT,
        transaction_id=transaction_id,
        now=now,
    )
    _follow(account_id, posted, now=now)


@transaction.atomic
def give_back(account_id: int, *, taken_by: int, transaction_id: int, amount: int, now: datetime) -> None:
    """Put what `take_back` took for the posting `taken_by` back into its lots, as `transaction_id` reversed it.

    Call it in the transaction of the reversal, after it, with the amount it credited in nano-USD. What had come from
    other lots becomes one of the kind `other`. The same reversal again gives nothing.
    """
    posted = lock_wallets([account_id])[account_id].posted
    if LotDraw.objects.filter(transaction_id=transaction_id, lot__account_id=account_id).exists():
        return
    taken = LotDraw.objects.filter(transaction_id=taken_by, lot__account_id=account_id).select_related("lot")
    if taken.exists():
        _follow(account_id, posted - amount, now=now)
    for entry in taken.order_by("id"):
        lot = entry.lot
        _take([(lot, -entry.amount_nano)], kind=DrawKind.RESTORED, transaction_id=transaction_id, now=now)
    _follow(account_id, posted, now=now)


def parts_of(account_id: int) -> list[Part]:
    """Return what remained of an account's open lots when they were last drawn."""
    return [_part(lot) for lot in CreditLot.objects.filter(account_id=account_id, closed_at=None)]


def take_expired(lot: CreditLot, amount: int, *, transaction_id: int, now: datetime) -> None:
    """Take what expired from a lot, for `expiry`; the wallet is locked and its lots are drawn."""
    _take([(lot, amount)], kind=DrawKind.EXPIRED, transaction_id=transaction_id, now=now)


def _follow(account_id: int, posted: int, *, may_rise: bool = True, now: datetime) -> None:
    """Make the open lots add up to `posted`, or to 0; at most, unless they `may_rise`. The wallet is locked."""
    lots = {lot.id: lot for lot in CreditLot.objects.filter(account_id=account_id, closed_at=None)}
    target, total = max(posted, 0), sum(lot.remaining_nano for lot in lots.values())
    if total > target:
        taken = consume(map(_part, lots.values()), total - target)
        _take([(lots[lot_id], amount) for lot_id, amount in taken], kind=DrawKind.SPENT, transaction_id=None, now=now)
        note_low_balance(account_id, before=total, after=posted, now=now)
    elif total < target and may_rise:
        CreditLot.objects.create(
            id=new_id("lot"),
            account_id=account_id,
            kind=LotKind.OTHER,
            amount_nano=target - total,
            remaining_nano=target - total,
            balance_nano=posted,
            created_at=now,
        )


def _take(taken: Sequence[tuple[CreditLot, int]], *, kind: str, transaction_id: int | None, now: datetime) -> None:
    for lot, amount in taken:
        lot.remaining_nano -= amount
        lot.closed_at = now if lot.remaining_nano == 0 else None
    CreditLot.objects.bulk_update([lot for lot, _ in taken], ["remaining_nano", "closed_at"])
    LotDraw.objects.bulk_create(
        LotDraw(lot=lot, amount_nano=amount, kind=kind, transaction_id=transaction_id, created_at=now)
        for lot, amount in taken
    )


def _part(lot: CreditLot) -> Part:
    return Part(lot.id, lot.kind, lot.remaining_nano, lot.expires_at, lot.created_at)
