"""Which model and provider serve a call: chains, rules, `auto`, wishes and the policies that compare."""

from typing import Any

import pytest

from apps.catalog.queries import PriceTier
from apps.catalog.services.offers import update_offer, update_provider
from apps.core.clock import now
from apps.core.money import nano_from_usd
from tests.live import ACTOR, MODEL, World, rate_all
from tests.provider_double import Behaviour, ProviderDouble
from tests.routes.conftest import Notice
from tests.routes.doors import DOORS, MESSAGES, RESPONSES, open_doors, serve

DEAR = PriceTier(0, input=9 * 10**9, cache_read=10**9, cache_write=9 * 10**9, output=90 * 10**9)
CHEAP = PriceTier(0, input=10**9, cache_read=10**8, cache_write=10**9, output=2 * 10**9)
CHAIN = ("second-model", "third-model", "simple-model")


def chain(world: World, double: ProviderDouble) -> None:
    """Offer three more models, each by a provider of its own."""
    for number, model in enumerate(CHAIN, 1):
        serve(world, model, f"provider-{number}", double.base_url)


def event(world: World, answer: Any) -> Any:
    return world.event(answer)


def models_asked(double: ProviderDouble) -> list[str]:
    return [recorded.body["model"] for recorded in double.requests]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_chain_is_tried_in_order_and_every_attempt_recorded(
    world: World, double: ProviderDouble, noticed: Notice, stream: bool
) -> None:
    chain(world, double)
    world.manifest(routing={"fallback_models": CHAIN[:2], "degraded_model": CHAIN[2]})
    noticed()
    double.script("status-500", "rate-limited", "html", "normal")
    answer = world.chat(stream=stream)
    assert answer.status_code == 200
    assert models_asked(double) == [MODEL, *CHAIN]
    assert answer.headers["x-modelfaucet-served-model"] == "simple-model"
    assert answer.headers["x-modelfaucet-degraded"] == "true"
    found = event(world, answer)
    assert [(a["provider"], a["model"], a["code"], a["status"]) for a in found.attempts] == [
        ("double-0", MODEL, "provider_error", 500),
        ("provider-1", "second-model", "provider_rate_limited", 429),
        ("provider-2", "third-model", "provider_error", 502),
    ]
    assert (found.degraded, found.served_model, found.requested_model) == (True, "simple-model", MODEL)
    assert found.routing["targets"][-1] == {
        "candidate": "provider-3/simple-model",
        "mode": "platform",
        "degraded": True,
    }
    double.script("status-500", "normal")
    answer = world.chat(stream=stream)  # the first two or three circuits may be open by now: the third has not failed
    assert "x-modelfaucet-degraded" not in answer.headers
    assert event(world, answer).degraded is False


