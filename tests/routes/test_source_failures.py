"""From one source to the next: keys that fail, and keys that terms, consent or their owner keep from a call."""

from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import update_offer, update_provider
from apps.core.clock import now
from apps.features.services.apps import set_app_terms
from apps.features.services.terms import TermsInput
from tests.live import ACTOR, MODEL, World
from tests.provider_double import NAMED, Behaviour, ProviderDouble
from tests.routes.conftest import Notice

BY: dict[str, Any] = {"actor": ACTOR}
USER, DEVELOPER, PLATFORM = "sk-user-1", "sk-developer-1", "sk-double-0"
FEE, GATEWAY_FEE = 1_500_000, 700_000


def set_terms(world: World, **terms: Any) -> None:
    values = {"markup_bps": 4_000, "share_bps": 4_000, "byok_fee": FEE, "gateway_fee": GATEWAY_FEE, **terms}
    set_app_terms(app_id=world.app_id, terms=TermsInput(**values), now=now(), **BY)


FAILING = {
    "401": (Behaviour(status=401), "provider_auth_failed", 502),
    "429": (Behaviour(status=429, retry_after="3"), "provider_rate_limited", 429),
    "402": (Behaviour(status=402), "provider_out_of_credit", 502),
    "timeout": (Behaviour(**NAMED["stall-before"]), "provider_timeout_first_byte", 502),
    "broken": (Behaviour(**NAMED["close-before"]), "provider_broke_off", 502),
}


@pytest.mark.parametrize(
    ("how", "fallback"), [*((how, True) for how in FAILING), *((how, False) for how in ("401", "429"))]
)
def test_platform_serves_when_the_developers_key_fails_if_that_is_allowed(
    world: World, double: ProviderDouble, noticed: Notice, how: str, fallback: bool
) -> None:
    behaviour, code, status = FAILING[how]
    world.manifest(routing={"policy": "developer_key_first", "platform_fallback": fallback})
    developers = world.key("developer", DEVELOPER)
    double.by_key[DEVELOPER] = behaviour
    noticed()
    answer = world.chat()
    event = world.event(answer)
    assert [attempt["code"] for attempt in event.attempts] == [code]
    assert event.attempts[0]["credential_id"] == developers
    if fallback:
        assert (answer.status_code, event.route_mode) == (200, "platform")
        assert double.keys_used() == [DEVELOPER, PLATFORM]
        assert [target["mode"] for target in event.routing["targets"]] == ["developer_key", "platform"]
        return
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (event.outcome, event.route_mode, event.price_nano) == ("not_served", "developer_key", 0)
    assert double.keys_used() == [DEVELOPER]
    rejected = {(entry["mode"], entry["reason"]) for entry in event.routing["rejected"]}
    assert rejected == {("platform", "platform_fallback_off")}
    assert answer.headers.get("retry-after") == ("3" if how == "429" else None)
    assert world.balance().held == 0


def test_each_source_that_is_exhausted_gives_way_to_the_next(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    world.manifest(routing={"policy": "byok_first"})
    own, developers = world.key("end_user", USER), world.key("developer", DEVELOPER)
    world.acknowledge()
    noticed()
    double.by_key[USER] = Behaviour(status=429, retry_after="60")
    double.by_key[DEVELOPER] = Behaviour(status=402)
    answer = world.chat()
    event = world.event(answer)
    assert (answer.status_code, event.route_mode) == (200, "platform")
    assert [(a["credential_id"], a["code"]) for a in event.attempts] == [
        (own, "provider_rate_limited"),
        (developers, "provider_out_of_credit"),
    ]
    assert "cred_" not in answer.text
    assert world.chat().status_code == 200
    assert double.keys_used().count(USER) == 1  # it said for how long
    reasons = {(entry["mode"], entry["reason"]) for entry in world.event(answer).routing["rejected"]}
    assert reasons == set()


def test_virtual_key_uses_its_developers_line_and_credit(world: World, double: ProviderDouble, noticed: Notice) -> None:
    world.manifest(routing={"policy": "byok_first"})
    world.key("developer", DEVELOPER)
    world.key("end_user", USER)
    world.token = world.virtual_key(usd="1")
    noticed()
    answer = world.chat()
    assert answer.headers["x-modelfaucet-route-mode"] == "developer_key"  # nobody's own key is a virtual key's
    assert double.keys_used() == [DEVELOPER]


def test_keys_of_others_are_never_used(world: World, double: ProviderDouble, noticed: Notice) -> None:
    world.manifest(routing={"policy": "byok_first"})
    other = world.new_session("bob", usd="1")
    other.key("end_user", "sk-bob")
    other.acknowledge()
    noticed()
    assert world.chat().headers["x-modelfaucet-route-mode"] == "platform"
    assert other.chat().headers["x-modelfaucet-route-mode"] == "byok"
    assert double.keys_used() == [PLATFORM, "sk-bob"]


def test_provider_that_forbids_resale_is_called_with_others_keys_only(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    update_provider("double-0", resale_allowed=False, now=now(), **BY)
    noticed()
    for stream in (False, True):
        refused = world.chat(stream=stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "provider_terms")
    rejected = refused.json()["error"]["details"]["rejected"]
    assert {"candidate": f"double-0/{MODEL}", "mode": "platform", "reason": "resale_not_allowed"} in rejected
    assert not double.requests
    assert world.balance().held == 0
    assert httpx.get(f"{world.base_url}/v1/models/{MODEL}", headers=world.headers(), timeout=10).status_code == 404
    world.manifest(routing={"policy": "byok_first"})
    world.key("end_user", USER)
    world.acknowledge()
    noticed()
    listed = httpx.get(f"{world.base_url}/v1/models/{MODEL}", headers=world.headers(), timeout=10)
    assert listed.json()["route_modes"] == ["byok"]
    double.by_key[USER] = Behaviour(status=401)
    failed = world.chat()
    assert failed.status_code == 502
    assert double.keys_used() == [USER]  # not even as a last resort
    double.by_key.clear()
    update_provider("double-0", byok_allowed=False, now=now(), **BY)
    noticed()
    rejected = world.chat().json()["error"]["details"]["rejected"]
    assert {entry["reason"] for entry in rejected if entry["mode"] == "byok"} == {"byok_not_allowed"}
    assert double.keys_used() == [USER]


def test_unpriced_model_is_served_with_own_keys_only(world: World, double: ProviderDouble, noticed: Notice) -> None:
    from apps.catalog.services.offers import add_model, add_offer

    by: dict[str, Any] = {"now": now(), **BY}
    add_model(id="free-of-price", name="x", **by)
    offer = add_offer(provider="double-0", model="free-of-price", upstream_model="m", capabilities=("chat",), **by)
    update_offer(offer, tokenizer="o200k_base", **by)
    set_terms(world)
    world.manifest(routing={"policy": "byok_first"})
    world.key("end_user", USER)
    noticed()
    refused = world.chat(model="free-of-price")
    assert refused.status_code in (400, 403)
    world.acknowledge()
    noticed()
    answer = world.chat(model="free-of-price")
    assert (answer.status_code, double.keys_used()) == (200, [USER])
    event = world.event(answer)
    assert (event.price_nano, event.provider_bill_nano) == (FEE, 0)
