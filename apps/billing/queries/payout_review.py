"""Everything that an operator looks at before deciding about a payout. Amounts in nano-USD."""

from dataclasses import dataclass
from datetime import datetime

from apps.billing.models.payouts import Decision, Payout, PayoutReview, PayoutStatus
from apps.billing.queries.disputes import DisputeInfo, disputes_of_developer
from apps.billing.queries.reconciliation import ReconciliationState, reconciliation_state
from apps.billing.services.maturing import matured_by_entries
from apps.billing.services.payout_accounts import AccountInfo, account_info
from apps.billing.services.payout_checks import Checks, check_payout
from apps.billing.services.payout_risk import Risk, developer_risk
from apps.billing.services.payout_terms import payout_terms
from apps.developers.queries import DeveloperInfo, developer
from apps.features.queries import apps_of_developer
from apps.ledger.queries import KindTotals

# Earlier payouts that are shown.
HISTORY = 12


@dataclass(frozen=True, slots=True)
class AppLine:
    """What an app earned in the time that a payout covers, with its share of the largest app's part in percent."""

    app_id: str
    name: str
    calls: int
    price: int
    developer: int


@dataclass(frozen=True, slots=True)
class Review:
    """A payout with all that speaks for and against it, now.

    `rest` is what the amount is other than the apps' sum; `kinds` is the account by kind of posting.
    """

    row: Payout
    developer: DeveloperInfo | None
    apps: tuple[AppLine, ...]
    apps_total: int
    rest: int
    kinds: tuple[KindTotals, ...]
    checks: Checks
    risk: Risk | None
    account: AccountInfo
    disputes: tuple[DisputeInfo, ...]
    reconciliation: ReconciliationState
    history: tuple[Payout, ...]
    reviews: tuple[PayoutReview, ...]
    approvals: tuple[str, ...]


def review_of(payout_id: str, *, now: datetime) -> Review | None:
    """Return everything about a payout on one page, or None where there is no such payout."""
    row = Payout.objects.filter(pk=payout_id).first()
    if row is None:
        return None
    names = {app.id: app.name for app in apps_of_developer(row.developer_id)}
    apps = tuple(
        AppLine(part["app_id"], names.get(part["app_id"], ""), part["calls"], part["price"], part["developer"])
        for part in sorted(row.breakdown["by_app"], key=lambda part: -part["developer"])
    )
    total = sum(app.developer for app in apps)
    reviews = tuple(PayoutReview.objects.filter(payout=row).order_by("id"))
    return Review(
        row=row,
        developer=developer(row.developer_id),
        apps=apps,
        apps_total=total,
        rest=row.amount_nano - total,
        kinds=matured_by_entries(row.developer_id, payout_terms(row.developer_id), now=now).kinds,
        checks=check_payout(row, now=now),
        risk=developer_risk(row.developer_id),
        account=account_info(row.developer_id),
        disputes=disputes_of_developer(row.developer_id),
        reconciliation=reconciliation_state(developer_id=row.developer_id),
        history=tuple(
            Payout.objects.filter(developer_id=row.developer_id).exclude(pk=row.pk).order_by("-id")[:HISTORY]
        ),
        reviews=reviews,
        approvals=tuple(
            review.reviewer for review in reviews if review.decision == Decision.APPROVE and review.round == row.round
        ),
    )


def may_be_decided(row: Payout) -> tuple[str, ...]:
    """Return the decisions that a payout's state allows."""
    by_hand = row.rail == "manual"
    return {
        PayoutStatus.PROPOSED: ("approve", "hold", "reject"),
        PayoutStatus.HELD: ("release", "reject"),
        PayoutStatus.APPROVED: (*(("mark_paid",) if by_hand else ()), "hold", "reject"),
        PayoutStatus.PAID: ("mark_failed",) if by_hand else (),
    }.get(PayoutStatus(row.status), ())
