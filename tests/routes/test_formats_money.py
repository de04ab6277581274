"""Every door settles one event of its own name with the right tokens and price, and refuses in its own words."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import disable_offer, enable_offer, update_provider
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.ledger.queries import balance
from apps.usage.models import UsageEvent
from tests.live import ACTOR, MODEL, TIER, World, heal, rate_all, wait_until
from tests.provider_double import Behaviour, ProviderDouble
from tests.routes.conftest import Notice
from tests.routes.doors import CHAT, DOORS, EMBEDDINGS, FEATURE, MESSAGES, RESPONSES, Door, open_doors

STREAMING = tuple(door for door in DOORS if door.streams)
ends = {"chat.completions": "[DONE]", "responses": "response.completed", "messages": "message_stop"}
ENDS = {**ends, "features": "feature.done"}
every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.endpoint)


@pytest.fixture(autouse=True)
def doors(world: World, double: ProviderDouble, noticed: Notice) -> None:
    open_doors(world, double.base_url)
    noticed()


def price_of(usage: dict[str, Any]) -> int:
    """Return what the payer owes for what the double reported: 40 % above its bill, in nano-USD."""
    weight = usage["prompt_tokens"] * TIER.input + usage.get("completion_tokens", 0) * TIER.output
    return int((2 * weight * 14_000 + 10**10) // (2 * 10**10))


def last(double: ProviderDouble, door: Door) -> Any:
    return (double.embeddings if door is EMBEDDINGS else double.requests)[-1]


def tokens_told(door: Door, answer: dict[str, Any]) -> tuple[int, int]:
    usage = answer["usage"]
    if door in (CHAT, EMBEDDINGS):
        return usage["prompt_tokens"], usage.get("completion_tokens", 0)
    return usage["input_tokens"], usage["output_tokens"]


def test_whole_answer_is_one_event_with_the_price_that_was_told(world: World, double: ProviderDouble) -> None:
    for door in DOORS:
        check_whole(world, double, door)
    rate_all()
    spent = sum(event.price_nano for event in UsageEvent.objects.all())
    assert world.balance().posted == nano_from_usd("10") - spent


def check_whole(world: World, double: ProviderDouble, door: Door) -> None:
    answer = door.call(world)
    assert answer.status_code == 200, answer.text
    usage = last(double, door).usage
    found = world.event(answer)
    assert (found.endpoint, found.stream, found.outcome, found.route_mode) == (
        door.endpoint,
        False,
        "finished",
        "platform",
    )
    assert (found.input_tokens, found.output_tokens) == (usage["prompt_tokens"], usage.get("completion_tokens", 0))
    assert found.price_nano == price_of(usage) == nano_from_usd(answer.headers["x-modelfaucet-price-usd"])
    assert tokens_told(door, answer.json()) == (found.input_tokens, found.output_tokens)


def test_stream_is_one_event_with_the_price_that_was_told(world: World, double: ProviderDouble) -> None:
    for door in STREAMING:
        check_stream(world, double, door)


def check_stream(world: World, double: ProviderDouble, door: Door) -> None:
    answer = door.call(world, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert ENDS[door.endpoint] in answer.text
    found = world.event(answer)
    usage = last(double, door).usage
    assert (found.endpoint, found.stream, found.outcome) == (door.endpoint, True, "finished")
    assert (found.input_tokens, found.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert found.price_nano == price_of(usage)
    assert found.first_byte_ms is not None
    told = answer.text.partition('"price_usd":"')[2].partition('"')[0]
    assert nano_from_usd(told) == found.price_nano


CODES = {
    401: ("authentication_error", "authentication_error", "invalid_token"),
    402: ("insufficient_quota", "billing_error", "insufficient_funds"),
    404: ("invalid_request_error", "not_found_error", "model_not_found"),
    413: ("invalid_request_error", "request_too_large", "request_too_large"),
    502: ("api_error", "api_error", "provider_error"),
}


@every_door
def test_refusals_are_in_the_format_of_the_client_and_free(
    world: World, double: ProviderDouble, door: Door, settings: Any
) -> None:
    settings.MAX_BODY_BYTES = 100_000
    poor = world.new_session("poor", usd="0")
    refused = {
        401: door.call(world, token="mf_sess_" + "x" * 43),
        402: door.call(poor, headers={"x-modelfaucet-clamp": "off"}),
        404: door.call(world, model="no-such-model"),
        413: door.call(world, "x" * 100_000),
    }
    assert not double.requests and not double.embeddings
    assert not UsageEvent.objects.exists()
    refused[502] = door.call(world, "[[status-500]]") if door is not EMBEDDINGS else _failed_embedding(double, world)
    for status, answer in refused.items():
        plain, anthropic, code = CODES[status]
        assert door.error(answer) == (status, anthropic if door.anthropic else plain, code)
    assert (refused[401].headers["www-authenticate"]).startswith("Bearer")
    found = UsageEvent.objects.get()
    assert (found.endpoint, found.outcome, found.price_nano, found.status) == (door.endpoint, "not_served", 0, 502)
    assert world.balance().held == 0


def _failed_embedding(double: ProviderDouble, world: World) -> httpx.Response:
    double.script("status-500")
    return EMBEDDINGS.call(world)


def test_stream_that_breaks_off_says_so_in_its_format_and_is_free(world: World, double: ProviderDouble) -> None:
    for door in STREAMING:
        check_broken_stream(world, double, door)
        heal()


def check_broken_stream(world: World, double: ProviderDouble, door: Door) -> None:
    before = world.balance()
    double.script("reset-within")
    answer = door.call(world, stream=True)
    assert answer.status_code == 200
    assert "provider_broke_off" in answer.text
    assert ENDS[door.endpoint] not in answer.text
    events = [line for line in answer.text.split("\n") if line.startswith("data: ")]
    said = json.loads(events[-1].removeprefix("data: "))
    assert ("error" in said) or said["type"] in ("error", "response.failed")
    found = world.event(answer)
    assert (found.endpoint, found.outcome, found.price_nano) == (door.endpoint, "provider_failed", 0)
    wait_until(lambda: world.balance().available == before.available, 2)


@every_door
def test_client_that_leaves_pays_for_what_it_was_sent_only(world: World, double: ProviderDouble, door: Door) -> None:
    double.script("stall-within")
    request: dict[str, Any] = {"url": f"{world.base_url}{door.path}", "headers": world.headers()}
    if door.streams:
        body = {**door.body("Say hello"), "stream": True}
        with httpx.stream("POST", json=body, timeout=10, **request) as response:
            seen = b""
            pieces = response.iter_raw()
            while b"Hello" not in seen:
                seen += next(pieces)
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(json=door.body("Say hello"), timeout=0.6, **request)
    found = world.wait_for_event(3)
    assert (found.endpoint, found.outcome) == (door.endpoint, "client_left")
    if door.streams:
        assert 0 < found.output_tokens < last(double, door).usage["completion_tokens"]
        assert found.price_nano > 0
    else:
        assert found.price_nano == 0
    double.release()


def test_same_idempotency_key_is_answered_again_and_charged_once(world: World, double: ProviderDouble) -> None:
    ways = [*((door, {}) for door in DOORS), *((door, {"stream": True}) for door in STREAMING)]
    for number, (door, more) in enumerate(ways, 1):
        headers = {"idempotency-key": f"order-{number}"}
        first = door.call(world, headers=headers, **more)
        again = door.call(world, headers=headers, **more)
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.content == first.content
        assert again.headers["x-request-id"] == first.headers["x-request-id"]
        assert again.headers["idempotent-replayed"] == "true"
        other = door.call(world, "Say something else", headers=headers, **more)
        assert door.error(other)[::2] == (409, "idempotency_key_reused")
        assert len(double.requests) + len(double.embeddings) == UsageEvent.objects.count() == number


def test_answer_is_repeated_when_it_could_no_longer_be_made(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    headers = {"idempotency-key": "order-1"}
    first = world.chat(headers=headers)
    disable_offer(world.offers[0], now=now(), actor=ACTOR)
    noticed()
    again = world.chat(headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    refused = world.chat(headers={"idempotency-key": "order-2"})
    assert refused.json()["error"]["code"] == "model_not_found"
    enable_offer(world.offers[0], now=now(), actor=ACTOR)
    noticed()
    assert world.chat(headers={"idempotency-key": "order-2"}).status_code == 200  # a refusal frees its key
    assert len(double.requests) == 2


def test_key_of_one_door_is_refused_at_another(world: World, double: ProviderDouble) -> None:
    headers = {"idempotency-key": "order-1"}
    assert CHAT.call(world, headers=headers).status_code == 200
    for door in DOORS[1:]:
        assert door.error(door.call(world, headers=headers))[::2] == (409, "idempotency_key_reused")
    assert len(double.requests) + len(double.embeddings) == 1


def test_estimate_and_count_cost_nothing_and_agree_with_what_is_held(world: World, double: ProviderDouble) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(f"{world.base_url}{path}", json=body, headers=world.headers(), timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    body = {"model": MODEL, "messages": [{"role": "user", "content": "How long is this?"}]}
    estimate = post("/v1/estimate", {**body, "max_tokens": 50})
    counted = post("/v1/messages/count_tokens", body)
    assert counted == {"input_tokens": estimate["prompt_tokens"]}
    assert (estimate["route_mode"], estimate["max_output_tokens"]) == ("platform", 50)
    assert not double.requests and not UsageEvent.objects.exists()
    assert world.balance().held == 0
    double.script(Behaviour(delay=0.4))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(world.chat, "How long is this?", max_tokens=50)
        double.wait_for(lambda: double.in_flight)
        held = balance(world.account_id).held
        assert call.result().status_code == 200
    # Every part of a prompt may be written to the provider's cache, which costs the most.
    assert held == nano_from_usd(estimate["max_price_usd"])


def test_tools_and_thoughts_are_charged_alike_at_each_door(world: World, double: ProviderDouble) -> None:
    told = []
    for door in (CHAT, RESPONSES, MESSAGES, FEATURE):
        answer = door.call(world, "[[prompt_tokens=1000 cached_tokens=600 completion_tokens=50 reasoning_tokens=20]]")
        found = world.event(answer)
        assert (found.input_tokens, found.cache_read_tokens, found.output_tokens, found.reasoning_tokens) == (
            400,
            600,
            50,
            20,
        )
        told.append(found.price_nano)
    weight = 400 * TIER.input + 600 * TIER.cache_read + 50 * TIER.output
    assert set(told) == {weight * 14 // 10 // 1_000_000}


def test_marks_of_the_cache_reach_a_provider_that_keeps_them(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    part = {"type": "text", "text": "A long text", "cache_control": {"type": "ephemeral"}}
    said = [{"role": "user", "content": [part, {"type": "text", "text": "What is it about?"}]}]
    plain = [{"type": "text", "text": "A long text"}, said[0]["content"][1]]
    for keeps, expected in ((False, plain), (True, said[0]["content"])):
        update_provider("double-0", keeps_cache_control=keeps, now=now(), actor=ACTOR)
        noticed()
        assert MESSAGES.call(world, messages=said).status_code == 200
        assert double.requests[-1].body["messages"][0]["content"] == expected
