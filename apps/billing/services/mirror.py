"""dj-stripe's copy of Stripe's objects, for looking at: its faults are recorded and never touch money.

It asks Stripe again for each object and does so inside a database transaction; that is why it works here, after the
fact and in a connection that holds nothing of ours.
"""

import logging
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import transaction

from apps.billing.models.stripe import StripeEvent
from apps.billing.services.inbox import LEASE, pause_after

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 12  # about two hours: what dj-stripe cannot take by then it never can


def installed() -> bool:
    """Tell whether dj-stripe is installed in this process."""
    return apps.is_installed("djstripe")


def mirror_next(*, now: datetime) -> bool | None:
    """Let dj-stripe take the event that has been due for longest: True if it did, False if not, None if none is due."""
    if not installed():
        return None
    with transaction.atomic():
        due = StripeEvent.objects.select_for_update(skip_locked=True).filter(mirror_at__lte=now)
        row = due.order_by("mirror_at", "created_at", "id").first()
        if row is None:
            return None
        row.mirror_attempts += 1
        StripeEvent.objects.filter(pk=row.pk).update(mirror_attempts=row.mirror_attempts, mirror_at=now + LEASE)
    mine = StripeEvent.objects.filter(pk=row.pk, mirror_attempts=row.mirror_attempts, mirrored_at=None)
    try:
        _take(row)
    except Exception as error:
        # Whatever dj-stripe or Stripe makes of it: nothing depends on the mirror.
        # dj-stripe quotes a key that it does not like.
        problem = f"{type(error).__name__}: {error}".replace(settings.STRIPE_SECRET_KEY, "…").replace("\0", "")[:300]
        logger.warning("stripe event not mirrored", extra={"event": row.pk, "type": row.type, "problem": problem})
        again = None if row.mirror_attempts >= MOST_ATTEMPTS else now + pause_after(row.mirror_attempts)
        mine.update(mirror_at=again, mirror_error=problem)
        return False
    mine.update(mirrored_at=now, mirror_at=None, mirror_error="")
    return True


def _take(row: StripeEvent) -> None:
    import stripe
    from djstripe.models import Account, Event

    # dj-stripe calls through the library's globals, which it sets once when it is loaded.
    stripe.api_base = settings.STRIPE_API_HOST
    stripe.api_version = settings.STRIPE_API_VERSION
    stripe.max_network_retries = 0
    stripe.enable_telemetry = False
    if stripe.default_http_client is None:
        stripe.default_http_client = stripe.RequestsClient(timeout=settings.STRIPE_TIMEOUT)
    # Its own way to learn whose objects these are keeps the secret key in a table, in plain text.
    Account.get_or_retrieve_for_api_key = _own_account
    Event.process(row.payload, api_key=settings.STRIPE_SECRET_KEY)


def _own_account(api_key: str) -> Any:
    """Return dj-stripe's row of the account whose key it is, made if there is none."""
    from djstripe.models import Account

    found = Account.objects.filter(id=_account_id(api_key, settings.STRIPE_API_HOST)).first()
    if found is not None:
        return found
    import stripe

    data = stripe.Account.retrieve(api_key=api_key)
    # The row first: to take in the rest dj-stripe asks again whose it is.
    Account.objects.get_or_create(id=data["id"])
    return Account.sync_from_stripe_data(data, api_key=api_key)


@lru_cache(maxsize=4)
def _account_id(api_key: str, host: str) -> str:
    import stripe

    return str(stripe.Account.retrieve(api_key=api_key)["id"])
