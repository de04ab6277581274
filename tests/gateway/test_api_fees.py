from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from apps.catalog.services.offers import add_provider
from apps.core.clock import now
from apps.features.services.apps import set_app_terms, update_app
from apps.features.services.terms import TermsInput
from apps.vault.models import FeeConsent
from apps.vault.queries import consents_of
from tests.core.answering import Answering, answer
from tests.gateway.api_factories import Api, make_api
from tests.gateway.test_api_provider_keys import KEYS, SECRET, session
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
FEES, CONSENTS = "/v1/user/fees", "/v1/user/fee-consents"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def charge(api: Api, **fees: int) -> None:
    set_app_terms(app_id=api.app_id, terms=TermsInput(**fees), now=now(), actor=ACTOR)


def fee(api: Api, mode: str, **headers: str) -> Any:
    found = api.get(FEES, api.world.token, **headers).json()["fees"]
    return next(entry for entry in found if entry["mode"] == mode)


def test_fees_are_told_before_they_are_charged(api: Api) -> None:
    charge(api, byok_fee=1_500_000, local_fee=0)
    told = fee(api, "byok")
    assert {name: told[name] for name in ("type", "per", "fee_usd", "acknowledged")} == {
        "type": "gateway_fee",
        "per": "request",
        "fee_usd": "0.0015",
        "acknowledged": False,
    }
    assert "0.0015 USD" in told["text"]
    assert "charges nothing" in fee(api, "local")["text"]
    chinese = {"accept-language": "zh-CN,zh;q=0.9,en;q=0.5"}
    assert "0.0015 美元" in fee(api, "byok", **chinese)["text"]
    assert "0.0015 USD" in fee(api, "byok", **{"accept-language": "de"})["text"]


def test_providers_say_what_becomes_of_data(api: Api) -> None:
    fields: dict[str, Any] = {"base_url": "https://api.example.com/v1", "resale_allowed": False}
    fields |= {"now": now(), "actor": ACTOR}
    add_provider(id="learns", name="Learns", trains_on_data=True, notice="Not for minors.", **fields)
    add_provider(id="closed", name="Closed", trains_on_data=False, byok_allowed=False, **fields)
    told = {entry["id"]: entry for entry in api.get(FEES, api.world.token).json()["providers"]}
    assert "closed" not in told
    assert told["learns"]["trains_on_data"] is True
    assert told["learns"]["notice"] == "Learns may use what you send it to train its models. Not for minors."
    own = next(entry for entry in told.values() if not entry["trains_on_data"])
    assert "does not use" in own["notice"]


def test_fee_is_acknowledged_as_it_is(api: Api) -> None:
    charge(api, byok_fee=1_500_000)
    answered = api.post(CONSENTS, {"mode": "byok", "fee_usd": "0.0015"}, api.world.token)
    assert answered.status_code == 201
    assert answered.json()["text"] == fee(api, "byok")["text"] == FeeConsent.objects.get().text
    assert fee(api, "byok")["acknowledged"] is True
    assert consents_of(api.world.end_user_id) == {"byok": 1_500_000}

    charge(api, byok_fee=2_000_000)
    assert fee(api, "byok")["acknowledged"] is False
    stale = api.post(CONSENTS, {"mode": "byok", "fee_usd": "0.0015"}, api.world.token)
    assert stale.status_code == 409
    error = stale.json()["error"]
    assert (error["code"], error["details"]["fee_usd"]) == ("fee_changed", "0.0020")
    charge(api, byok_fee=1_000_000)
    assert fee(api, "byok")["acknowledged"] is True  # who agreed to more agreed to less


def test_no_fee_is_acknowledged_too(api: Api) -> None:
    assert fee(api, "local")["acknowledged"] is False
    assert api.post(CONSENTS, {"mode": "local", "fee_usd": "0"}, api.world.token).status_code == 201
    assert fee(api, "local")["acknowledged"] is True
    assert fee(api, "byok")["acknowledged"] is False


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "mode"),
        ({"mode": "platform", "fee_usd": "0"}, "mode"),
        ({"mode": "byok"}, "fee_usd"),
        ({"mode": "byok", "fee_usd": 0}, "fee_usd"),
        ({"mode": "byok", "fee_usd": "-1"}, "fee_usd"),
    ],
)
def test_request_that_cannot_be_acted_on(api: Api, body: Any, param: str) -> None:
    response = api.post(CONSENTS, body, api.world.token)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_who_is_asked(api: Api) -> None:
    body = {"mode": "byok", "fee_usd": "0"}
    for token, status, code in (
        (api.world.virtual_key(usd="1"), 403, "end_user_required"),
        (api.developer_token, 401, "invalid_token"),
        (None, 401, "missing_token"),
    ):
        for response in (api.get(FEES, token), api.post(CONSENTS, body, token)):
            assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    update_app(app_id=api.app_id, anonymous_allowance=1, now=now(), actor=ACTOR)
    device = session(api, user="device", assurance="anonymous")
    assert api.post(CONSENTS, {"mode": "local", "fee_usd": "0"}, device).status_code == 201
    # What one end user acknowledged is not another's consent.
    assert fee(api, "local")["acknowledged"] is False


def test_key_and_consent_in_one(api: Api, settings: Settings) -> None:
    charge(api, byok_fee=1_500_000)
    with Answering(answer(200)) as server:
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{server.port}",)
        add_provider(
            id="local",
            name="Local",
            base_url=f"http://127.0.0.1:{server.port}/v1",
            resale_allowed=False,
            trains_on_data=False,
            now=now(),
            actor=ACTOR,
        )
        body = {"provider": "local", "secret": SECRET}
        wrong = api.post(KEYS, {**body, "acknowledge_fee_usd": "0.0014"}, api.world.token)
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "fee_changed")
        assert api.get(KEYS, api.world.token).json()["data"] == []
        assert server.connections == 0
        right = api.post(KEYS, {**body, "acknowledge_fee_usd": "0.0015"}, api.world.token)
        assert right.json()["fee"]["acknowledged"] is True
    assert consents_of(api.world.end_user_id) == {"byok": 1_500_000}
