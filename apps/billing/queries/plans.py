"""What doors read of plans and subscriptions."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from apps.billing.models.plans import LIVE, GateAttempt, Plan, Subscription, SubscriptionInvoice, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class PlanInfo:
    """A plan: cents a month, and limits of which None is without one."""

    key: str
    name: str
    description: str
    price_cents: int
    tokens_per_month: int | None
    max_virtual_keys: int | None
    retention_days: int | None
    sla: str
    features: tuple[str, ...]
    position: int
    active: bool


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """A developer's subscription. `checkout_url` is where a pending one is paid, for the answer that opened it."""

    id: str
    developer_id: str
    plan: str
    status: str
    manual: bool
    period_start: datetime | None
    period_end: datetime | None
    cancel_at_period_end: bool
    past_due_since: datetime | None
    grace_ends_at: datetime | None
    created_at: datetime
    checkout_url: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceInfo:
    """An invoice of a subscription; amounts in nano-USD, without tax and the tax."""

    id: str
    paid: bool
    amount: int
    tax: int
    created_at: datetime
    paid_at: datetime | None


def plans(*, all_of_them: bool = False) -> tuple[PlanInfo, ...]:
    """Return the plans on offer in their order."""
    rows = Plan.objects.order_by("position", "key")
    return tuple(plan_info(row) for row in (rows if all_of_them else rows.filter(active=True)))


def live_subscription(developer_id: str) -> SubscriptionInfo | None:
    """Return a developer's subscription that is not over."""
    row = Subscription.objects.filter(developer_id=developer_id, status__in=LIVE).first()
    return None if row is None else subscription_info(row)


def invoices_of(developer_id: str, *, limit: int = 24) -> tuple[InvoiceInfo, ...]:
    """Return a developer's latest invoices of its subscriptions, newest first."""
    rows = SubscriptionInvoice.objects.filter(developer_id=developer_id).order_by("-created_at", "-id")[:limit]
    return tuple(
        InvoiceInfo(row.id, row.paid, row.amount_nano, row.tax_nano, row.created_at, row.paid_at) for row in rows
    )


def gates_tried(developer_id: str, *, since: datetime) -> dict[str, datetime]:
    """Return the gated features that a developer tried in vain, with when it last did, latest first."""
    rows = GateAttempt.objects.filter(developer_id=developer_id, created_at__gte=since).order_by("created_at", "id")
    tried: dict[str, datetime] = {}
    for gate, at in rows.values_list("gate", "created_at"):
        tried.pop(gate, None)
        tried[gate] = at
    return dict(reversed(tried.items()))


def grace_ends_at(row: Subscription) -> datetime | None:
    """Return when a subscription that is past due loses its plan, None where it is not past due."""
    if row.status != SubscriptionStatus.PAST_DUE or row.past_due_since is None:
        return None
    return row.past_due_since + timedelta(days=settings.SUBSCRIPTION_GRACE_DAYS)


def plan_info(row: Plan) -> PlanInfo:
    """Return a plan as doors see it."""
    return PlanInfo(
        key=row.key,
        name=row.name,
        description=row.description,
        price_cents=row.price_cents,
        tokens_per_month=row.tokens_per_month,
        max_virtual_keys=row.max_virtual_keys,
        retention_days=row.retention_days,
        sla=row.sla,
        features=tuple(row.features),
        position=row.position,
        active=row.active,
    )


def subscription_info(row: Subscription, *, checkout_url: str | None = None) -> SubscriptionInfo:
    """Return a subscription as doors see it."""
    return SubscriptionInfo(
        id=row.id,
        developer_id=row.developer_id,
        plan=row.plan_key,
        status=str(row.status),
        manual=row.manual,
        period_start=row.period_start,
        period_end=row.period_end,
        cancel_at_period_end=row.cancel_at_period_end,
        past_due_since=row.past_due_since,
        grace_ends_at=grace_ends_at(row),
        created_at=row.created_at,
        checkout_url=checkout_url,
    )
