"""Background work of credit: lots follow their wallets, what is over expires, owners are told in time."""

from celery import shared_task

from apps.billing.services.draws import draw_moved
from apps.billing.services.expiry import expire_lots
from apps.billing.services.notices import note_expiring
from apps.core.clock import now


@shared_task(name="billing.draw_lots")
def draw_lots() -> int:
    """Draw the lots of the wallets that moved and return how many there were."""
    return draw_moved(now=now())


@shared_task(name="billing.expire_lots")
def expire() -> int:
    """Take back credit whose time is over and return from how many lots."""
    return expire_lots(now=now())


@shared_task(name="billing.notices")
def notices() -> int:
    """Tell of credit that expires soon and return of how many lots; low balances are told as lots are drawn."""
    return note_expiring(now=now())
