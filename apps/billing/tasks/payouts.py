"""Background work of payouts: propose what has matured, send what was approved."""

from celery import shared_task

from apps.billing.services import payout_sending, payouts
from apps.core.clock import now


@shared_task(name="billing.propose_payouts")
def propose_payouts() -> int:
    """Propose what is payable to each developer, once a period, and return how many proposals were made."""
    return payouts.run_proposals(now=now())


@shared_task(name="billing.send_payouts")
def send_payouts() -> int:
    """Take the next step with every payout that was approved and return how many were due."""
    return payout_sending.send_approved(now=now())
