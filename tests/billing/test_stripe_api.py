"""The seam to Stripe: what its answers and silences become."""

import logging
import subprocess
import sys
from typing import Any

import pytest

from apps.billing import stripe_api
from apps.billing.stripe_api import CardDeclined, StripeRefused, StripeUnknown
from apps.core.errors import Unavailable
from tests.fakestripe import FakeStripe


def charge(stripe: FakeStripe, behaviour: str, key: str = "k") -> Any:
    card = stripe.card(behaviour=behaviour)
    params: Any = {"amount": 1000, "currency": "usd", "payment_method": card, "confirm": True, "off_session": True}
    return stripe_api.call(lambda api: api.v1.payment_intents.create(params, {"idempotency_key": key}))


def make_customer(key: str = "k", **params: Any) -> Any:
    return stripe_api.call(lambda api: api.v1.customers.create(params, {"idempotency_key": key}))  # type: ignore[arg-type]


def test_an_answer_comes_back(fakestripe: FakeStripe) -> None:
    made = make_customer(email="pat@example.com", metadata={"n": "1"})
    assert made.id in fakestripe.objects
    assert (made.email, made.to_dict()["metadata"]) == ("pat@example.com", {"n": "1"})


def test_off_nothing_is_asked(fakestripe: FakeStripe, settings: Any) -> None:
    settings.STRIPE_ENABLED = False
    with pytest.raises(Unavailable) as caught:
        make_customer()
    assert (caught.value.code, caught.value.status) == ("payments_off", 503)
    assert not isinstance(caught.value, StripeUnknown)
    assert fakestripe.calls == []
    assert not stripe_api.enabled()


def test_a_declined_card_is_a_refusal(fakestripe: FakeStripe) -> None:
    with pytest.raises(CardDeclined) as caught:
        charge(fakestripe, "insufficient_funds")
    error = caught.value
    assert (error.status, error.code, error.stripe_code) == (402, "card_declined", "card_declined")
    assert error.decline_code == "insufficient_funds"
    assert error.payment_intent_id in fakestripe.objects
    assert fakestripe.available_cents == 0


def test_a_card_whose_holder_must_confirm(fakestripe: FakeStripe) -> None:
    with pytest.raises(StripeRefused) as caught:
        charge(fakestripe, "requires_action")
    assert (caught.value.status, caught.value.code) == (402, "authentication_required")


def test_what_does_not_exist_is_missing(fakestripe: FakeStripe) -> None:
    with pytest.raises(StripeRefused) as caught:
        stripe_api.call(lambda api: api.v1.refunds.retrieve("re_none"))
    assert (caught.value.status, caught.value.code, caught.value.missing) == (400, "payment_refused", True)
    with pytest.raises(StripeRefused) as caught:
        stripe_api.call(lambda api: api.v1.refunds.create({"charge": "ch_none", "amount": 0}))
    assert caught.value.missing


def test_no_access_to_an_account_is_a_refusal(fakestripe: FakeStripe) -> None:
    made = stripe_api.call(lambda api: api.v1.accounts.create({"country": "US"}))
    fakestripe.deauthorize(made.id)
    with pytest.raises(StripeRefused) as caught:
        stripe_api.call(lambda api: api.v1.accounts.retrieve(made.id))
    assert caught.value.stripe_code == "account_invalid"


@pytest.mark.parametrize(
    ("fault", "done"),
    [
        ("timeout", False),
        ("timeout_after", True),
        ("reset", False),
        ("reset_after", True),
        ("error", False),
        ("error_after", True),
        ("rate_limit", False),
        ("conflict", False),
    ],
)
def test_no_reliable_answer_is_unknown(fakestripe: FakeStripe, settings: Any, fault: str, done: bool) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    fakestripe.fail_next(fault)
    with pytest.raises(StripeUnknown) as caught:
        make_customer()
    assert (caught.value.status, caught.value.code) == (503, "stripe_unreachable")
    assert len(fakestripe.calls) == 1  # nothing is tried again by itself
    assert len(fakestripe.all("customer")) == (1 if done else 0)


def test_nobody_listening_is_unknown(fakestripe: FakeStripe, settings: Any) -> None:
    with FakeStripe() as gone:
        settings.STRIPE_API_HOST = gone.url
    with pytest.raises(StripeUnknown):
        make_customer()


def test_a_key_used_for_something_else_is_unknown(fakestripe: FakeStripe) -> None:
    make_customer(email="a@example.com")
    with pytest.raises(StripeUnknown):  # the first one went through
        make_customer(email="b@example.com")


def test_a_key_that_stripe_does_not_take_is_no_refusal(
    fakestripe: FakeStripe, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_rolled_long_ago"
    with caplog.at_level(logging.ERROR), pytest.raises(StripeUnknown):
        make_customer()
    record = next(record for record in caplog.records if record.message == "stripe outcome unknown")
    assert (record.__dict__["error"], record.__dict__["status"]) == ("AuthenticationError", 401)
    assert "rolled_long_ago" not in str(record.__dict__)


def test_the_same_key_and_request_is_done_once(fakestripe: FakeStripe) -> None:
    assert make_customer(email="a@example.com").id == make_customer(email="a@example.com").id
    assert [call.replayed for call in fakestripe.calls] == [False, True]


def test_the_pinned_version_is_sent(fakestripe: FakeStripe, settings: Any) -> None:
    settings.STRIPE_API_VERSION = "2020-08-27"
    with pytest.raises(StripeRefused):
        make_customer()


def test_a_process_with_stripe_off_never_loads_the_library() -> None:
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; django.setup();"
        "import modelfaucet.asgi, apps.gateway.api.urls, modelfaucet.celery, apps.billing.tasks;"
        "from django.contrib import admin; admin.autodiscover();"
        "found = sorted(name for name in sys.modules if name.split('.')[0] in ('stripe', 'djstripe'));"
        "sys.exit(str(found[:3]) if found else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 0, run.stderr[-2000:]
