"""What other rooms may read of payouts. Amounts in nano-USD."""

from dataclasses import dataclass
from datetime import datetime

from apps.billing.models.payouts import Payout, PayoutSkip, PayoutStatus
from apps.billing.services.payouts import period_of

# What a developer is told of a payout's state: the steps between approval and arrival are the operator's business.
_TOLD = {
    PayoutStatus.PROPOSED: "pending",
    PayoutStatus.HELD: "held",
    PayoutStatus.APPROVED: "approved",
    PayoutStatus.SENDING: "approved",
    PayoutStatus.SENT: "approved",
    PayoutStatus.PAID: "paid",
    PayoutStatus.FAILED: "failed",
    PayoutStatus.REVERSED: "failed",
    PayoutStatus.REJECTED: "rejected",
}


@dataclass(frozen=True, slots=True)
class AppPart:
    """What an app earned in the time that a payout covers."""

    app_id: str
    calls: int
    price: int
    developer: int


@dataclass(frozen=True, slots=True)
class PayoutInfo:
    """A payout as its developer sees it; `status` is pending, held, approved, paid, failed or rejected.

    `since` is None for a first payout; `returned` is what came back of it.
    """

    id: str
    status: str
    amount: int
    returned: int
    rail: str
    destination_hint: str
    origin: str
    period: str
    since: str | None
    cutoff_at: datetime
    by_app: tuple[AppPart, ...]
    reference: str
    created_at: datetime
    approved_at: datetime | None
    sent_at: datetime | None
    paid_at: datetime | None
    closed_at: datetime | None


def payouts_of(developer_id: str, *, before: str | None = None, limit: int) -> tuple[PayoutInfo, ...]:
    """Return at most `limit` of a developer's payouts, newest first, older than the payout `before`."""
    rows = Payout.objects.filter(developer_id=developer_id).order_by("-id")
    if before is not None:
        rows = rows.filter(id__lt=before)
    return tuple(_info(row) for row in rows[:limit])


def payout_of(developer_id: str, payout_id: str) -> PayoutInfo | None:
    """Return one of a developer's payouts, None for anybody else's."""
    row = Payout.objects.filter(developer_id=developer_id, pk=payout_id).first() if "\0" not in payout_id else None
    return None if row is None else _info(row)


def skipped_for(developer_id: str, *, now: datetime) -> str | None:
    """Return why the last look of this period proposed nothing to a developer, None where there is no such note."""
    notes = PayoutSkip.objects.filter(developer_id=developer_id, period=period_of(now))
    return notes.values_list("reason", flat=True).first()


def _info(row: Payout) -> PayoutInfo:
    return PayoutInfo(
        id=row.pk,
        status=_TOLD[PayoutStatus(row.status)],
        amount=row.amount_nano,
        returned=row.returned_nano,
        rail=row.rail,
        destination_hint=row.destination_hint,
        origin=row.origin,
        period=row.period,
        since=row.breakdown["since"],
        cutoff_at=row.cutoff_at,
        by_app=tuple(AppPart(**part) for part in row.breakdown["by_app"]),
        reference=row.reference,
        created_at=row.created_at,
        approved_at=row.approved_at,
        sent_at=row.sent_at,
        paid_at=row.paid_at,
        closed_at=row.closed_at,
    )
