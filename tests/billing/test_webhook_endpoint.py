"""POST /v1/stripe/webhook: Stripe's door."""

import http.client
from typing import Any

import pytest
from django.test import Client

from apps.billing.models.stripe import StripeEvent
from apps.billing.services import handlers, inbox
from apps.core.clock import now
from tests.fakestripe import FakeStripe, event_of, sign
from tests.live import Server

URL = "/v1/stripe/webhook"
pytestmark = pytest.mark.django_db


def post(body: bytes, signature: str | None) -> Any:
    headers = {} if signature is None else {"stripe-signature": signature}
    return Client(enforce_csrf_checks=True).post(URL, body, "application/json; charset=utf-8", headers=headers)


def make_event(stripe: FakeStripe) -> Any:
    return stripe.webhooks.delivery(event_of("customer.created", {"id": "cus_1"}, clock=stripe.clock))


def test_an_event_is_kept_and_answered_at_once(fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[Any] = []
    monkeypatch.setitem(handlers.HANDLERS, "customer.created", handled.append)
    given = make_event(fakestripe)
    response = post(given.body, given.signature)
    assert response.status_code == 200
    assert response.json() == {"object": "stripe_event", "id": given.event["id"], "new": True}
    assert post(given.body, given.signature).json()["new"] is False
    assert handled == []  # not by the door
    assert inbox.handle_events(now=now()) == 1


@pytest.mark.parametrize("signature", [None, "t=1,v1=00"])
def test_a_stranger_is_refused(fakestripe: FakeStripe, signature: str | None) -> None:
    response = post(make_event(fakestripe).body, signature)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_signature"
    assert not StripeEvent.objects.exists()


def test_a_body_that_is_too_large_is_refused(fakestripe: FakeStripe) -> None:
    body = b" " * (inbox.MOST_BYTES + 1)
    response = post(body, sign(body, fakestripe.webhooks.secret, fakestripe.clock.now()))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_while_payments_are_off_it_says_so(fakestripe: FakeStripe, settings: Any) -> None:
    given = make_event(fakestripe)
    settings.STRIPE_ENABLED = False
    response = post(given.body, given.signature)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "payments_off"
    settings.STRIPE_ENABLED = True
    settings.STRIPE_WEBHOOK_SECRET = settings.STRIPE_CONNECT_WEBHOOK_SECRET = ""
    assert post(given.body, given.signature).json()["error"]["code"] == "webhook_secret_missing"


def test_nobody_else_uses_it(fakestripe: FakeStripe, client: Client) -> None:
    assert client.get(URL).status_code == 405
    assert client.delete(URL).status_code == 405


@pytest.mark.django_db(transaction=True)
def test_over_a_real_socket(fakestripe: FakeStripe, server: Server) -> None:
    given = make_event(fakestripe)
    hooks = fakestripe.webhooks
    url = server.base_url.removesuffix("/v1") + URL
    assert hooks.post_one(url, given) == 200
    hooks.duplicate = True
    hooks.add(make_event(fakestripe).event)
    assert fakestripe.deliver_to(url) == [200, 200]
    forged = hooks.delivery(given.event, secret="whsec_guess")
    assert hooks.post_one(url, forged) == 400
    assert StripeEvent.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_chunked_body_over_a_real_socket(fakestripe: FakeStripe, server: Server) -> None:
    given = make_event(fakestripe)
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(server.base_url.rsplit(":", 1)[1].split("/")[0]), timeout=20
    )
    half = len(given.body) // 2
    chunks = iter([given.body[:half], given.body[half:]])
    connection.request("POST", URL, chunks, {"stripe-signature": given.signature}, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    response.read()
    connection.close()
    assert StripeEvent.objects.count() == 1
