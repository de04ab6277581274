"""Providers' streams as canonical chunks: recorded shapes, any split of the bytes, and streams that go wrong."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.gateway.metering import MAX_EVENT_BYTES, BrokenAnswer
from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.stream_meter import StreamMeter
from apps.usage.rate import Tokens
from tests.gateway.providers.reading import CREATED, DECODED, chunks, decode, gather, recorded

COMPLETE = [name for name in DECODED if not name.endswith("/error.sse")]


def meter(canonical: bytes) -> StreamMeter:
    found = StreamMeter(strip_usage=False, tokenizer="o200k_base")
    found.feed(canonical)
    found.flush()
    return found


@pytest.mark.parametrize("name", DECODED)
def test_chunks_are_canonical(name: str) -> None:
    for chunk in chunks(decode(name)):
        if chunk == "[DONE]" or "error" in chunk:
            continue
        assert chunk["object"] == "chat.completion.chunk"
        assert (chunk["created"], type(chunk["id"])) == (CREATED, str)
        assert chunk["choices"] or chunk["usage"]


@pytest.mark.parametrize(
    ("name", "finish", "tokens"),
    [
        ("anthropic/text.sse", ["stop"], Tokens(input=25, cache_read=1000, cache_write=100, output=15)),
        ("anthropic/tools.sse", ["tool_calls"], Tokens(input=472, output=89)),
        ("anthropic/thinking.sse", ["length"], Tokens(input=40, output=60, reasoning=48)),
        ("gemini/text.sse", ["stop"], Tokens(input=108, cache_read=1000, output=15)),
        ("gemini/tools.sse", ["tool_calls"], Tokens(input=90, output=84, reasoning=64)),
        ("gemini/two.sse", ["stop", "length"], Tokens(input=4, output=2)),
        ("gemini/blocked.sse", ["content_filter"], Tokens(input=7)),
    ],
)
def test_the_meter_reads_end_and_usage(name: str, finish: list[str], tokens: Tokens) -> None:
    found = meter(decode(name))
    assert found.done
    assert found.error is None
    assert found.reasons == finish
    assert found.usage == tokens


def test_text_arrives() -> None:
    for name in ("anthropic/text.sse", "gemini/text.sse"):
        message = gather(chunks(decode(name)))
        assert (message["content"], message["done"]) == ("Hello, 世界 🌍!", True)
    events = chunks(decode("gemini/two.sse"))
    assert [gather(events, index)["content"] for index in (0, 1)] == ["one", "two"]


def test_tool_calls_arrive_whole_with_their_places() -> None:
    message = gather(chunks(decode("anthropic/tools.sse")))
    weather, time = message["tool_calls"]
    assert message["content"] == "Okay."
    assert (weather["id"], weather["type"]) == ("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "function")
    assert weather["function"] == {"name": "get_weather", "arguments": '{"city": "Zürich"}'}
    assert time["function"] == {"name": "get_time", "arguments": "{}"}
    message = gather(chunks(decode("gemini/tools.sse")))
    weather, time = message["tool_calls"]
    assert message["reasoning_content"] == "I should look up both."
    assert json.loads(weather["function"]["arguments"]) == {"city": "Zürich"}
    assert weather["extra_content"]["google"]["thought_signature"] == "CpcBAVSoXO4="
    assert weather["id"] != time["id"]


def test_thinking_arrives_as_it_is_made_and_whole_at_its_end() -> None:
    message = gather(chunks(decode("anthropic/thinking.sse")))
    assert message["reasoning_content"] == "Let me solve this step by step."
    thinking, redacted = message["thinking_blocks"]
    assert thinking["thinking"] == message["reasoning_content"]
    assert thinking["signature"] == "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
    assert redacted == {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"}


@pytest.mark.parametrize("name", DECODED)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_split_decodes_to_the_same(name: str, data: st.DataObject) -> None:
    raw = recorded(name)
    if data.draw(st.booleans()):
        raw = raw.replace(b"\n", b"\r\n")
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=40)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert decode(name, pieces) == decode(name)


@pytest.mark.parametrize("name", DECODED)
def test_byte_by_byte(name: str) -> None:
    for raw in (recorded(name), recorded(name).replace(b"\n", b"\r\n"), b": comment\n\n" + recorded(name).rstrip()):
        assert decode(name, [raw[at : at + 1] for at in range(len(raw))]) == decode(name)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_stream_that_breaks_off_does_not_end(name: str) -> None:
    events = recorded(name).split(b"\n\n")[:-1]
    for kept in range(len(events)):
        cut = b"".join(event + b"\n\n" for event in events[:kept])
        found = meter(decode(name, [cut]))
        assert not found.done
        # Without its last finish reason the relay takes it for broken off.
        if name.startswith("gemini/") and kept < len(events):
            assert len(found.reasons) < len(meter(decode(name)).reasons)


def test_anthropic_usage_comes_with_the_finish_reason() -> None:
    """The connection may break before message_stop: what is known by then is what is settled."""
    cut = recorded("anthropic/text.sse").partition(b"event: message_stop")[0]
    found = meter(decode("anthropic/text.sse", [cut]))
    assert (found.done, found.reasons) == (False, ["stop"])
    assert found.usage == Tokens(input=25, cache_read=1000, cache_write=100, output=15)


@pytest.mark.parametrize(
    ("name", "kind"), [("anthropic/error.sse", "overloaded_error"), ("gemini/error.sse", "UNAVAILABLE")]
)
def test_an_error_in_mid_stream_is_an_error_event(name: str, kind: str) -> None:
    *_, last = chunks(decode(name))
    assert last["error"]["type"] == kind
    assert last["error"]["message"]
    found = meter(decode(name))
    assert found.error is not None
    assert not found.done


@pytest.mark.parametrize("adapter", ["anthropic", "gemini"])
@pytest.mark.parametrize(
    "raw",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b"data: null\n\n",
        b'data: {"a": "\xff"}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_is_no_event_is_broken(adapter: str, raw: bytes) -> None:
    decoder = ADAPTERS[adapter].chat_stream(created=1)
    assert decoder is not None
    with pytest.raises(BrokenAnswer):
        decoder.feed(raw)


@pytest.mark.parametrize("adapter", ["anthropic", "gemini"])
def test_an_event_without_end_is_refused(adapter: str) -> None:
    decoder = ADAPTERS[adapter].chat_stream(created=1)
    assert decoder is not None
    piece = b"data: " + b"x" * 65_536
    with pytest.raises(BrokenAnswer):
        for _ in range(MAX_EVENT_BYTES // len(piece) + 2):
            decoder.feed(piece)


def test_what_is_kept_of_thinking_is_bounded() -> None:
    decoder = ADAPTERS["anthropic"].chat_stream(created=1)
    assert decoder is not None
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}
    decoder.feed(b"data: " + json.dumps(start).encode() + b"\n\n")
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "x" * 10_000}}
    event = b"data: " + json.dumps(delta).encode() + b"\n\n"
    with pytest.raises(BrokenAnswer):
        for _ in range(1_000):
            decoder.feed(event)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in _paths(each, (*path, key)))]


def _replace(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = value.copy()
    copy[path[0]] = _replace(value[path[0]], path[1:], by)
    return copy


ODD = st.sampled_from([None, True, -1, 1.5, 10**30, "", "text", [], [None], {}, {"a": 1}, [[{}]], "\u0000"])


@pytest.mark.parametrize("name", DECODED)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_odd_events_break_nothing_but_the_answer(name: str, data: st.DataObject) -> None:
    """Whatever a provider puts where something else belongs, the decoder answers or says that it is broken."""
    out = []
    for event in recorded(name).decode().split("\n\n")[:-1]:
        value = json.loads(event.partition("data: ")[2])
        if data.draw(st.booleans()):
            value = _replace(value, data.draw(st.sampled_from(_paths(value))), data.draw(ODD))
        out.append(b"data: " + json.dumps(value).encode() + b"\n\n")
    try:
        canonical = decode(name, out)
    except BrokenAnswer:
        return
    if canonical:
        chunks(canonical)
        meter(canonical)


@pytest.mark.parametrize("name", ["anthropic/tools.json", "anthropic/thinking.json", "gemini/tools.json"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_odd_answers_break_nothing_but_themselves(name: str, data: st.DataObject) -> None:
    value = json.loads(recorded(name))
    for _ in range(data.draw(st.integers(1, 3))):
        value = _replace(value, data.draw(st.sampled_from(_paths(value))), data.draw(ODD))
    try:
        json.loads(ADAPTERS[name.partition("/")[0]].read_chat(json.dumps(value).encode(), created=1))
    except BrokenAnswer:
        pass


@pytest.mark.parametrize(
    ("name", "reasons", "tokens"),
    [
        ("azure_openai/text.sse", ["stop"], Tokens(input=9, output=3)),
        ("openai_compatible/openai_tools.sse", ["tool_calls"], Tokens(input=82, output=17)),
        (
            "openai_compatible/deepseek_reasoning.sse",
            ["stop"],
            Tokens(input=40, cache_read=960, output=60, reasoning=48),
        ),
    ],
)
def test_openai_like_streams_are_not_decoded(name: str, reasons: list[str], tokens: Tokens) -> None:
    assert ADAPTERS[name.partition("/")[0]].chat_stream(created=1) is None
    found = meter(recorded(name))
    assert (found.done, found.error, found.reasons, found.usage) == (True, None, reasons, tokens)


def test_an_error_of_an_openai_like_stream_is_seen() -> None:
    found = meter(recorded("openai_compatible/openrouter_error.sse"))
    assert not found.done
    assert found.error["message"] == "Provider disconnected unexpectedly"
