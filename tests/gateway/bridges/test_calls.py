"""Calls that are answered by an end user's own model, over the real sockets of a real relay."""

import json
from typing import Any

import httpx
import pytest

from apps.core.money import nano_from_usd
from apps.features.services.terms import TermsInput
from tests.gateway.bridges.conftest import LOCAL, Connect
from tests.live import MODEL, Server, World, differences, make_world, rate_all, wait_until
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble

PREFER = {"modelfaucet": {"prefer": "local"}}
FEE = nano_from_usd("0.0005")


def post(world: World, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{world.base_url}{path}", json=body, headers=world.headers(), timeout=30)


def streamed(world: World, **body: Any) -> list[dict[str, Any]]:
    """Return the events of a stream that ended as it should."""
    with world.stream(model=LOCAL, **PREFER, **body) as response:
        assert response.status_code == 200, response.read()
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_json_answer_comes_from_the_local_model(
    world: World, connect: Connect, local: ProviderDouble, double: ProviderDouble
) -> None:
    running = connect()
    answer = world.chat("Say hello", model=LOCAL, temperature=0.5, **PREFER)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert answer.headers["x-modelfaucet-route-mode"] == "local"
    assert answer.headers["x-modelfaucet-served-model"] == LOCAL
    assert answer.headers["x-modelfaucet-price-usd"] == "0.0000"
    sent = local.requests[0].body
    assert sent["messages"] == [{"role": "user", "content": "Say hello"}]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == (LOCAL, 0.5, 1000)
    assert "modelfaucet" not in sent and not double.requests
    event = world.event(answer)
    assert (event.route_mode, event.credential_id, event.price_nano) == ("local", running.bridge_id, 0)
    assert event.input_tokens == answer.json()["usage"]["prompt_tokens"] and not event.estimated
    assert event.routing["targets"] == [{"candidate": f"local/{LOCAL}", "mode": "local"}]
    assert rate_all() == 1 and not differences()
    assert world.balance().held == 0
    receipt = httpx.get(f"{world.base_url}/v1/receipts/{event.request_id}", headers=world.headers()).json()
    assert (receipt["route_mode"], receipt["served_model"]) == ("local", LOCAL), receipt


def test_stream_comes_from_the_local_model(world: World, connect: Connect, local: ProviderDouble) -> None:
    connect()
    events = streamed(world, stream_options={"include_usage": True})
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"]) == TEXT
    event = world.wait_for_event()
    assert (event.route_mode, event.outcome, event.stream) == ("local", "finished", True)
    assert event.output_tokens == events[-1]["usage"]["completion_tokens"]
    assert event.first_byte_ms is not None and not event.estimated


def test_tools_are_called(world: World, connect: Connect, local: ProviderDouble) -> None:
    connect(f"{LOCAL}=chat,tools")
    local.default = Behaviour(tool_call=True, finish_reason="tool_calls")
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    choice = world.chat(model=LOCAL, tools=tools, **PREFER).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["tool_calls"]
    events = streamed(world, tools=tools)
    assert any(event["choices"] and event["choices"][0]["delta"].get("tool_calls") for event in events)
    assert local.requests[0].body["tools"] == tools


def test_tools_are_not_asked_of_a_model_without_them(world: World, connect: Connect, double: ProviderDouble) -> None:
    connect(f"{LOCAL}=chat")
    world.manifest(routing={"policy": "local_first"})
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    answer = world.chat(tools=tools)
    assert answer.headers["x-modelfaucet-route-mode"] == "platform" and len(double.requests) == 1
    rejected = world.event(answer).routing["rejected"]
    assert {"candidate": f"local/{LOCAL}", "mode": "local", "reason": "capability_missing"} in rejected


def test_embeddings_come_from_the_local_model(world: World, connect: Connect, local: ProviderDouble) -> None:
    connect(LOCAL, "bge=embeddings")
    answer = post(world, "/v1/embeddings", model="bge", input=["one", "two"], encoding_format="float", **PREFER)
    assert answer.status_code == 200, answer.text
    assert [type(each["embedding"]) for each in answer.json()["data"]] == [list, list]
    assert local.embeddings[0].body["input"] == ["one", "two"] and local.embeddings[0].body["model"] == "bge"
    event = world.event(answer)
    assert (event.route_mode, event.served_model, event.endpoint) == ("local", "bge", "embeddings")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "Say hello"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 50}),
        ("/v1/features/default", {"input": {"text": "hello"}}),
    ],
)
def test_every_client_format_is_served(
    world: World, connect: Connect, local: ProviderDouble, path: str, body: dict[str, Any], stream: bool
) -> None:
    connect()
    world.manifest(routing={"policy": "local_first"}, prompt={"user": "Say {{ input.text }}"})
    answer = post(world, path, stream=stream, **({} if "features" in path else {"model": LOCAL}), **body)
    assert answer.status_code == 200, answer.text
    assert "Hello" in answer.text and len(local.requests) == 1
    assert world.wait_for_event().route_mode == "local"


