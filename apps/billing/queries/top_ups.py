"""What other rooms may read of money that came in: top-ups, their repetition, refunds, saved cards, what is offered."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from apps.billing import stripe_api
from apps.billing.models.top_ups import AutoTopUp, Refund, TopUp
from apps.billing.services.customers import card_of
from apps.billing.services.payments import Card

__all__ = [
    "AutoTopUpInfo",
    "Card",
    "Offer",
    "RefundInfo",
    "TopUpInfo",
    "auto_top_up_of",
    "card_of",
    "offer",
    "refunds_of",
    "top_up",
    "top_ups_of",
]


@dataclass(frozen=True, slots=True)
class TopUpInfo:
    """A top-up as other rooms see it: amounts in cents, `credit` in nano-USD.

    `problem` is for operators; who pays is told that the payment is being looked at.
    """

    id: str
    account_id: int
    owner_kind: str
    owner_id: str
    app_id: str
    source: str
    credit: int
    amount_cents: int
    tax_cents: int
    status: str
    problem: str
    error_code: str
    checkout_url: str
    receipt_url: str
    return_url: str
    refunded_cents: int
    refunded_tax_cents: int
    transaction_id: int | None
    created_at: datetime
    paid_at: datetime | None

    @property
    def total_cents(self) -> int:
        return self.amount_cents + self.tax_cents


@dataclass(frozen=True, slots=True)
class AutoTopUpInfo:
    """When a wallet is topped up by itself: below `threshold` (nano-USD), with how much, at most how much a month."""

    account_id: int
    threshold: int
    amount_cents: int
    monthly_cap_cents: int
    enabled: bool
    failures: int
    paused_reason: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RefundInfo:
    """A refund of a top-up, in cents; `source` is operator, owner or stripe."""

    id: str
    top_up_id: str
    account_id: int
    source: str
    status: str
    amount_cents: int
    tax_cents: int
    reason: str
    error_code: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be bought, in cents, and whether anything can be."""

    enabled: bool
    presets_cents: tuple[int, ...]
    min_cents: int
    max_cents: int


def offer() -> Offer:
    """Return the amounts that the operator offers; each preset is within the limits."""
    least, most = settings.TOP_UP_MIN_USD * 100, settings.TOP_UP_MAX_USD * 100
    presets = sorted({amount * 100 for amount in settings.TOP_UP_PRESETS_USD})
    return Offer(stripe_api.enabled(), tuple(cents for cents in presets if least <= cents <= most), least, most)


def top_up(top_up_id: str, *, account_id: int | None = None) -> TopUpInfo | None:
    """Return a top-up; None where there is no such one, or not of that account."""
    if "\0" in top_up_id:
        return None
    row = TopUp.objects.filter(pk=top_up_id).first()
    return None if row is None or account_id not in (None, row.account_id) else top_up_info(row)


def top_ups_of(account_id: int, *, before: str | None = None, limit: int) -> tuple[TopUpInfo, ...]:
    """Return at most `limit` top-ups of an account, newest first, those before a top-up's id."""
    rows = TopUp.objects.filter(account_id=account_id)
    if before is not None:
        rows = rows.filter(id__lt=before)
    return tuple(map(top_up_info, rows.order_by("-id")[:limit]))


def refunds_of(top_up_id: str) -> tuple[RefundInfo, ...]:
    """Return the refunds of a top-up, oldest first."""
    return tuple(map(refund_info, Refund.objects.filter(top_up_id=top_up_id).order_by("id")))


def auto_top_up_of(account_id: int) -> AutoTopUpInfo | None:
    """Return when an account is topped up by itself."""
    row = AutoTopUp.objects.filter(pk=account_id).first()
    return None if row is None else auto_top_up_info(row)


_TOP_UP = tuple(TopUpInfo.__dataclass_fields__.keys() - {"credit"})
_REFUND = tuple(RefundInfo.__dataclass_fields__)
_AUTO = tuple(AutoTopUpInfo.__dataclass_fields__.keys() - {"threshold"})


def top_up_info(row: TopUp) -> TopUpInfo:
    return TopUpInfo(credit=row.credit_nano, **{name: getattr(row, name) for name in _TOP_UP})


def refund_info(row: Refund) -> RefundInfo:
    return RefundInfo(**{name: getattr(row, name) for name in _REFUND})


def auto_top_up_info(row: AutoTopUp) -> AutoTopUpInfo:
    return AutoTopUpInfo(threshold=row.threshold_nano, **{name: getattr(row, name) for name in _AUTO})
