"""Background work of the reconciliation."""

from celery import shared_task

from apps.billing.services import reconciliation
from apps.core.clock import now


@shared_task(name="billing.reconcile_stripe")
def reconcile_stripe() -> str | None:
    """Reconcile yesterday with Stripe, once, and return the run's id."""
    return reconciliation.reconcile_daily(now=now(), actor="task")
