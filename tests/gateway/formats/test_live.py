"""Other formats than chat completions on the running gateway: metered, refused and broken off as that one is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import add_model, add_offer
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.usage.models import UsageEvent
from tests.gateway.formats.reading import events
from tests.live import ACTOR, MODEL, TIER, World, differences, rate_all, wait_until
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble

HOW = Behaviour(prompt_tokens=1000, cached_tokens=600, completion_tokens=50, reasoning_tokens=20)
FORMS: dict[str, dict[str, Any]] = {
    "messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "Say hello"}]},
    "responses": {"max_output_tokens": 100, "input": "Say hello"},
}


def post(world: World, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"x-api-key": world.token, "content-type": "application/json"} | headers
    return httpx.post(f"{world.base_url}/v1/{path}", content=content, headers=sent, timeout=30)


def said(form: str, answer: Any) -> str:
    if form == "messages":
        return "".join(block["text"] for block in answer["content"])
    return "".join(part["text"] for item in answer["output"] for part in item["content"])


@contextmanager
def opened(world: World, form: str, **more: Any) -> Iterator[httpx.Response]:
    body = {"model": MODEL, "stream": True, **FORMS[form], **more}
    url = f"{world.base_url}/v1/{form}"
    with httpx.stream("POST", url, json=body, headers=world.headers(), timeout=30) as response:
        yield response


def streamed(world: World, form: str, **more: Any) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """Return the events of a stream, and what its comment says of money."""
    with opened(world, form, **more) as response:
        data = response.read()
    notes = [
        block.removeprefix(b": modelfaucet ") for block in data.split(b"\n\n") if block.startswith(b": modelfaucet")
    ]
    return events(data), json.loads(notes[0]) if notes else {}


@pytest.mark.parametrize("form", FORMS)
def test_answer_is_metered_and_told(world: World, double: ProviderDouble, form: str) -> None:
    double.script(HOW)
    response = post(world, form, {"model": MODEL, **FORMS[form], "unknown": 1})
    assert response.status_code == 200
    assert said(form, response.json()) == TEXT
    event = world.event(response)
    assert (event.endpoint, event.input_tokens, event.cache_read_tokens) == (form, 400, 600)
    assert (event.output_tokens, event.reasoning_tokens) == (50, 20)
    usage = response.json()["usage"]
    assert usage["output_tokens"] == 50
    assert usage["input_tokens"] == (400 if form == "messages" else 1000)
    assert nano_from_usd(response.headers["x-modelfaucet-price-usd"]) == event.price_nano > 0
    assert response.headers["x-modelfaucet-ignored"] == "unknown"
    assert double.requests[0].body["max_tokens"] == 100
    assert "unknown" not in double.requests[0].body
    rate_all()
    assert differences() == []


@pytest.mark.parametrize("form", FORMS)
def test_stream_is_metered_and_told(world: World, double: ProviderDouble, form: str) -> None:
    double.script(HOW)
    found, note = streamed(world, form)
    text = "".join(data.get("delta", {}).get("text", "") for name, data in found if name == "content_block_delta")
    text += "".join(data["delta"] for name, data in found if name == "response.output_text.delta")
    assert text == TEXT
    event = world.event()
    assert (event.endpoint, event.stream, event.outcome, event.output_tokens) == (form, True, "finished", 50)
    assert nano_from_usd(note["price_usd"]) == event.price_nano > 0
    last = found[-2][1]["usage"] if form == "messages" else found[-1][1]["response"]["usage"]
    assert last["output_tokens"] == 50


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_usage_that_the_provider_left_out_is_told_as_it_is_settled(
    world: World, double: ProviderDouble, form: str, stream: bool
) -> None:
    double.script("usage-missing")
    if stream:
        found, _ = streamed(world, form)
        usage = found[-2][1]["usage"] if form == "messages" else found[-1][1]["response"]["usage"]
    else:
        usage = post(world, form, {"model": MODEL, **FORMS[form]}).json()["usage"]
    event = world.wait_for_event()
    assert event.estimated
    assert (usage["input_tokens"], usage["output_tokens"]) == (event.input_tokens, event.output_tokens)
    assert event.output_tokens > 5


@pytest.mark.parametrize("how", ["error-event", "close-within", "wrong-json"])
@pytest.mark.parametrize("form", FORMS)
def test_stream_that_breaks_off_ends_as_the_client_knows_and_costs_nothing(
    world: World, double: ProviderDouble, form: str, how: str
) -> None:
    double.script(Behaviour(fail=how, interval=0.05))  # what came in one read with the fault would be tried elsewhere
    found, note = streamed(world, form)
    event = world.wait_for_event()
    assert (event.outcome, event.charged, note) == ("provider_failed", False, {})
    name, data = found[-1]
    if form == "messages":
        assert (name, data["error"]["type"], data["error"]["code"]) == ("error", "api_error", event.error_code)
    else:
        assert (name, data["response"]["error"]["type"]) == ("response.failed", event.error_code)
    assert "message_stop" not in dict(found)
    assert "response.completed" not in dict(found)


@pytest.mark.parametrize("form", FORMS)
def test_repeat_with_the_same_key_is_answered_again_in_its_format(
    world: World, double: ProviderDouble, form: str
) -> None:
    body = {"model": MODEL, **FORMS[form]}
    first, second = (post(world, form, body, **{"idempotency-key": "k-1"}) for _ in range(2))
    assert second.content == first.content
    assert second.headers["idempotent-replayed"] == "true"
    assert len(double.requests) == 1


@pytest.mark.parametrize("form", FORMS)
def test_stream_that_a_client_leaves_is_paid_for(world: World, double: ProviderDouble, form: str) -> None:
    double.script("slow")
    with opened(world, form) as response:
        next(response.iter_raw())
    event = world.wait_for_event()
    assert (event.outcome, event.charged, event.endpoint) == ("client_left", True, form)


REFUSED: list[tuple[dict[str, str], Any, int, str, str]] = [
    ({"x-api-key": ""}, {}, 401, "authentication_error", "invalid_token"),
    ({"x-api-key": "mf_sess_unknown"}, {}, 401, "authentication_error", "invalid_token"),
    ({}, b"{", 400, "invalid_request_error", "invalid_json"),
    ({}, {"messages": []}, 400, "invalid_request_error", "invalid_type"),
    ({}, {"max_tokens": None}, 400, "invalid_request_error", "missing_parameter"),
    ({}, {"model": "nobody's"}, 404, "not_found_error", "model_not_found"),
    ({"idempotency-key": "x" * 300}, {}, 400, "invalid_request_error", "invalid_idempotency_key"),
]


@pytest.mark.parametrize(("headers", "body", "status", "kind", "code"), REFUSED)
def test_refusals_of_messages_are_anthropics(
    world: World, double: ProviderDouble, headers: dict[str, str], body: Any, status: int, kind: str, code: str
) -> None:
    if isinstance(body, dict):
        body = {"model": MODEL, **FORMS["messages"], **body}
    response = post(world, "messages", body, **headers)
    found = response.json()
    assert (response.status_code, found["type"], found["error"]["type"]) == (status, "error", kind)
    assert found["error"]["code"] == code
    assert found["request_id"] == response.headers["x-request-id"]
    assert not double.requests


def test_refusals_for_want_of_money_and_by_the_provider(world: World, double: ProviderDouble) -> None:
    poor = world.new_session()
    response = post(poor, "messages", {"model": MODEL, **FORMS["messages"]})
    assert (response.status_code, response.json()["error"]["type"]) == (402, "billing_error")
    double.script("status-400")
    response = post(world, "messages", {"model": MODEL, **FORMS["messages"]})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "provider_rejected_request")
    double.script("rate-limited")
    response = post(world, "messages", {"model": MODEL, **FORMS["messages"]})
    assert (response.status_code, response.json()["error"]["type"]) == (429, "rate_limit_error")
    assert response.headers["retry-after"]


def test_tokens_are_counted_for_nothing(world: World, double: ProviderDouble) -> None:
    def count(text: str) -> int:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        response = post(world, "messages/count_tokens", body)
        assert response.status_code == 200
        tokens: int = response.json()["input_tokens"]
        return tokens

    assert count("word " * 101) - count("word " * 1) == 100
    refused = post(world, "messages/count_tokens", {"model": MODEL})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")
    assert not UsageEvent.objects.exists()
    assert not double.requests


def test_embeddings_are_rated_on_their_input(world: World, double: ProviderDouble) -> None:
    moment = now()
    add_model(id="embedder", name="embedder", now=moment, actor=ACTOR)
    offer = add_offer(
        provider="double-0",
        model="embedder",
        upstream_model="embedder-up",
        capabilities=("embeddings",),
        tokenizer="o200k_base",
        priority=0,
        now=moment,
        actor=ACTOR,
    )
    publish_price(offer, [TIER], moment, "test", now=moment, actor=ACTOR)
    body = {"model": "embedder", "input": ["Hello", "there"], "dimensions": 4}
    wait_until(lambda: post(world, "embeddings", body | {"input": ""}).json()["error"]["code"] != "model_not_found")
    response = post(world, "embeddings", body)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert [row["index"] for row in answer["data"]] == [0, 1]
    event = world.event(response)
    assert (event.endpoint, event.output_tokens) == ("embeddings", 0)
    assert event.input_tokens == answer["usage"]["prompt_tokens"] > 0
    assert nano_from_usd(response.headers["x-modelfaucet-price-usd"]) == event.price_nano > 0
    assert double.embeddings[0].body == body | {"model": "embedder-up"}
    rate_all()
    assert differences() == []
    refused = post(world, "embeddings", body | {"input": []})
    assert refused.json()["error"]["param"] == "input"
