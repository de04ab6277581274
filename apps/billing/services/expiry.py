"""Expiry: credit whose time is over goes back to where it came from."""

from datetime import datetime

from django.db import transaction

from apps.billing.models import CreditLot, DrawKind
from apps.billing.services.grants import promotions_account
from apps.billing.services.lots import draw, take_expired
from apps.ledger.services.accounts import lock_wallets
from apps.ledger.services.batches import Leg, post


def expire_lots(*, now: datetime, limit: int = 1000) -> int:
    """Take back what is left of at most `limit` lots whose time is over and return from how many something was taken.

    Open holds keep what they need: that rest is taken at a later run, if it is there still.
    """
    lots = CreditLot.objects.filter(closed_at=None, expires_at__lte=now).order_by("expires_at", "id")
    return sum(_expire(lot_id, now=now) for lot_id in list(lots.values_list("id", flat=True)[:limit]))


@transaction.atomic
def _expire(lot_id: str, *, now: datetime) -> bool:
    account_id, origin = CreditLot.objects.values_list("account_id", "origin_account_id").get(pk=lot_id)
    origin = origin or promotions_account(now=now)
    # Both at once: the posting would lock the second one out of order.
    funds = lock_wallets([account_id, origin])[account_id]
    draw(account_id, now=now)
    lot = CreditLot.objects.get(pk=lot_id)
    rest = min(lot.remaining_nano, max(funds.posted - funds.held, 0))
    if rest == 0:
        return False
    parts = lot.draws.filter(kind=DrawKind.EXPIRED).count()
    posted = post(
        kind="expiry",
        legs=(Leg(account_id, -rest), Leg(origin, rest)),
        idempotency_key=f"expiry:{lot_id}" if parts == 0 else f"expiry:{lot_id}:{parts + 1}",
        now=now,
        actor="expiry",
        memo={"lot_id": lot_id},
    )
    take_expired(lot, rest, transaction_id=posted, now=now)
    return True
