"""Buying credit over the API, for end users and developers; what is another's does not exist."""

from typing import Any

import pytest
from django.test import Client

from apps.billing.models.top_ups import TopUp
from apps.core import addresses
from apps.core.clock import now
from apps.core.ids import new_id
from apps.developers.models import Scope
from apps.features.services.apps import update_app
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from tests.billing.conftest import Deliver
from tests.billing.top_up_factories import ACTOR, assert_proven, session_of
from tests.billing.top_up_factories import get as get_top_up
from tests.fakestripe import FakeStripe
from tests.gateway.api_factories import Api, code_of, error_of, make_api, make_developer_token, make_stranger

ORIGIN = "https://app.example.com"


@pytest.fixture
def api(transactional_db: None, client: Client) -> Api:
    made = make_api(client)
    update_app(app_id=made.app_id, allowed_origins=[ORIGIN], now=now(), actor=ACTOR)
    return made


class Door:
    """One of the two addresses under which credit is bought, with the token that opens it."""

    def __init__(self, api: Api, developer: bool) -> None:
        self.api, self.developer = api, developer
        self.base = f"/v1/developers/{api.developer_id}" if developer else "/v1/user"
        self.token = api.developer_token if developer else api.world.token
        self.wallet = "/v1/user/wallet" if not developer else f"{self.base}/wallet"

    def get(self, path: str, **more: Any) -> Any:
        return self.api.get(self.base + path, more.pop("token", self.token), **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        more.setdefault("idempotency_key", new_id("key"))
        return self.api.post(self.base + path, body, more.pop("token", self.token), **more)

    def delete(self, path: str) -> Any:
        return self.api.delete(self.base + path, self.token)

    def put(self, path: str, body: Any) -> Any:
        headers = {"authorization": f"Bearer {self.token}"}
        return self.api.client.put(self.base + path, body, content_type="application/json", headers=headers)

    @property
    def cents(self) -> int:
        kind = AccountKind.DEVELOPER_CREDIT if self.developer else AccountKind.END_USER
        found = account_id(kind, self.api.developer_id if self.developer else self.api.world.end_user_id)
        return 0 if found is None else balance(found).posted // 10_000_000


@pytest.fixture(params=["user", "developer"])
def door(api: Api, request: pytest.FixtureRequest) -> Door:
    return Door(api, request.param == "developer")


def pay(stripe: FakeStripe, top_up: dict[str, Any], deliver: Deliver, **how: Any) -> None:
    stripe.pay(session_of(get_top_up(top_up["id"])), **how)
    deliver()


def test_credit_is_bought_and_refunded(door: Door, fakestripe: FakeStripe, deliver: Deliver) -> None:
    before = door.cents
    response = door.post("/top-ups", {"amount_usd": "20", "return_url": f"{ORIGIN}/thanks?x=1#/y", "save_card": True})
    assert response.status_code == 201
    made = response.json()
    assert (made["status"], made["credit_usd"], made["tax_usd"]) == ("open", "20.0000", "0.0000")
    assert made["checkout_url"].startswith("https://checkout.stripe.com/")
    assert made["return_url"] == f"{ORIGIN}/thanks?x=1#/y"
    pay(fakestripe, made, deliver, tax_cents=380)
    receipt = door.get(f"/top-ups/{made['id']}").json()
    assert (receipt["status"], receipt["total_usd"], receipt["checkout_url"]) == ("paid", "23.8000", None)
    assert receipt["receipt_url"].startswith("https://")
    assert door.cents == before + 2000
    refund = door.post(f"/top-ups/{made['id']}/refund", {"amount_usd": "5", "reason": "too much"})
    assert refund.status_code == 201
    assert (refund.json()["status"], refund.json()["total_usd"]) == ("succeeded", "5.9500")
    assert door.post(f"/top-ups/{made['id']}/refund").json()["credit_usd"] == "15.0000"
    assert code_of(door.post(f"/top-ups/{made['id']}/refund")) == (409, "nothing_to_refund")
    receipt = door.get(f"/top-ups/{made['id']}").json()
    assert [row["credit_usd"] for row in receipt["refunds"]] == ["5.0000", "15.0000"]
    assert (receipt["refunded_usd"], receipt["refunded_tax_usd"]) == ("20.0000", "3.8000")
    assert door.cents == before
    assert_proven()


def test_saved_card_automatic_top_up_and_payment_method(door: Door, fakestripe: FakeStripe, deliver: Deliver) -> None:
    assert code_of(door.get("/payment-method")) == (404, "payment_method_not_found")
    assert code_of(door.post("/top-ups", {"amount_usd": "5", "method": "saved_card"})) == (409, "no_saved_card")
    wish = {"threshold_usd": "2", "amount_usd": "10", "monthly_cap_usd": "50"}
    assert code_of(door.put("/auto-top-up", wish)) == (409, "no_saved_card")
    assert door.get("/auto-top-up").json() == {"object": "auto_top_up", "enabled": False}
    pay(fakestripe, door.post("/top-ups", {"amount_usd": "5", "save_card": True}).json(), deliver)
    card = door.get("/payment-method").json()
    expected = {"object": "payment_method", "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2040}
    assert card == expected
    bought = door.post("/top-ups", {"amount_usd": "7.50", "method": "saved_card"})
    assert (bought.status_code, bought.json()["status"], bought.json()["credit_usd"]) == (201, "paid", "7.5000")
    told = door.put("/auto-top-up", wish).json()
    assert (told["enabled"], told["threshold_usd"], told["paused_reason"]) == (True, "2.0000", None)
    assert door.get("/auto-top-up").json() == told
    assert door.delete("/payment-method").status_code == 204
    assert fakestripe.all("payment_method")[0]["customer"] is None
    assert door.get("/auto-top-up").json()["paused_reason"] == "no_saved_card"
    assert code_of(door.delete("/payment-method")) == (404, "payment_method_not_found")
    assert door.delete("/auto-top-up").status_code == 204
    assert door.get("/auto-top-up").json()["enabled"] is False


def test_declined_card_is_a_402(door: Door, fakestripe: FakeStripe, deliver: Deliver) -> None:
    pay(fakestripe, door.post("/top-ups", {"amount_usd": "5", "save_card": True}).json(), deliver)
    fakestripe.set_card(fakestripe.all("payment_method")[0]["id"], "card_declined")
    assert code_of(door.post("/top-ups", {"amount_usd": "5", "method": "saved_card"})) == (402, "card_declined")
    newest = door.get("/top-ups?limit=1").json()
    assert (newest["data"][0]["status"], newest["has_more"]) == ("failed", True)


def test_idempotency_key(door: Door, fakestripe: FakeStripe) -> None:
    body = {"amount_usd": "5"}
    first = door.post("/top-ups", body, idempotency_key="once")
    assert door.post("/top-ups", body, idempotency_key="once").json() == first.json()
    changed = door.post("/top-ups", {"amount_usd": "6"}, idempotency_key="once")
    assert code_of(changed) == (409, "idempotency_key_reused")
    assert code_of(door.post("/top-ups", body, idempotency_key="k" * 256)) == (400, "invalid_idempotency_key")
    assert TopUp.objects.count() == 1


def test_what_moves_money_needs_a_key(door: Door, fakestripe: FakeStripe, deliver: Deliver) -> None:
    assert door.api.post(door.base + "/top-ups", {"amount_usd": "5"}, door.token).status_code == 201
    charge = door.api.post(door.base + "/top-ups", {"amount_usd": "5", "method": "saved_card"}, door.token)
    assert code_of(charge) == (400, "missing_idempotency_key")
    made = TopUp.objects.get()
    pay(fakestripe, {"id": made.id}, deliver)
    refund = door.api.post(f"{door.base}/top-ups/{made.id}/refund", None, door.token)
    assert code_of(refund) == (400, "missing_idempotency_key")
    first = door.post(f"/top-ups/{made.id}/refund", {"amount_usd": "1"}, idempotency_key="once")
    assert door.post(f"/top-ups/{made.id}/refund", {"amount_usd": "1"}, idempotency_key="once").json() == first.json()
    assert len(fakestripe.all("refund")) == 1


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_parameter", "amount_usd"),
        ({"amount_usd": 5}, "invalid_type", "amount_usd"),
        ({"amount_usd": "much"}, "invalid_type", "amount_usd"),
        ({"amount_usd": "-5"}, "invalid_type", "amount_usd"),
        ({"amount_usd": "5.001"}, "invalid_amount", "amount_usd"),
        ({"amount_usd": "4.99"}, "invalid_amount", "amount_usd"),
        ({"amount_usd": "500.01"}, "invalid_amount", "amount_usd"),
        ({"amount_usd": "5", "method": "cash"}, "invalid_type", "method"),
        ({"amount_usd": "5", "save_card": "yes"}, "invalid_type", "save_card"),
    ],
)
def test_what_cannot_be_bought(door: Door, fakestripe: FakeStripe, body: Any, code: str, param: str) -> None:
    response = door.post("/top-ups", body)
    assert (response.status_code, error_of(response)["code"], error_of(response)["param"]) == (400, code, param)
    assert not TopUp.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil.example/",
        "https://evil.example\\@app.example.com/",
        "http://app.example.com/",
        "https://app.example.com:8443/",
        "//app.example.com/",
        "/relative",
        "javascript://app.example.com/%0aalert(1)",
        "https://app.example.com/ x",
        "https://app.example.com/\\evil",
        "https://evil.example#https://app.example.com/",
    ],
)
def test_nobody_is_sent_elsewhere(door: Door, fakestripe: FakeStripe, url: str) -> None:
    response = door.post("/top-ups", {"amount_usd": "5", "return_url": url})
    assert code_of(response) == (400, "return_url_not_allowed")


