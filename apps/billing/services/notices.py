"""Notices: what a wallet's owner is told, once for each thing that happened."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import CharField, Exists, OuterRef
from django.db.models.functions import Cast

from apps.billing.models import CreditLot, LotKind, Notice, NoticeKind
from apps.billing.services.wallet_limits import low_balance_of
from apps.core.money import usd
from apps.ledger.queries import balance

# An allowance expires every month, as all know.
_TOLD = (LotKind.PROMO, LotKind.GRANT)
# How long a notice is shown.
SHOWN = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class NoticeInfo:
    """A notice as told: `data` holds amounts as decimal strings in USD and times in ISO 8601."""

    id: int
    kind: str
    data: dict[str, Any]
    created_at: datetime


def notify(account_id: int, kind: str, *, period_key: str, data: Mapping[str, Any], now: datetime) -> bool:
    """Tell a wallet's owner of something and return whether that is news: once for each kind and `period_key`.

    `data` is JSON: amounts as decimal strings in USD, times in ISO 8601.
    """
    _, is_new = Notice.objects.get_or_create(
        account_id=account_id,
        kind=str(kind),
        period_key=period_key,
        defaults={"data": dict(data), "created_at": now},
    )
    return is_new


def note_low_balance(account_id: int, *, before: int, after: int, now: datetime) -> bool:
    """Tell that spending took a balance below what counts as low, in nano-USD; called as lots are drawn.

    A crossing is one drawing, under the lock of the wallet, so it is told once, and again only when the balance was
    up in between.
    """
    threshold = low_balance_of(account_id)
    if not after < threshold <= before:
        return False
    data = {"balance_usd": usd(after), "threshold_usd": usd(threshold)}
    return notify(account_id, NoticeKind.LOW_BALANCE, period_key=now.isoformat(), data=data, now=now)


def note_expiring(*, now: datetime, limit: int = 1000) -> int:
    """Tell of promotional and granted credit that expires within CREDIT_EXPIRY_NOTICE_DAYS; return of how many lots."""
    told = Notice.objects.filter(
        account_id=OuterRef("account_id"), kind=NoticeKind.CREDIT_EXPIRING, period_key=Cast(OuterRef("pk"), CharField())
    )
    lots = CreditLot.objects.filter(
        ~Exists(told),
        closed_at=None,
        kind__in=_TOLD,
        expires_at__gt=now,
        expires_at__lte=now + timedelta(days=settings.CREDIT_EXPIRY_NOTICE_DAYS),
    ).order_by("expires_at")
    count = 0
    for lot in lots[:limit]:
        assert lot.expires_at is not None
        data = {
            "lot_id": lot.id,
            "kind": lot.kind,
            "remaining_usd": usd(lot.remaining_nano),
            "expires_at": lot.expires_at.isoformat(),
        }
        count += notify(lot.account_id, NoticeKind.CREDIT_EXPIRING, period_key=lot.id, data=data, now=now)
    return count


def notices_of(account_id: int, *, now: datetime, limit: int = 20) -> tuple[NoticeInfo, ...]:
    """Return what a wallet's owner was told of late, newest first: that the balance is low only while it is."""
    rows = Notice.objects.filter(account_id=account_id, created_at__gte=now - SHOWN)
    if balance(account_id).posted >= low_balance_of(account_id):
        rows = rows.exclude(kind=NoticeKind.LOW_BALANCE)
    return tuple(NoticeInfo(row.pk, row.kind, row.data, row.created_at) for row in rows.order_by("-id")[:limit])
