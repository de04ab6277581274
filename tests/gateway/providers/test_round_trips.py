"""What goes to a provider and comes back: tool calls and thinking survive, and the double agrees with the adapters."""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.gateway.metering import read_answer
from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.wire import ChatRequest
from tests.gateway.providers.reading import CREATED, call, chunks, function, gather, rendered, request, to_embed
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble
from tests.provider_formats import vector

NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,30}", fullmatch=True)
IDS = st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
CALLS = st.lists(
    st.tuples(IDS, NAMES, st.dictionaries(st.text(max_size=8), VALUES, max_size=4)),
    min_size=1,
    max_size=4,
    unique_by=lambda made: made[0],
)
HEADERS = {
    "openai_compatible": {"authorization": "Bearer x"},
    "azure_openai": {"api-key": "x"},
    "anthropic": {"x-api-key": "x"},
    "gemini": {"x-goog-api-key": "x"},
}


def _echo(adapter: str, body: Any) -> bytes:
    """Return an answer in the provider's format that says the calls of a request's second turn."""
    if adapter == "anthropic":
        blocks = body["messages"][1]["content"]
        answer = {"type": "message", "id": "m", "model": "c", "content": blocks, "stop_reason": "tool_use"}
    else:
        candidate = {"content": body["contents"][1], "finishReason": "STOP"}
        answer = {"candidates": [candidate], "responseId": "r", "modelVersion": "g"}
    return json.dumps(answer).encode()


@pytest.mark.parametrize("adapter", ["anthropic", "gemini"])
@settings(max_examples=100, deadline=None)
@given(calls=CALLS)
def test_tool_calls_come_back_as_they_went(adapter: str, calls: list[tuple[str, str, dict[str, Any]]]) -> None:
    told = [call(identity, name, json.dumps(arguments)) for identity, name, arguments in calls]
    results = [{"role": "tool", "tool_call_id": identity, "content": "x"} for identity, _, _ in calls]
    body = rendered(
        adapter, request({"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": told}, *results)
    )
    answer = json.loads(ADAPTERS[adapter].read_chat(_echo(adapter, body), created=1))
    back = answer["choices"][0]["message"]["tool_calls"]
    assert [(each["id"], each["function"]["name"], json.loads(each["function"]["arguments"])) for each in back] == calls
    # The results name the calls that they answer, in the same order.
    turn = body["messages"][2]["content"] if adapter == "anthropic" else body["contents"][2]["parts"]
    named = [part["tool_use_id"] if adapter == "anthropic" else part["functionResponse"]["id"] for part in turn]
    assert named == [identity for identity, _, _ in calls]


@pytest.fixture(scope="module")
def shared() -> Iterator[ProviderDouble]:
    with ProviderDouble() as double:
        yield double


@pytest.fixture
def double(shared: ProviderDouble) -> ProviderDouble:
    shared.requests.clear()
    shared.embeddings.clear()
    return shared


def ask(double: ProviderDouble, adapter: str, asked: ChatRequest, *, model: str = "some-model") -> Any:
    """Call the double through an adapter; return the canonical message, from JSON or from a stream."""
    made = ADAPTERS[adapter]
    url = made.chat_url(double.base_url_of(adapter), model=model, stream=asked.stream)
    body = made.chat_body(asked, model=model, output_cap=4096, cap_name="max_tokens")
    headers = HEADERS[adapter] | {name.decode(): value.decode() for name, value in made.extra_headers}
    response = httpx.post(url, content=body, headers=headers, timeout=5)
    assert response.status_code == 200, response.text
    if not asked.stream:
        answer = json.loads(made.read_chat(response.content, created=CREATED))
        return (
            answer["choices"][0]["message"]
            | {key: answer["choices"][0][key] for key in ("finish_reason",)}
            | {"usage": answer["usage"]}
        )
    decoder = made.chat_stream(created=CREATED)
    raw = response.content
    message = gather(chunks(raw if decoder is None else decoder.feed(raw) + decoder.flush()))
    assert message["done"]
    return message


def counts(usage: dict[str, Any]) -> tuple[int, ...]:
    return (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["completion_tokens_details"]["reasoning_tokens"],
    )


every_adapter = pytest.mark.parametrize("adapter", sorted(ADAPTERS))
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@every_adapter
@both_ways
def test_an_answer_is_the_same_from_every_provider(double: ProviderDouble, adapter: str, stream: bool) -> None:
    double.script(Behaviour(cached_tokens=4, prompt_tokens=20, reasoning="Hm, let me see.", reasoning_tokens=5))
    message = ask(double, adapter, request(stream=stream))
    (seen,) = double.requests
    assert message["content"] == seen.text == TEXT
    assert message["reasoning_content"] == "Hm, let me see."
    assert message["finish_reason"] == "stop"
    assert counts(message["usage"]) == counts(seen.usage) == (20, seen.usage["completion_tokens"], 4, 5)


