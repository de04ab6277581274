"""Background work of top-ups: what was paid and not noticed, automatic top-ups, refunds under way, old disputes."""

from celery import shared_task

from apps.billing import stripe_api
from apps.billing.services import auto_top_ups, disputes, refunds, top_ups
from apps.core.clock import now


@shared_task(name="billing.settle_top_ups")
def settle_top_ups() -> int:
    """Look at the top-ups and refunds whose outcome is not known yet and return how many ended."""
    if not stripe_api.enabled():
        return 0
    return top_ups.settle_due(now=now()) + refunds.settle_due(now=now())


@shared_task(name="billing.auto_top_up")
def auto_top_up() -> int:
    """Top up the wallets that are below their owners' thresholds and return how many charges were asked for."""
    return auto_top_ups.top_up_low(now=now()) if stripe_api.enabled() else 0


@shared_task(name="billing.write_off_disputes")
def write_off_disputes() -> int:
    """Write off what wallets owe long after their disputes were lost and return of how many disputes."""
    return disputes.write_off_lost(now=now())
