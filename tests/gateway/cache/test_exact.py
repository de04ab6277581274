"""Equal requests over real sockets: asked once, answered twice, priced by the manifest."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
from django.core.management import call_command

from apps.catalog.services.offers import disable_provider
from apps.core.clock import now
from apps.core.money import nano_from_usd, usd
from apps.features.services.apps import create_app
from apps.gateway.http import EXPOSED, preflight_headers
from apps.usage.models import UsageCharge
from tests.gateway.cache.caching import HEADER, cached, events_of, text_of, told
from tests.live import ACTOR, MODEL, TERMS, Server, World, differences, heal, make_world, rate_all, wait_until
from tests.provider_double import Behaviour, ProviderDouble
from tests.settlement.asking import ask


@pytest.fixture(autouse=True)
def proven(transactional_db: None) -> Iterator[None]:
    yield
    rate_all()
    assert differences() == []


def prices(world: World) -> list[int]:
    return [event.price_nano for event in events_of(world)]


def test_second_equal_call_is_answered_without_the_provider(world: World, double: ProviderDouble) -> None:
    cached(world)
    first, second = world.chat("What is a faucet?"), world.chat("What is a faucet?")
    assert (told(first), told(second)) == ("miss", "exact")
    assert text_of(first) == text_of(second) == double.requests[0].text
    assert first.json()["usage"] == second.json()["usage"]
    assert first.json()["id"] != second.json()["id"]
    assert len(double.requests) == 1


def test_hit_costs_its_part_and_its_receipt_says_so(world: World) -> None:
    cached(world, hit_price_bps=2_500)
    before = world.balance().available
    full, hit = world.chat("Hello"), world.chat("Hello")
    price = nano_from_usd(full.headers["x-modelfaucet-price-usd"])
    part = (price * 2_500 + 5_000) // 10_000
    assert 0 < part < price
    assert hit.headers["x-modelfaucet-price-usd"] == usd(part)
    asked, kept = events_of(world)
    assert (asked.cache, asked.cache_price_bps, asked.price_nano) == (None, None, price)
    assert (kept.cache, kept.cache_price_bps, kept.price_nano) == ("exact", 2_500, part)
    assert (kept.cost_nano, kept.provider_bill_nano, kept.credential_id, kept.attempts) == (0, 0, "", [])
    same = ("provider", "served_model", "requested_model", "input_tokens", "output_tokens", "finish_reason", "outcome")
    assert [getattr(kept, name) for name in same] == [getattr(asked, name) for name in same]
    assert kept.price_version_id == asked.price_version_id
    rate_all()
    charge = UsageCharge.objects.get(event=kept)
    assert (charge.price_nano, charge.cost_nano) == (part, 0)
    assert charge.developer_nano == (part - charge.payment_nano - charge.infra_nano) * 4_000 // 10_000
    assert world.balance().available == before - price - part


def test_free_hit_is_metered_all_the_same(world: World) -> None:
    cached(world)
    world.chat("Hello")
    hit = world.chat("Hello")
    assert nano_from_usd(hit.headers["x-modelfaucet-price-usd"]) == 0
    event = world.event(hit)
    assert (event.charged, event.price_nano, event.cache) == (True, 0, "exact")
    assert event.output_tokens > 0


def test_hit_is_refused_to_whom_cannot_pay_it(world: World, double: ProviderDouble) -> None:
    cached(world, hit_price_bps=10_000)
    world.chat("Hello")
    poor = world.new_session("poor")
    refused = poor.chat("Hello")
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_funds")
    assert len(double.requests) == 1


def test_full_price_of_a_hit_is_that_of_a_call(world: World) -> None:
    cached(world, hit_price_bps=10_000)
    world.chat("Hello")
    world.chat("Hello")
    assert len(set(prices(world))) == 1


def test_nothing_is_kept_without_a_manifest_that_says_so(world: World, double: ProviderDouble) -> None:
    assert [told(world.chat("Hello")) for _ in range(2)] == [None, None]
    assert len(double.requests) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.5},
        {"max_tokens": 7},
        {"seed": 1},
        {"messages": [{"role": "user", "content": "hello"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"modelfaucet": {"policy": "quality_first"}},
    ],
)
def test_what_an_answer_depends_on_makes_another_request(
    world: World, double: ProviderDouble, other: dict[str, Any]
) -> None:
    cached(world)
    world.chat("Hello")
    assert told(world.chat("Hello", **other)) == "miss"
    assert len(double.requests) == 2


@pytest.mark.parametrize("same", [{"user": "u1"}, {"metadata": {"a": "b"}, "store": False}, {"stream": False}])
def test_what_no_answer_depends_on_makes_none(world: World, double: ProviderDouble, same: dict[str, Any]) -> None:
    cached(world)
    world.chat("Hello")
    assert told(world.chat("Hello", **same)) == "exact"
    assert len(double.requests) == 1


def test_white_space_and_order_of_members_make_no_difference(world: World, double: ProviderDouble) -> None:
    cached(world)
    world.chat("Hello", temperature=1)
    body = json.dumps(dict(reversed(world.body("Hello", temperature=1).items())), indent=3)
    again = httpx.post(f"{world.base_url}/v1/chat/completions", content=body, headers=world.headers(), timeout=30)
    assert told(again) == "exact"
    assert len(double.requests) == 1


def test_a_name_given_twice_is_another_request(world: World, double: ProviderDouble) -> None:
    # Two readers of JSON may differ on which counts: nobody is to plant an answer to what others ask.
    cached(world)
    planted = f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"Say no","content":"Hello"}}]}}'
    url = f"{world.base_url}/v1/chat/completions"
    assert told(httpx.post(url, content=planted, headers=world.headers(), timeout=30)) == "miss"
    assert told(world.chat("Hello")) == "miss"


def test_users_of_a_feature_share_and_another_app_does_not(world: World, double: ProviderDouble) -> None:
    cached(world)
    world.chat("Hello")
    assert told(world.new_session("bob", usd="1").chat("Hello")) == "exact"
    assert len(double.requests) == 1

    stranger = World(
        base_url=world.base_url,
        developer_id=world.developer_id,
        app_id=create_app(
            developer_id=world.developer_id, name="Other", terms=TERMS, default_model=MODEL, now=now(), actor=ACTOR
        ),
    ).new_session("alice", usd="1")
    cached(stranger)
    wait_until(lambda: told(stranger.chat("Hello")) == "miss")
    assert len(double.requests) == 2


def test_another_manifest_is_another_cache(world: World, double: ProviderDouble) -> None:
    cached(world)
    world.chat("Hello")
    first = world.event().manifest_id
    cached(world, ttl_seconds=100)
    wait_until(lambda: told(world.chat("Other")) and events_of(world)[-1].manifest_id != first)
    assert told(world.chat("Hello")) == "miss"


@pytest.mark.parametrize(
    ("headers", "answers", "asked"),
    [
        ({"cache_control": "no-cache"}, ["miss", "exact"], 2),
        ({"cache_control": "max-age=0, No-Store"}, [None, "exact"], 2),
        ({"x_modelfaucet_cache": "off"}, [None, "exact"], 2),
        ({"cache_control": "max-age=0"}, ["exact", "exact"], 1),
    ],
)
def test_request_may_decline_the_cache(
    world: World, double: ProviderDouble, headers: dict[str, str], answers: list[str | None], asked: int
) -> None:
    cached(world)
    world.chat("Hello")
    assert [told(world.chat("Hello", headers=headers)), told(world.chat("Hello"))] == answers
    assert len(double.requests) == asked


def test_no_store_leaves_nothing_behind(world: World, double: ProviderDouble) -> None:
    cached(world)
    world.chat("Hello", headers={"cache_control": "no-store"})
    assert told(world.chat("Hello")) == "miss"


def test_stream_is_answered_with_what_was_no_stream_and_the_other_way_round(
    world: World, double: ProviderDouble
) -> None:
    cached(world, hit_price_bps=5_000)
    whole = ask(world, "One", stream=False)
    streamed = ask(world, "One", stream=True, stream_options={"include_usage": True})
    assert streamed.headers[HEADER] == "exact" and streamed.done
    assert streamed.text == whole.text and streamed.text
    assert len(streamed.events) > 2
    assert streamed.events[-1]["usage"] == whole.events[0]["usage"]
    assert nano_from_usd(streamed.price_usd) == streamed.event().price_nano > 0
    assert all("usage" not in event for event in ask(world, "One", stream=True).events)

    first = ask(world, "Two", stream=True)
    assert first.headers[HEADER] == "miss"
    again = ask(world, "Two", stream=False)
    assert again.headers[HEADER] == "exact"
    assert again.text == first.text and again.text
    assert again.events[0]["choices"][0]["finish_reason"] == "stop"
    event = again.event()
    assert again.events[0]["usage"]["prompt_tokens"] == event.input_tokens + event.cache_read_tokens
    assert len(double.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("behaviour", ["empty", "finish-error", "status-500", "close-within", "content-filter"])
def test_what_is_no_whole_answer_is_not_kept(
    world: World, double: ProviderDouble, behaviour: str, stream: bool
) -> None:
    cached(world)
    double.script(behaviour)
    try:
        ask(world, stream=stream)
    except httpx.RemoteProtocolError:
        pass
    world.wait_for_event()
    heal()
    assert ask(world, stream=stream).headers[HEADER] == "miss"
    assert len(double.requests) == 2


def test_answer_that_funds_cut_short_is_not_kept(world: World, double: ProviderDouble) -> None:
    cached(world)
    poor = world.new_session("poor", usd="0.0008")
    double.script(Behaviour(finish_reason="length"), Behaviour(finish_reason="length"))
    cut = poor.chat("Hello")
    assert "x-modelfaucet-output-cap" in cut.headers
    assert told(world.chat("Hello")) == "miss"  # cut short by nothing but the request itself
    assert told(world.chat("Hello")) == "exact"


def test_equal_calls_at_one_time_ask_the_provider_once(world: World, double: ProviderDouble) -> None:
    cached(world, hit_price_bps=1_000)
    double.script(Behaviour(delay=0.5))
    answers: list[str | None] = []
    threads = [threading.Thread(target=lambda: answers.append(told(world.chat("Hello")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == ["exact"] * 7 + ["miss"]
    assert len(double.requests) == 1


def test_those_who_wait_go_on_where_the_first_one_fails(world: World, double: ProviderDouble) -> None:
    cached(world)
    double.script(Behaviour(status=400, delay=0.3))
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(world.chat("Hello").status_code)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) == 2


def test_idempotency_key_replays_a_hit_as_it_was(world: World, double: ProviderDouble) -> None:
    cached(world, hit_price_bps=1_000)
    world.chat("Hello")
    first, again = (world.chat("Hello", headers={"idempotency_key": "k"}) for _ in range(2))
    assert again.headers["idempotent-replayed"] == "true"
    assert (told(first), told(again)) == ("exact", "exact")
    assert first.content == again.content
    assert len(events_of(world)) == 2


def test_pages_may_decline_the_cache_and_read_what_it_did() -> None:
    assert b"x-modelfaucet-cache" in EXPOSED
    allowed = dict(preflight_headers(b"https://a.example"))[b"access-control-allow-headers"]
    assert b"x-modelfaucet-cache" in allowed and b"cache-control" in allowed


@pytest.fixture
def redis_world(settings: Any, redis_url: str, transactional_db: None, double: ProviderDouble) -> Iterator[World]:
    """Give a world before a gateway that keeps its answers in Redis."""
    settings.REDIS_URL = redis_url
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{double.port}",)
    settings.EPOCH_POLL = 0.05
    with Server() as running:
        yield make_world(running.base_url, double.base_url, double.base_url)


def test_answers_in_redis_are_shared_until_their_provider_is_switched_off(
    redis_world: World, double: ProviderDouble, redis_url: str
) -> None:
    world = redis_world
    cached(world)
    assert told(world.chat("What is secret?")) == "miss"
    with Server() as another:
        world.base_url, first = another.base_url, world.base_url
        assert told(world.chat("What is secret?")) == "exact"
        world.base_url = first
    with redis.Redis.from_url(redis_url) as client:
        (name,) = client.keys("mf:{answers}:*")
        assert double.requests[0].text.encode() not in client.get(name)
        assert world.app_id.encode() not in name
        assert 3_500_000 < client.pttl(name) <= 3_600_000
    disable_provider(events_of(world)[0].provider, now=now(), actor=ACTOR)
    wait_until(lambda: told(world.chat("What is secret?")) == "miss")
    assert len(double.requests) == 2


def test_call_is_served_while_redis_is_out_of_reach(settings: Any, world: World, double: ProviderDouble) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    cached(world)
    with Server() as running:
        world.base_url = running.base_url
        assert [told(world.chat("Hello")) for _ in range(2)] == ["miss", "miss"]
    assert len(double.requests) == 2


def test_clearing_an_apps_cache_leaves_the_others(redis_world: World, double: ProviderDouble) -> None:
    world = redis_world
    cached(world)
    world.chat("Hello")
    call_command("clear_cache", app="app_of_nobody")
    assert told(world.chat("Hello")) == "exact"
    call_command("clear_cache", app=world.app_id)
    assert told(world.chat("Hello")) == "miss"


def test_clearing_reaches_the_memory_of_a_process(world: World) -> None:
    cached(world)
    world.chat("Hello")
    call_command("clear_cache", app=world.app_id)
    time.sleep(0.2)  # four readings of the epoch
    assert told(world.chat("Hello")) == "miss"
