"""Background work of the inbox: handle Stripe's events, and let dj-stripe mirror them."""

from collections.abc import Callable

from celery import shared_task

from apps.billing import stripe_api
from apps.billing.services import inbox, mirror
from apps.core.clock import now

# One run handles this many at most; the next one follows in seconds.
BATCH = 200


@shared_task(name="billing.handle_events")
def handle_events() -> int:
    """Handle the events that are due and return how many were handled."""
    return _each(inbox.handle_next)


@shared_task(name="billing.mirror_events")
def mirror_events() -> int:
    """Let dj-stripe mirror the events that are due and return how many it took."""
    return _each(mirror.mirror_next)


@shared_task(name="billing.purge_events")
def purge_events() -> int:
    """Delete the events that were handled long ago and return how many there were."""
    return inbox.purge_handled(now=now())


def _each(take_next: Callable[..., bool | None]) -> int:
    done = 0
    if stripe_api.enabled():
        for _ in range(BATCH):
            outcome = take_next(now=now())
            if outcome is None:
                break
            done += outcome
    return done
