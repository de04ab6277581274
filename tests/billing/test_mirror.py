"""dj-stripe's mirror: it takes events apart from the money, and its faults touch nothing."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import stripe as library
from django.apps import apps
from django.core.checks.registry import registry
from django.db import connection

from apps.billing import stripe_api
from apps.billing.models.stripe import StripeEvent
from apps.billing.services import handlers, inbox, mirror
from apps.billing.tasks.stripe import mirror_events
from apps.core.clock import now
from tests.fakestripe import FakeStripe

pytestmark = pytest.mark.django_db


@pytest.fixture
def djstripe(db: None, settings: Any, fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give dj-stripe's models, with tables for as long as this test's transaction lives (half a second)."""
    monkeypatch.setattr("django.contrib.admin.autodiscover", lambda: None)  # its pages are for where it stays
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "djstripe"]
    with connection.schema_editor(atomic=False) as editor:
        for model in apps.get_app_config("djstripe").get_models():
            editor.create_model(model)
    from djstripe import models

    yield models
    connection.check_constraints()
    forget_checks()
    if library.default_http_client is not None:
        library.default_http_client.close()
        library.default_http_client = None


def forget_checks() -> None:
    """Take dj-stripe's system checks out again: they ask its tables, and other tests of this process run checks."""
    for found in (registry.registered_checks, registry.deployment_checks):
        found -= {check for check in found if check.__module__.startswith("djstripe")}


def buy(stripe: FakeStripe) -> str:
    """Let a customer pay ten dollars on Stripe's page and return the payment's id."""
    customer = stripe_api.call(lambda api: api.v1.customers.create({"email": "pat@example.com"}))
    line: Any = {
        "quantity": 1,
        "price_data": {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Credit"}},
    }
    session = stripe_api.call(
        lambda api: api.v1.checkout.sessions.create(
            {"mode": "payment", "customer": customer.id, "success_url": "https://example.com", "line_items": [line]}
        )
    )
    return str(stripe.pay(session.id)["payment_intent"])


def receive_all(stripe: FakeStripe) -> None:
    at = now()
    stripe.deliver(lambda body, signature: inbox.receive(body, signature, now=at))


def test_it_mirrors_what_stripe_has(djstripe: Any, fakestripe: FakeStripe) -> None:
    payment = buy(fakestripe)
    receive_all(fakestripe)
    count = StripeEvent.objects.count()
    assert mirror_events() == count > 3
    assert djstripe.Event.objects.count() == count
    assert djstripe.PaymentIntent.objects.get(id=payment).stripe_data["amount"] == 1000
    assert djstripe.Charge.objects.get().stripe_data["payment_intent"] == payment
    assert djstripe.Customer.objects.get().stripe_data["email"] == "pat@example.com"
    assert djstripe.Session.objects.get().stripe_data["payment_status"] == "paid"
    assert not StripeEvent.objects.filter(mirrored_at=None).exists()
    assert mirror_events() == 0
    assert djstripe.Account.objects.get().id == "acct_platform"
    assert djstripe.APIKey.objects.count() == 0  # where it would stand in plain text
    # The money's own work is still to be done, and was not touched.
    assert not StripeEvent.objects.exclude(handled_at=None, attempts=0).exists()


def test_its_faults_are_recorded_and_never_touch_money(
    djstripe: Any, fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[str] = []
    monkeypatch.setitem(handlers.HANDLERS, "payment_intent.succeeded", lambda event: handled.append(event.object["id"]))
    payment = buy(fakestripe)
    fakestripe.webhooks.drop = {event["type"] for event in fakestripe.webhooks.pending} - {"payment_intent.succeeded"}
    receive_all(fakestripe)
    fakestripe.fail_next("error", path="/v1/payment_intents", times=2)
    at = now()
    assert mirror.mirror_next(now=at) is False
    row = StripeEvent.objects.get()
    assert "APIError" in row.mirror_error
    assert (row.mirrored_at, row.mirror_at, row.mirror_attempts) == (None, at + timedelta(seconds=10), 1)
    assert djstripe.Event.objects.count() == 0  # all or nothing
    assert inbox.handle_events(now=at) == 1
    assert handled == [payment]
    assert mirror.mirror_next(now=at) is None
    assert mirror.mirror_next(now=at + timedelta(seconds=10)) is False
    assert mirror.mirror_next(now=at + timedelta(seconds=30)) is True
    row.refresh_from_db()
    assert row.mirrored_at is not None
    assert (row.mirror_at, row.mirror_error) == (None, "")
    assert handled == [payment]


def test_the_key_is_not_told_by_its_faults(djstripe: Any, fakestripe: FakeStripe, settings: Any) -> None:
    buy(fakestripe)
    receive_all(fakestripe)
    settings.STRIPE_SECRET_KEY = key = "sk_test_short"
    assert mirror_events() == 0
    problems = set(StripeEvent.objects.values_list("mirror_error", flat=True))
    assert "" not in problems
    assert not any(key in problem for problem in problems)


def test_what_it_never_takes_it_is_not_asked_for_ever(
    djstripe: Any, fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MOST_ATTEMPTS", 2)
    buy(fakestripe)
    fakestripe.webhooks.drop = {event["type"] for event in fakestripe.webhooks.pending} - {"payment_intent.succeeded"}
    receive_all(fakestripe)
    fakestripe.fail_next("error", path="/v1/payment_intents", times=9)
    at = now()
    for _ in range(2):
        assert mirror.mirror_next(now=at) is False
        at += timedelta(hours=2)
    assert mirror.mirror_next(now=at) is None


def test_without_dj_stripe_nothing_is_mirrored_and_all_is_handled(fakestripe: FakeStripe) -> None:
    buy(fakestripe)
    receive_all(fakestripe)
    assert not mirror.installed()
    assert mirror_events() == 0
    assert StripeEvent.objects.filter(mirror_attempts=0).count() == StripeEvent.objects.count() > 0
