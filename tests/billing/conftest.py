"""Fixtures of billing: Stripe switched on against the fake."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import djstripe._stripe_compat  # noqa: F401  (where Stripe is on dj-stripe changes the library's objects: so do tests)
import pytest

from apps.billing import stripe_api
from apps.billing.services import inbox
from apps.core.clock import now as clock
from tests.fakestripe import FakeStripe


@pytest.fixture
def fakestripe(settings: Any) -> Iterator[FakeStripe]:
    """Give a Stripe on loopback that our settings point to. A call that it never answers fails after two seconds."""
    with FakeStripe() as stripe:
        settings.STRIPE_ENABLED = True
        settings.STRIPE_SECRET_KEY = stripe.key
        settings.STRIPE_LIVEMODE = False
        settings.STRIPE_WEBHOOK_SECRET = stripe.webhooks.secret
        settings.STRIPE_CONNECT_WEBHOOK_SECRET = stripe.webhooks.connect_secret
        settings.STRIPE_API_VERSION = stripe.api_version
        settings.STRIPE_API_HOST = stripe.url
        settings.STRIPE_TIMEOUT = 2.0
        settings.STRIPE_TOLERANCE = 300
        yield stripe
        stripe_api.forget_clients()


Deliver = Callable[..., int]


@pytest.fixture
def deliver(fakestripe: FakeStripe) -> Deliver:
    """Give what brings the events since to the inbox and has them handled; it returns how many were handled.

    `deliver(now=…)` handles at another time than the present: events that failed are due later.
    """

    def run(*, now: datetime | None = None) -> int:
        at = clock()
        fakestripe.deliver(lambda body, signature: inbox.receive(body, signature, now=at))
        return inbox.handle_events(now=now or clock())

    return run