def test_chain_that_fails_from_end_to_end_names_every_attempt_and_is_free(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    chain(world, double)
    world.manifest(routing={"fallback_models": CHAIN})
    noticed()
    double.default = Behaviour(status=500)
    before = world.balance()
    answer = world.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_error")
    attempts = answer.json()["error"]["details"]["attempts"]
    assert [attempt["provider"] for attempt in attempts] == ["double-0", "provider-1", "provider-2", "provider-3"]
    assert len(event(world, answer).attempts) == 4
    assert world.balance() == before
    assert "cred_" not in answer.text


def test_chain_and_auto_pass_over_who_forbids_resale(
    world: World, double: ProviderDouble, second: ProviderDouble, noticed: Notice
) -> None:
    serve(world, "forbidden-model", "forbidden", second.base_url, resale_allowed=False, tier=CHEAP, quality=999)
    serve(world, MODEL, "forbidden", second.base_url, priority=-5)
    serve(world, "third-model", "provider-2", double.base_url)
    world.manifest(routing={"fallback_models": ["forbidden-model", "third-model"], "degraded_model": "forbidden-model"})
    noticed()
    double.default = Behaviour(status=500)
    for more in ({}, {"model": "auto"}, {"modelfaucet": {"policy": "cheapest_sufficient"}}, {"stream": True}):
        answer = world.chat(**more)  # even where everybody else fails, and circuits are open
        assert answer.status_code == 502
        rejected = event(world, answer).routing["rejected"]
        assert {entry["candidate"] for entry in rejected if entry["reason"] == "resale_not_allowed"} >= {
            "forbidden/forbidden-model"
        }
    assert not second.requests
    refused = world.chat(model="forbidden-model")
    assert refused.status_code == 502  # its fallbacks are tried
    assert not second.requests


def test_what_the_caller_did_wrong_is_not_tried_elsewhere(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    chain(world, double)
    world.manifest(routing={"fallback_models": CHAIN})
    noticed()
    double.default = Behaviour(status=400)
    answer = world.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "provider_rejected_request")
    assert len(double.requests) == 1


def test_rules_are_tried_in_order(world: World, double: ProviderDouble, noticed: Notice) -> None:
    chain(world, double)
    world.manifest(
        routing={
            "rules": [
                {"when": {"stream": True, "min_chars": 200}, "use": ["third-model"]},
                {"when": {"stream": True}, "use": ["second-model"]},
                {"when": {"task_class": "code"}, "use": ["simple-model"], "policy": "quality_first"},
            ]
        }
    )
    noticed()
    asked: list[tuple[dict[str, Any], str, int | None, str]] = [
        ({"text": "Say hello", "stream": True}, "second-model", 1, "platform_pool"),
        ({"text": "x" * 300, "stream": True}, "third-model", 0, "platform_pool"),
        ({"text": "Write a Python function that sorts a list"}, "simple-model", 2, "quality_first"),
        ({"text": "Say hello"}, MODEL, None, "platform_pool"),
    ]
    for body, model, rule, policy in asked:
        answer = world.chat(**body)
        assert answer.headers["x-modelfaucet-served-model"] == model
        found = event(world, answer)
        assert (found.routing.get("rule"), found.policy, found.requested_model) == (rule, policy, MODEL)


def test_auto_picks_by_the_class_of_the_task(world: World, double: ProviderDouble, noticed: Notice) -> None:
    update_offer(world.offers[0], quality=650, now=now(), actor=ACTOR)
    serve(world, "cheap-model", "cheap", double.base_url, tier=CHEAP, quality=750)
    serve(world, "best-model", "best", double.base_url, tier=DEAR, quality=950)
    noticed()
    for text, task_class, model in (
        ("Summarize this article in three sentences: the sun rose.", "summary", "cheap-model"),
        ("Write a Python function that reverses a string.", "code", "best-model"),
        ("把下面的文章总结成三句话：太阳升起来了。", "summary", "cheap-model"),
    ):
        answer = world.chat(text, model="auto")
        assert answer.headers["x-modelfaucet-served-model"] == model
        found = event(world, answer)
        assert (found.requested_model, found.served_model, found.task_class) == ("auto", model, task_class)
        assert len(found.routing["targets"]) == 3
    world.manifest(routing={"models_for": {"code": "cheap-model"}})
    noticed()
    answer = world.chat("Write a Python function that reverses a string.", model="auto")
    assert answer.headers["x-modelfaucet-served-model"] == "cheap-model"
    assert event(world, answer).manifest_id is not None


def wishes(**wish: Any) -> list[dict[str, Any]]:
    """Return a wish as a member of the body and as headers."""
    texts = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in wish.items()}
    return [
        {"modelfaucet": wish},
        {"headers": {f"x-modelfaucet-{name.replace('_', '-')}": text for name, text in texts.items()}},
    ]


