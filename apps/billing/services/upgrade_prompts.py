"""When a developer is shown a larger plan: three triggers, as data that a page or a program can act on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.billing.models.plans import LIVE, Plan, Subscription
from apps.billing.months import month_of
from apps.billing.queries.plans import PlanInfo, SubscriptionInfo, gates_tried, plan_info, subscription_info
from apps.billing.services.plan_uses import tokens_used
from apps.billing.services.plans import next_plan, plan_among
from apps.billing.services.value import savings_of
from apps.core.money import NANO_PER_USD, usd

USAGE, SAVINGS, FEATURE = "usage_limit", "savings_milestone", "feature_gate"
USAGE_PERCENT = 80
SAVINGS_NANO = 100 * NANO_PER_USD
TRIED_WITHIN = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class UpgradePrompt:
    """A trigger that holds: its code, the values behind it as JSON, the plan to suggest if there is one."""

    code: str
    values: Mapping[str, object]
    suggested_plan: str | None


@dataclass(frozen=True, slots=True)
class PlanState:
    """A developer's plan, None where nothing is limited; the tokens of its month; what it is prompted with.

    `offered` are the plans that may be bought, in their order.
    """

    plan: PlanInfo | None
    tokens: int
    prompts: tuple[UpgradePrompt, ...]
    offered: tuple[PlanInfo, ...]
    subscription: SubscriptionInfo | None


def plan_state(developer_id: str, *, now: datetime) -> PlanState:
    """Return a developer's plan, its use as counted now, and the upgrade triggers that hold."""
    plans = list(Plan.objects.order_by("position", "key"))
    offered = tuple(plan_info(plan) for plan in plans if plan.active)
    row = Subscription.objects.filter(developer_id=developer_id, status__in=LIVE).first()
    subscription = None if row is None else subscription_info(row)
    plan = plan_among(plans, row, now=now)
    tokens = tokens_used(developer_id, now=now)
    if plan is None:
        return PlanState(None, tokens, (), offered, subscription)
    found = (
        _usage(plan, plans, tokens),
        _savings(developer_id, plan, plans, now=now),
        *_features(developer_id, plan, plans, now=now),
    )
    prompts = tuple(prompt for prompt in found if prompt is not None)
    return PlanState(plan_info(plan), tokens, prompts, offered, subscription)


def _usage(plan: Plan, plans: Sequence[Plan], tokens: int) -> UpgradePrompt | None:
    """More than 80 % of the month's tokens are used."""
    limit = plan.tokens_per_month
    if limit is None or tokens * 100 <= limit * USAGE_PERCENT:
        return None
    values = {"used": tokens, "limit": limit, "percent": tokens * 100 // limit if limit else 100}
    return UpgradePrompt(USAGE, values, _key(next_plan(plan, plans)))


def _savings(developer_id: str, plan: Plan, plans: Sequence[Plan], *, now: datetime) -> UpgradePrompt | None:
    """More than 100 USD were saved this month against the baseline, so far."""
    suggested = next_plan(plan, plans)
    savings = savings_of(developer_id, month_of(now), now=now) if suggested is not None else None
    if savings is None or savings.fee is None or savings.fee.savings <= SAVINGS_NANO:
        return None
    values = {
        "saved_usd": usd(savings.fee.savings),
        "baseline_usd": usd(savings.fee.baseline),
        "actual_usd": usd(savings.fee.actual),
        "month": f"{savings.month:%Y-%m}",
    }
    return UpgradePrompt(SAVINGS, values, _key(suggested))


def _features(developer_id: str, plan: Plan, plans: Sequence[Plan], *, now: datetime) -> list[UpgradePrompt]:
    """Something that the plan does not include was tried within 30 days."""
    prompts = []
    for gate, at in gates_tried(developer_id, since=now - TRIED_WITHIN).items():
        if gate not in plan.features:
            values = {"feature": gate, "tried_at": at.isoformat()}
            prompts.append(UpgradePrompt(FEATURE, values, _key(next_plan(plan, plans, gate))))
    return prompts


def _key(plan: Plan | None) -> str | None:
    return None if plan is None else plan.key