def test_body_that_is_larger_than_a_frame_arrives_whole(world: World, connect: Connect, local: ProviderDouble) -> None:
    connect()
    picture = "data:image/png;base64," + "A" * 3_000_000
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": picture}}]
    world.manifest(routing={"policy": "local_first"})
    answer = world.chat(messages=[{"role": "user", "content": parts}], model=LOCAL)
    assert answer.status_code == 400  # it cannot see
    bridge = connect(f"{LOCAL}=chat,vision")
    answer = httpx.post(
        f"{world.base_url}/v1/chat/completions",
        json={"model": LOCAL, "messages": [{"role": "user", "content": parts}]},
        headers=world.headers(),
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert world.event(answer).credential_id == bridge.bridge_id
    assert local.requests[0].body["messages"][0]["content"] == parts


def test_answer_that_is_larger_than_a_window_arrives_whole(
    world: World, connect: Connect, local: ProviderDouble
) -> None:
    connect()
    local.default = Behaviour(chunks=500, chunk_bytes=10_000)
    answer = world.chat(model=LOCAL, **PREFER)
    assert answer.status_code == 200 and len(answer.content) > 5_000_000
    assert answer.json()["choices"][0]["message"]["content"] == local.requests[0].text


def test_fee_is_charged_once_it_is_acknowledged_and_never_before(
    server: Server, double: ProviderDouble, local: ProviderDouble, connect: Connect
) -> None:
    world = make_world(server.base_url, double.base_url, usd="1", terms=TermsInput(local_fee=FEE, share_bps=4_000))
    connect(world=world)
    world.manifest(privacy={"mode": "local_only"})
    refused = world.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "fee_not_acknowledged")
    assert not local.requests and not double.requests

    assert world.acknowledge("local") == FEE
    wait_until(lambda: world.chat().status_code == 200, 5)
    event = world.event()
    assert (event.route_mode, event.price_nano, event.cost_nano) == ("local", FEE, 0)
    assert rate_all() == 1
    balance = world.balance()
    assert (balance.posted, balance.held) == (nano_from_usd("1") - FEE, 0)
    assert not differences()


def test_failed_call_is_free(server: Server, double: ProviderDouble, local: ProviderDouble, connect: Connect) -> None:
    world = make_world(server.base_url, double.base_url, usd="1", terms=TermsInput(local_fee=FEE, share_bps=4_000))
    world.acknowledge("local")
    world.manifest(privacy={"mode": "local_only"})
    connect(world=world)
    local.default = Behaviour(status=500)
    answer = world.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_error")
    assert world.event().price_nano == 0 and rate_all() == 1
    assert world.balance().posted == nano_from_usd("1") and not double.requests


@pytest.mark.parametrize("behaviour", [Behaviour(status=500), Behaviour(fail="close-before"), Behaviour(status=429)])
def test_local_model_that_fails_is_followed_by_the_next_target(
    world: World, connect: Connect, local: ProviderDouble, double: ProviderDouble, behaviour: Behaviour
) -> None:
    connect()
    world.manifest(routing={"policy": "local_first"})
    local.default = behaviour
    answer = world.chat()
    assert (answer.status_code, answer.headers["x-modelfaucet-route-mode"]) == (200, "platform")
    assert (len(local.requests), len(double.requests)) == (1, 1)
    assert [attempt["provider"] for attempt in world.event().attempts] == ["local"]


def test_request_that_the_local_model_rejects_is_told_its_client(
    world: World, connect: Connect, local: ProviderDouble
) -> None:
    connect()
    local.default = Behaviour(status=400)
    answer = world.chat(model=LOCAL, **PREFER)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "provider_rejected_request")


def test_server_behind_the_bridge_that_is_down_is_named(world: World, connect: Connect, local: ProviderDouble) -> None:
    connect()
    world.manifest(privacy={"mode": "local_only"})
    local.refuse_connections()
    answer = world.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bridge_endpoint_unreachable")
    local.accept_connections()
    wait_until(lambda: world.chat().status_code == 200, 5)


def test_policy_that_knows_no_local_models_uses_none(
    world: World, connect: Connect, local: ProviderDouble, double: ProviderDouble
) -> None:
    connect(MODEL)
    answer = world.chat()
    assert (answer.headers["x-modelfaucet-route-mode"], len(double.requests), len(local.requests)) == ("platform", 1, 0)
    assert world.chat(model="no-such-model").json()["error"]["code"] == "model_not_found"


def test_models_are_listed_with_their_route(world: World, connect: Connect) -> None:
    connect(LOCAL, MODEL)
    listed = httpx.get(f"{world.base_url}/v1/models", headers=world.headers()).json()["data"]
    routes = {model["id"]: model["route_modes"] for model in listed}
    assert routes == {MODEL: ["platform", "local"], LOCAL: ["local"]}
    one = httpx.get(f"{world.base_url}/v1/models/{LOCAL}", headers=world.headers()).json()
    assert one["owned_by"] == "local" and one["pricing"]["tiers"] == []