def test_wishes_bind_and_reach_no_provider(
    world: World, double: ProviderDouble, second: ProviderDouble, noticed: Notice
) -> None:
    update_offer(world.offers[0], quality=500, now=now(), actor=ACTOR)
    serve(world, MODEL, "dear", second.base_url, tier=DEAR, quality=900, capabilities=("chat", "stream", "json"))
    noticed()

    def served_by(**body: Any) -> str:
        answer = world.chat(max_tokens=50, **body)
        assert answer.status_code == 200, answer.text
        return event(world, answer).provider

    assert served_by() == "double-0"
    for wish in wishes(min_quality=0.8) + wishes(require=["json"]) + wishes(policy="quality_first"):
        assert served_by(**wish) == "dear"
    for wish in wishes(policy="cheapest_sufficient") + wishes(max_price_usd="0.01"):
        assert served_by(**wish) == "double-0"
    for provider in (double, second):
        for recorded in provider.requests:
            assert b"modelfaucet" not in recorded.raw_body
            assert not any("modelfaucet" in name for name in recorded.headers)
            assert "modelfaucet" not in recorded.body
    count = len(double.requests) + len(second.requests)
    refusals: list[tuple[list[dict[str, Any]], int, str]] = [
        (wishes(max_price_usd="0.0000001"), 402, "max_price_exceeded"),
        (wishes(min_quality=0.95), 400, "quality_floor"),
        (wishes(require=["audio"]), 400, "capability_missing"),
        (wishes(policy="whatever"), 400, "invalid_type"),
        (wishes(max_price_usd="much"), 400, "invalid_type"),
        (wishes(require=["magic"]), 400, "invalid_type"),
        ([{"modelfaucet": {"unknown": 1}}, {"modelfaucet": [1]}], 400, "invalid_type"),
    ]
    for each, status, code in refusals:
        for wish in each:
            answer = world.chat(**wish)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), wish
    assert len(double.requests) + len(second.requests) == count
    rate_all()
    assert world.balance().held == 0


def test_price_ceiling_is_what_a_call_can_cost_at_most(world: World, double: ProviderDouble, noticed: Notice) -> None:
    noticed()
    estimate = RESPONSES  # any door: the most is the same for the same prompt
    assert estimate.call(world).status_code == 200
    import httpx

    asked = httpx.post(f"{world.base_url}/v1/estimate", json=world.body("Say hello"), headers=world.headers())
    most = nano_from_usd(asked.json()["max_price_usd"])
    from apps.core.money import usd

    assert world.chat(headers={"x-modelfaucet-max-price-usd": usd(most)}).status_code == 200
    refused = world.chat(headers={"x-modelfaucet-max-price-usd": usd(most - 1)})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "max_price_exceeded")
    world.manifest(routing={"max_price_usd": usd(most - 1)})
    noticed()
    assert world.chat(headers={"x-modelfaucet-max-price-usd": usd(most)}).status_code == 402  # the stricter counts


def test_wishes_count_at_every_door(world: World, double: ProviderDouble, noticed: Notice) -> None:
    open_doors(world, double.base_url)
    noticed()
    wish = {"max_price_usd": "0.000000001"}
    for door in DOORS:
        for more in ({"modelfaucet": wish}, {"headers": {"x-modelfaucet-max-price-usd": wish["max_price_usd"]}}):
            assert door.error(door.call(world, **more))[::2] == (402, "max_price_exceeded")
    assert not double.requests and not double.embeddings


def test_latency_first_takes_the_fastest_as_observed(
    world: World, double: ProviderDouble, second: ProviderDouble, noticed: Notice
) -> None:
    serve(world, MODEL, "other", second.base_url)
    world.manifest(routing={"policy": "latency_first"})
    noticed()
    double.default = Behaviour(delay=0.15)
    seen = [event(world, world.chat()).provider for _ in range(6)]
    assert sorted(seen[:2]) == ["double-0", "other"]  # what was never measured is tried
    assert seen[2:] == ["other"] * 4
    double.default, second.default = Behaviour(), Behaviour(delay=0.3)
    later = [event(world, world.chat()).provider for _ in range(12)]
    assert later[-1] == "double-0"  # an average that moves


def test_messages_and_responses_get_chains_and_flags_too(world: World, double: ProviderDouble, noticed: Notice) -> None:
    chain(world, double)
    world.manifest(routing={"degraded_model": "simple-model"})
    noticed()
    for door in (MESSAGES, RESPONSES):
        double.script("status-500", "normal")
        answer = door.call(world)
        assert answer.headers["x-modelfaucet-degraded"] == "true"
        found = event(world, answer)
        assert (found.endpoint, found.degraded, len(found.attempts)) == (door.endpoint, True, 1)


def test_provider_is_named_unless_its_terms_allow_to_leave_it_out(world: World, noticed: Notice) -> None:
    assert world.chat().headers["x-modelfaucet-provider"] == "double-0"
    update_provider("double-0", white_label_allowed=True, now=now(), actor=ACTOR)
    noticed()
    assert "x-modelfaucet-provider" not in world.chat().headers
