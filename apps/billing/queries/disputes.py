"""What other rooms may read of disputes. Amounts are cents, what was recovered nano-USD."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from apps.billing.models.disputes import Dispute, DisputeClawback
from apps.features.queries import apps_of_developer
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id

MOST = 200


@dataclass(frozen=True, slots=True)
class DisputeInfo:
    """A dispute as other rooms see it; `status` is inquiry, open, won, lost, written_off or closed."""

    id: str
    stripe_dispute_id: str
    top_up_id: str
    account_id: int
    app_id: str
    status: str
    reason: str
    amount_cents: int
    credit_cents: int
    tax_cents: int
    clawed_back_nano: int
    written_off_nano: int
    opened_at: datetime
    lost_at: datetime | None
    closed_at: datetime | None


def disputes_of_developer(developer_id: str) -> tuple[DisputeInfo, ...]:
    """Return the disputes that concern a developer, newest first.

    Those of end users of its apps, those of its own prepaid credit, and those that took back of its revenue.
    """
    apps = [app.id for app in apps_of_developer(developer_id)]
    clawed = DisputeClawback.objects.filter(developer_id=developer_id).values("dispute_id")
    which = Q(app_id__in=apps) | Q(pk__in=clawed)
    own = account_id(AccountKind.DEVELOPER_CREDIT, developer_id)
    if own is not None:
        which |= Q(account_id=own)
    return tuple(map(dispute_info, Dispute.objects.filter(which).order_by("-id")[:MOST]))


def disputes_of_account(account: int) -> tuple[DisputeInfo, ...]:
    """Return the disputes of a wallet's top-ups, newest first."""
    return tuple(map(dispute_info, Dispute.objects.filter(account_id=account).order_by("-id")[:MOST]))


_FIELDS = tuple(DisputeInfo.__dataclass_fields__)


def dispute_info(row: Dispute) -> DisputeInfo:
    return DisputeInfo(**{name: getattr(row, name) for name in _FIELDS})
