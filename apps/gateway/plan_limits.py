"""Developers' plans at the door: a plan that is used up is refused before any provider."""

from apps.core.errors import InsufficientFunds
from apps.features.principals import SpentPlan


def refuse_spent(plan: SpentPlan, *, at: float) -> None:
    """Raise InsufficientFunds (plan_limit_reached) until the plan's month is over; `at` is POSIX time."""
    if at >= plan.resets_at.timestamp():
        return
    raise InsufficientFunds(
        f"The plan '{plan.plan}' of this app's developer has {plan.limit:,} tokens a month, and they are used up.",
        code="plan_limit_reached",
        details={
            "plan": plan.plan,
            "what": "tokens_per_month",
            "limit": plan.limit,
            "used": plan.used,
            "resets_at": plan.resets_at.isoformat(),
            "upgrade": plan.upgrade or None,
        },
    )