def test_own_pages_may_be_gone_back_to(door: Door, fakestripe: FakeStripe, settings: Any) -> None:
    assert door.post("/top-ups", {"amount_usd": "5", "return_url": "http://testserver/x"}).status_code == 201
    settings.PUBLIC_BASE_URL = "https://ai.example.com"
    assert door.post("/top-ups", {"amount_usd": "5", "return_url": "https://ai.example.com/"}).status_code == 201
    session = fakestripe.all("checkout.session")[-1]
    assert session["success_url"].startswith("https://ai.example.com/top-ups/top_")


def test_strangers_find_nothing(door: Door, fakestripe: FakeStripe, deliver: Deliver) -> None:
    made = door.post("/top-ups", {"amount_usd": "5", "save_card": True}).json()
    pay(fakestripe, made, deliver)
    developer_id, _, token = make_stranger()
    other_user = door.api.world.new_session("eve").token
    base, mine = f"/v1/developers/{developer_id}", f"/top-ups/{made['id']}"
    for base, token_ in ((f"/v1/developers/{developer_id}", token), ("/v1/user", other_user)):
        assert door.api.get(base + "/top-ups", token_).json()["data"] == []
        assert code_of(door.api.get(base + mine, token_)) == (404, "top_up_not_found")
        assert code_of(door.api.post(f"{base}{mine}/refund", None, token_)) == (404, "top_up_not_found")
        assert code_of(door.api.get(base + "/payment-method", token_)) == (404, "payment_method_not_found")
        assert door.api.get(base + "/auto-top-up", token_).json()["enabled"] is False
    if door.developer:
        for path in ("/top-ups", mine, "/auto-top-up", "/payment-method"):
            assert code_of(door.get(path, token=token)) == (404, "developer_not_found")
        assert code_of(door.post("/top-ups", {"amount_usd": "5"}, token=token)) == (404, "developer_not_found")
        assert code_of(door.post(f"{mine}/refund", token=token)) == (404, "developer_not_found")
    assert code_of(door.get("/top-ups/top_%00")) == (404, "top_up_not_found")
    assert code_of(door.get("/top-ups", token=None))[0] == 401


