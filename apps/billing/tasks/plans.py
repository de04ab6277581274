"""Background work of plans, fees and value pricing."""

from celery import shared_task

from apps.billing import stripe_api
from apps.billing.services import fees, plan_uses, plans, subscriptions, value
from apps.core.clock import now


@shared_task(name="billing.measure_plans")
def measure_plans() -> int:
    """Measure what developers used of their plans, and return how many have used theirs up.

    A new instance gets the shipped plans first.
    """
    plans.seed_plans(now=now())
    return plan_uses.measure_plans(now=now())


@shared_task(name="billing.settle_subscriptions")
def settle_subscriptions() -> int:
    """Ask Stripe about subscriptions that nothing was heard of, and return how many changed."""
    return subscriptions.settle_due(now=now()) if stripe_api.enabled() else 0


@shared_task(name="billing.charge_fees")
def charge_fees() -> int:
    """Charge the fees that are due and return how many were charged."""
    return fees.charge_due(now=now())


@shared_task(name="billing.bill_value")
def bill_value() -> int:
    """Bill the months by value that are over and return how many were billed."""
    return value.bill_value(now=now())
