"""GET /v1/models and POST /v1/estimate: what a token may call, and what it would cost."""

from typing import Any

import httpx

from apps.catalog.queries import PriceTier
from apps.catalog.services.offers import add_model, add_offer
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.queries import features_of_app
from apps.features.services.features import update_feature
from tests.live import ACTOR, World, wait_until
from tests.provider_double import ProviderDouble
from tests.settlement.asking import ask


def listed(world: World, path: str = "/v1/models") -> Any:
    response = httpx.get(f"{world.base_url}{path}", headers=world.headers())
    assert response.headers["x-request-id"]
    return response.json()


def add(world: World, name: str, *, priced: bool = True) -> None:
    add_model(id=name, name=name, now=now(), actor=ACTOR)
    offer = add_offer(
        provider="double-0",
        model=name,
        upstream_model=f"up-{name}",
        capabilities=("chat",),
        context_window=128_000,
        max_output_tokens=50,
        now=now(),
        actor=ACTOR,
    )
    if priced:
        tiers = [PriceTier(0, 10**9, 10**8, 10**9, 10**10), PriceTier(100_000, 2 * 10**9, 10**8, 10**9, 10**10)]
        publish_price(offer, tiers, now(), "test", now=now(), actor=ACTOR)


def test_models_are_listed_with_their_prices(world: World) -> None:
    add(world, "unpriced", priced=False)
    add(world, "vendor/tiered")
    wait_until(lambda: len(listed(world)["data"]) == 2, 1)
    models = {model["id"]: model for model in listed(world)["data"]}
    assert models.keys() == {"test-model", "vendor/tiered"}
    tiered = models["vendor/tiered"]
    assert (tiered["object"], tiered["owned_by"], tiered["context_window"]) == ("model", "double-0", 128_000)
    assert [tier["from_tokens"] for tier in tiered["pricing"]["tiers"]] == [0, 100_000]
    assert tiered["pricing"]["tiers"][0]["output"] == "10.0000"
    assert listed(world, "/v1/models/vendor/tiered") == tiered
    assert listed(world, "/v1/models/unpriced")["error"]["code"] == "model_not_found"
    assert listed(world, "/v1/models/none")["error"]["code"] == "model_not_found"


def test_models_outside_the_feature_are_not_listed(world: World) -> None:
    add(world, "other")
    feature = features_of_app(world.app_id)[0]
    update_feature(feature_id=feature.id, models=["other"], default_model="other", now=now(), actor=ACTOR)
    wait_until(lambda: [model["id"] for model in listed(world)["data"]] == ["other"], 1)
    assert listed(world, "/v1/models/test-model")["error"]["code"] == "model_not_found"


def test_stranger_gets_neither_models_nor_estimates(world: World) -> None:
    for method, path in (("GET", "/v1/models"), ("GET", "/v1/models/test-model"), ("POST", "/v1/estimate")):
        response = httpx.request(method, f"{world.base_url}{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (401, "missing_token")


def test_served_model_and_limit_are_the_offers(world: World, double: ProviderDouble) -> None:
    add(world, "other")
    wait_until(lambda: len(listed(world)["data"]) == 2, 1)
    answered = ask(world, stream=False, model="other")
    assert double.requests[0].body["model"] == "up-other"
    assert double.requests[0].body["max_tokens"] == 50
    assert answered.headers["x-modelfaucet-served-model"] == "up-other"
    event = answered.event()
    assert (event.requested_model, event.served_model) == ("other", "up-other")


def test_estimate_covers_what_the_call_then_costs(world: World, double: ProviderDouble) -> None:
    add(world, "vendor/tiered")
    wait_until(lambda: len(listed(world)["data"]) == 2, 1)
    texts = ["Hello", "你好，世界。" * 20, "word " * 500, "🙂" * 300]
    for model in ("test-model", "vendor/tiered"):
        for text in texts:
            body = {**world.body(text), "model": model, "max_tokens": 40}
            response = httpx.post(f"{world.base_url}/v1/estimate", json=body, headers=world.headers())
            estimate = response.json()
            answered = ask(world, text, stream=False, model=model, max_tokens=40)
            assert nano_from_usd(answered.price_usd) <= nano_from_usd(estimate["max_price_usd"])
            assert double.requests[-1].usage["prompt_tokens"] <= estimate["prompt_tokens"]
