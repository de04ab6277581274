"""What only Stripe itself can say: asked of its sandbox, with `-m sandbox` and STRIPE_SANDBOX_KEY.

Without `-m sandbox` these are deselected. They make a few objects in the sandbox and delete what can be deleted.
STRIPE_SANDBOX_HOST leads them elsewhere, such as to the fake.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from apps.billing import stripe_api
from apps.billing.services import webhook_endpoints
from apps.billing.stripe_api import CardDeclined, StripeRefused, StripeUnknown
from apps.core.ids import new_id
from tests.fakestripe import FakeStripe

pytestmark = pytest.mark.sandbox


@pytest.fixture(autouse=True)
def sandbox(settings: Any) -> Iterator[None]:
    key = os.environ.get("STRIPE_SANDBOX_KEY", "")
    if not key:
        pytest.fail("Set STRIPE_SANDBOX_KEY to a test key of Stripe's sandbox (sk_test_…).", pytrace=False)
    if "_test_" not in key:
        pytest.fail("STRIPE_SANDBOX_KEY is no test key: these tests make payments.", pytrace=False)
    settings.STRIPE_ENABLED = True
    settings.STRIPE_SECRET_KEY = key
    settings.STRIPE_LIVEMODE = False
    settings.STRIPE_API_VERSION = stripe_api.library_version()
    settings.STRIPE_API_HOST = os.environ.get("STRIPE_SANDBOX_HOST", stripe_api.STRIPE_HOST)
    settings.STRIPE_TIMEOUT = 30
    yield
    stripe_api.forget_clients()


def pay(card: str = "pm_card_visa", key: str | None = None) -> Any:
    params: Any = {
        "amount": 1000,
        "currency": "usd",
        "payment_method": card,
        "payment_method_types": ["card"],
        "confirm": True,
        "metadata": {"modelfaucet": "sandbox test"},
    }
    options: Any = {"idempotency_key": key or new_id("test")}
    return stripe_api.call(lambda api: api.v1.payment_intents.create({**params, "expand": ["latest_charge"]}, options))


def test_a_payment_and_its_refund() -> None:
    intent = pay()
    assert intent.status == "succeeded"
    params: Any = {"payment_intent": intent.id, "amount": 400}
    refund = stripe_api.call(lambda api: api.v1.refunds.create(params))
    assert (refund.status, refund.amount) == ("succeeded", 400)
    with pytest.raises(StripeRefused):
        stripe_api.call(lambda api: api.v1.refunds.create({"payment_intent": intent.id, "amount": 601}))


def test_a_key_is_answered_once() -> None:
    key = new_id("test")
    assert pay(key=key).id == pay(key=key).id
    with pytest.raises(StripeUnknown):
        pay("pm_card_mastercard", key=key)


def test_a_declined_card() -> None:
    with pytest.raises(CardDeclined) as caught:
        pay("pm_card_visa_chargeDeclinedInsufficientFunds")
    assert (caught.value.code, caught.value.decline_code) == ("card_declined", "insufficient_funds")
    assert caught.value.payment_intent_id is not None


def test_a_page_to_pay_on() -> None:
    line: Any = {
        "quantity": 1,
        "price_data": {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Test"}},
    }
    params: Any = {"mode": "payment", "success_url": "https://example.com/ok", "line_items": [line]}
    session = stripe_api.call(lambda api: api.v1.checkout.sessions.create(params))
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 1000)
    assert session.url.startswith("https://")
    assert stripe_api.call(lambda api: api.v1.checkout.sessions.expire(session.id)).status == "expired"


def test_what_does_not_exist_is_missing() -> None:
    with pytest.raises(StripeRefused) as caught:
        stripe_api.call(lambda api: api.v1.payment_intents.retrieve("pi_none"))
    assert caught.value.missing


def test_the_endpoints_are_taken() -> None:
    """Whether Stripe knows every type that is handled, and the pinned version."""
    base = f"https://{new_id('test').replace('_', '-')}.example.com"
    made = webhook_endpoints.make_endpoints(base)
    try:
        assert all(one.secret for one in made)
        assert webhook_endpoints.problems(base) == []
    finally:
        for one in made:
            endpoint_id = one.endpoint.id
            stripe_api.call(lambda api, i=endpoint_id: api.v1.webhook_endpoints.delete(i))  # type: ignore[misc]


def test_the_fake_shows_nothing_that_stripe_does_not(settings: Any) -> None:
    real = pay().to_dict()
    with FakeStripe() as fake:
        settings.STRIPE_SECRET_KEY, settings.STRIPE_API_HOST = fake.key, fake.url
        made = pay().to_dict()
    assert set(made) - set(real) == set()
    assert set(made["latest_charge"]) - set(real["latest_charge"]) == set()