@every_adapter
@both_ways
def test_a_tool_round_trip(double: ProviderDouble, adapter: str, stream: bool) -> None:
    tools = [function("weather")]
    user = {"role": "user", "content": "How is it in Paris?"}
    double.script("tool", Behaviour(text="It is warm."))
    message = ask(double, adapter, request(user, tools=tools, stream=stream))
    (made,) = message["tool_calls"]
    assert made["function"]["name"] == "weather"
    assert json.loads(made["function"]["arguments"]) == {"city": "Paris", "unit": "celsius"}
    assert message["finish_reason"] == "tool_calls"
    said = {"role": "assistant", "content": None, "tool_calls": [made]}
    result = {"role": "tool", "tool_call_id": made["id"], "content": "21 degrees"}
    message = ask(double, adapter, request(user, said, result, tools=tools, stream=stream))
    assert message["content"] == "It is warm."
    assert b"21 degrees" in double.requests[1].raw_body


@every_adapter
@pytest.mark.parametrize(
    ("named", "reason"), [("length", "length"), ("content-filter", "content_filter"), ("normal", "stop")]
)
def test_finish_reasons(double: ProviderDouble, adapter: str, named: str, reason: str) -> None:
    for stream in (False, True):
        double.script(named)
        assert ask(double, adapter, request(stream=stream))["finish_reason"] == reason


@pytest.mark.parametrize("adapter", ["azure_openai", "gemini", "openai_compatible"])
def test_embeddings_are_the_same_from_every_provider(double: ProviderDouble, adapter: str) -> None:
    made = ADAPTERS[adapter]
    asked = to_embed(["one", "two"], dimensions=4, encoding_format="base64")
    url = made.embeddings_url(double.base_url_of(adapter), model="m")
    response = httpx.post(url, content=made.embeddings_body(asked, model="m"), headers=HEADERS[adapter], timeout=5)
    answer = json.loads(made.read_embeddings(response.content, asked, model="m"))
    for text, row in zip(("one", "two"), answer["data"], strict=True):
        assert struct.unpack("<4f", base64.b64decode(row["embedding"])) == pytest.approx(vector(text, 4))
    assert double.embeddings[0].format == ("gemini-embeddings" if adapter == "gemini" else "embeddings")


@every_adapter
def test_the_free_call_lists_models(double: ProviderDouble, adapter: str) -> None:
    made = ADAPTERS[adapter]
    url = made.check_url(double.base_url_of(adapter))
    assert url is not None
    headers = HEADERS[adapter] | {name.decode(): value.decode() for name, value in made.extra_headers}
    assert httpx.get(url, headers=headers, timeout=5).status_code == 200


@pytest.mark.parametrize("adapter", ["azure_openai", "anthropic", "gemini"])
def test_the_double_wants_a_key_where_the_real_one_does(double: ProviderDouble, adapter: str) -> None:
    made = ADAPTERS[adapter]
    url = made.chat_url(double.base_url_of(adapter), model="m", stream=False)
    body = made.chat_body(request(), model="m", output_cap=9, cap_name="max_tokens")
    assert httpx.post(url, content=body, timeout=5).status_code in (401, 403)


@pytest.mark.parametrize("adapter", ["anthropic", "gemini"])
@pytest.mark.parametrize("how", ["error-event", "no-done"])
def test_a_stream_that_fails_has_no_end(double: ProviderDouble, adapter: str, how: str) -> None:
    made = ADAPTERS[adapter]
    double.script(how)
    asked = request(stream=True)
    response = httpx.post(
        made.chat_url(double.base_url_of(adapter), model="m", stream=True),
        content=made.chat_body(asked, model="m", output_cap=9, cap_name="max_tokens"),
        headers=HEADERS[adapter] | {"anthropic-version": "2023-06-01"},
        timeout=5,
    )
    decoder = made.chat_stream(created=1)
    assert decoder is not None
    message = gather(chunks(decoder.feed(response.content) + decoder.flush()))
    assert "done" not in message
    assert ("error" in message) is (how == "error-event")


def test_an_answer_of_the_double_is_read_by_the_meter(double: ProviderDouble) -> None:
    body = ADAPTERS["anthropic"].chat_body(request(), model="m", output_cap=9, cap_name="max_tokens")
    headers = HEADERS["anthropic"] | {"anthropic-version": "2023-06-01"}
    raw = httpx.post(f"{double.base_url}/messages", content=body, headers=headers, timeout=5).content
    answer = read_answer(ADAPTERS["anthropic"].read_chat(raw, created=1))
    assert answer.usage is not None
    assert answer.usage.prompt == double.requests[0].usage["prompt_tokens"]