def test_scopes_of_developer_tokens(api: Api, fakestripe: FakeStripe) -> None:
    path = f"/v1/developers/{api.developer_id}/top-ups"
    reader = make_developer_token(api.developer_id, [Scope.BILLING_READ])
    assert api.get(path, reader).status_code == 200
    assert code_of(api.post(path, {"amount_usd": "5"}, reader)) == (403, "insufficient_scope")
    other = make_developer_token(api.developer_id, [Scope.USAGE_READ])
    assert code_of(api.get(path, other)) == (403, "insufficient_scope")


def test_keys_and_anonymous_sessions_buy_nothing(api: Api, fakestripe: FakeStripe) -> None:
    key = api.world.virtual_key()
    assert code_of(api.post("/v1/user/top-ups", {"amount_usd": "5"}, key)) == (403, "end_user_required")
    update_app(app_id=api.app_id, anonymous_allowance=20_000_000, now=now(), actor=ACTOR)
    api.fund_allowance("1")
    proof = {"public_app_id": api.public_id, "device_id": "a-device-that-nobody-knows"}
    session = api.post("/v1/sessions", proof, origin=ORIGIN)
    assert session.status_code == 201, session.content
    token = session.json()["session_token"]
    assert code_of(api.post("/v1/user/top-ups", {"amount_usd": "5"}, token)) == (403, "proof_required")
    assert api.get("/v1/user/top-ups", token).json()["data"] == []


def test_purchases_are_counted(door: Door, fakestripe: FakeStripe, settings: Any) -> None:
    settings.TOP_UP_RATE = "2/hour"
    addresses.forget()
    for _ in range(2):
        assert door.post("/top-ups", {"amount_usd": "5"}).status_code == 201
    response = door.post("/top-ups", {"amount_usd": "5"})
    assert code_of(response) == (429, "rate_limited")
    assert int(response["retry-after"]) > 0


def test_payments_off(door: Door, settings: Any) -> None:
    settings.STRIPE_ENABLED = False
    assert code_of(door.post("/top-ups", {"amount_usd": "5"})) == (503, "payments_off")
    assert door.get("/top-ups").json()["data"] == []
    assert door.api.get(door.wallet, door.token).json()["top_up"]["enabled"] is False


def test_wallet_says_what_may_be_bought(door: Door, fakestripe: FakeStripe, settings: Any) -> None:
    settings.TOP_UP_PRESETS_USD, settings.TOP_UP_MIN_USD, settings.TOP_UP_MAX_USD = (20, 1, 5, 5, 900), 5, 500
    assert door.api.get(door.wallet, door.token).json()["top_up"] == {
        "enabled": True,
        "presets_usd": ["5.0000", "20.0000"],
        "min_usd": "5.0000",
        "max_usd": "500.0000",
    }


def test_stripe_out_of_reach_is_a_503(door: Door, fakestripe: FakeStripe) -> None:
    fakestripe.fail_next("error", method="POST", path="/v1/checkout/sessions")
    response = door.post("/top-ups", {"amount_usd": "5"})
    assert code_of(response) == (503, "stripe_unreachable")
    assert "retry-after" in response.headers
