"""Answers as a client of Anthropic reads them: content blocks one after the other, usage and reasons in its words."""

import json
from typing import Any

import pytest

from apps.core.errors import InsufficientFunds, NotFound, ProviderFailed, RateLimited, TooLarge, Unavailable
from apps.gateway.formats.events import write_event
from apps.gateway.formats.messages import MESSAGES
from apps.gateway.metering import BrokenAnswer
from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.wire import ChatRequest
from apps.usage.rate import Tokens
from tests.gateway.formats.reading import encode, events
from tests.gateway.formats.shapes import (
    ARGUMENTS,
    INTERLEAVED,
    REDACTED,
    SIGNED,
    START,
    STREAMS,
    USAGE,
    WHOLE,
    chunk,
    event,
    function_call,
    pieces_of_call,
    whole,
)

READ_USAGE = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 8,
    "output_tokens": 30,
    "output_tokens_details": {"thinking_tokens": 12},
}


def request(*, thinking: bool = True, **more: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "Hi"}], **more}
    if thinking:
        body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    return MESSAGES.parse(json.dumps(body).encode())


def answer(canonical: bytes, **more: Any) -> dict[str, Any]:
    body = MESSAGES.answer(canonical, request(**more), request_id="req_1", usage=USAGE)
    result: dict[str, Any] = json.loads(body)
    return result


def streamed(chunks: list[bytes], *, at_once: bool = False, **more: Any) -> dict[str, Any]:
    """Return the message that a client puts together, checking the order of events as it goes."""
    message: dict[str, Any] = {}
    is_open: int | None = None
    partial = ""
    for name, data in events(encode(MESSAGES.encoder(request(**more), request_id="req_1"), chunks, at_once=at_once)):
        assert name == data["type"]
        assert message.get("stop_reason") is None or name == "message_stop"
        if name == "message_start":
            assert not message
            message = data["message"]
        elif name == "content_block_start":
            assert is_open is None
            assert data["index"] == len(message["content"])
            message["content"].append(data["content_block"])
            is_open, partial = data["index"], ""
        elif name == "content_block_delta":
            assert data["index"] == is_open
            delta, block = dict(data["delta"]), message["content"][-1]
            kind = delta.pop("type")
            if kind == "input_json_delta":
                partial += delta["partial_json"]
            elif kind == "signature_delta":
                block["signature"] = delta["signature"]
            else:
                [(member, text)] = delta.items()
                assert kind == f"{member}_delta" == f"{block['type']}_delta"
                block[member] += text
        elif name == "content_block_stop":
            assert data["index"] == is_open
            if message["content"][-1]["type"] == "tool_use" and partial:
                message["content"][-1]["input"] = json.loads(partial)
            is_open = None
        elif name == "message_delta":
            assert is_open is None
            message |= data["delta"] | {"usage": data["usage"]}
        else:
            assert name in ("message_stop", "ping")
    assert name == "message_stop"
    return message


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def use(identity: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": name, "input": given}


WEATHER = use("call_a", "get_weather", {"city": "Zürich", "unit": "celsius"})
UNSIGNED = {"type": "thinking", "thinking": "Let me look.", "signature": ""}


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text", [text("Grüße, 你好")], "end_turn"),
        ("one chunk", [text("All at once")], "end_turn"),
        ("cut off", [text("On and")], "max_tokens"),
        ("filtered", [text("No")], "refusal"),
        ("refusal", [text("I cannot.")], "refusal"),
        ("call", [WEATHER], "tool_use"),
        ("two calls", [text("I look."), WEATHER, use("call_b", "get_time", {"zone": {"name": "CET"}})], "tool_use"),
        ("interleaved calls", [WEATHER, use("call_b", "get_time", {"zone": "CET"})], "tool_use"),
        ("whole calls", [WEATHER, use("call_b", "get_time", {})], "tool_use"),
        ("thinking, unsigned", [UNSIGNED, text("There.")], "end_turn"),
        ("thinking, signed", [SIGNED, REDACTED, text("There."), WEATHER], "tool_use"),
        ("odd", [text("In parts")], "end_turn"),
        ("nothing", [], "end_turn"),
        ("nothing said", [], "end_turn"),
    ],
)
def test_stream(name: str, content: list[Any], reason: str, at_once: bool) -> None:
    message = streamed(STREAMS[name], at_once=at_once)
    assert message == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "" if name == "nothing" else "model-up",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": READ_USAGE,
    }


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text", [text("Grüße, 你好")], "end_turn"),
        ("parts", [text("In parts")], "end_turn"),
        ("cut off", [text("On and")], "max_tokens"),
        ("filtered", [text("No")], "refusal"),
        ("refusal", [text("I cannot.")], "refusal"),
        (
            "calls",
            [
                text("I look."),
                WEATHER,
                use("call_b", "get_time", {}),
                use("call_c", "broken", {"arguments": '{"city": '}),
            ],
            "tool_use",
        ),
        ("thinking, unsigned", [UNSIGNED, text("There.")], "end_turn"),
        ("thinking, signed", [SIGNED, REDACTED, text("There.")], "end_turn"),
        ("nothing said", [], "end_turn"),
        ("no choice", [], "end_turn"),
    ],
)
def test_whole_answer(name: str, content: list[Any], reason: str) -> None:
    found = answer(WHOLE[name])
    assert (found["content"], found["stop_reason"], found["usage"]) == (content, reason, READ_USAGE)
    assert (found["id"], found["type"], found["role"], found["model"]) == ("msg_1", "message", "assistant", "model-up")


def test_thinking_is_only_shown_to_who_asked() -> None:
    assert streamed(STREAMS["thinking, signed"], thinking=False)["content"] == [text("There."), WEATHER]
    assert answer(WHOLE["thinking, signed"], thinking=False)["content"] == [text("There.")]


def test_text_goes_out_as_it_comes() -> None:
    encoder = MESSAGES.encoder(request(), request_id="req_1")
    assert [name for name, _ in events(encoder.feed(START))] == ["message_start"]
    names = [name for name, _ in events(encoder.feed(chunk(content="a")))]
    assert names == ["content_block_start", "content_block_delta"]
    assert [name for name, _ in events(encoder.feed(chunk(content="b")))] == ["content_block_delta"]
    assert encoder.feed(chunk("stop")) == b""  # how it ends is only said once it is settled
    last = encoder.finish({"price_usd": "0.1"}, usage=Tokens())
    assert b': modelfaucet {"price_usd":"0.1"}\n\n' in last
    assert [name for name, _ in events(last)] == ["content_block_stop", "message_delta", "message_stop"]


def test_arguments_go_out_as_they_come_where_calls_follow_one_another() -> None:
    encoder = MESSAGES.encoder(request(), request_id="req_1")
    first, *rest = pieces_of_call(0, "call_a", "f", ARGUMENTS)
    encoder.feed(first)
    for piece in rest:
        assert [name for name, _ in events(encoder.feed(piece))] == ["content_block_delta"]
    following = pieces_of_call(1, "call_b", "g", "{}")[0]
    assert [name for name, _ in events(encoder.feed(following))] == ["content_block_stop", "content_block_start"]


def test_call_that_waits_too_long_or_goes_on_when_it_was_over_breaks_the_answer() -> None:
    encoder = MESSAGES.encoder(request(), request_id="req_1")
    for piece in INTERLEAVED[:2]:
        encoder.feed(piece)
    with pytest.raises(BrokenAnswer):
        for _ in range(20):
            encoder.feed(chunk(tool_calls=[{"index": 1, "function": {"arguments": "x" * 1_000_000}}]))
    encoder = MESSAGES.encoder(request(), request_id="req_1")
    for piece in [*pieces_of_call(0, "a", "f", '{"x": 1}'), chunk(content="text")]:
        encoder.feed(piece)
    assert encoder.feed(chunk(tool_calls=[{"index": 0, "function": {"arguments": " "}}])) == b""
    with pytest.raises(BrokenAnswer):
        encoder.feed(chunk(tool_calls=[{"index": 0, "function": {"arguments": "1"}}]))


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: []\n\n", b"data: " + b"[" * 100_000 + b"\n\n"])
def test_event_that_is_no_chunk_breaks_the_answer(data: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        MESSAGES.encoder(request(), request_id="req_1").feed(data)
    with pytest.raises(BrokenAnswer):
        answer(data.removeprefix(b"data: "))


def test_stop_sequence_is_named_where_the_provider_names_it() -> None:
    body = json.loads(whole("stop", content="a"))
    body["choices"][0]["stop_reason"] = "END"
    found = answer(json.dumps(body).encode(), stop_sequences=["END"])
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")
    last = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}]})
    message = streamed([chunk(content="a"), last], stop_sequences=["END"])
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
    assert answer(json.dumps(body).encode(), stop_sequences=["OTHER"])["stop_reason"] == "end_turn"


def test_calls_without_the_word_for_it_are_tool_use() -> None:
    call = function_call("", "f", '{"x": 1}')
    found = answer(whole("stop", tool_calls=[call]))
    assert found["stop_reason"] == "tool_use"
    assert found["content"] == [use("toolu_1_0", "f", {"x": 1})]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimited("Slow down."), "rate_limit_error"),
        (NotFound("No such model.", code="model_not_found", param="model"), "not_found_error"),
        (TooLarge("Too large."), "request_too_large"),
        (InsufficientFunds("Too poor.", details={"available_usd": "0"}), "billing_error"),
        (ProviderFailed("It broke."), "api_error"),
        (Unavailable("Away."), "overloaded_error"),
    ],
)
def test_errors_are_anthropics(error: Any, kind: str) -> None:
    body = MESSAGES.error(error, "req_1")
    assert (body["type"], body["request_id"]) == ("error", "req_1")
    assert body["error"]["type"] == kind
    assert body["error"]["code"] == error.code
    assert body["error"].get("param") == error.param
    assert body["error"].get("faucet") == error.details
    data = b"event: error\ndata: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
    assert MESSAGES.error_event(error, "req_1") == data
    assert MESSAGES.encoder(request(), request_id="req_1").fail(error) == data


def test_stop_sequence_comes_through_from_anthropic_itself() -> None:
    adapter = ADAPTERS["anthropic"]
    said = {"type": "message", "id": "msg_0", "model": "m", "content": [text("a")], "usage": {}}
    body = json.dumps(said | {"stop_reason": "stop_sequence", "stop_sequence": "END"}).encode()
    found = answer(adapter.read_chat(body, created=0), stop_sequences=["END"])
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")
    start = {"type": "message_start", "message": said | {"content": []}}
    block = {"type": "content_block_start", "index": 0, "content_block": text("a")}
    end = {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}, "usage": {}}
    decoder = adapter.chat_stream(created=0)
    assert decoder is not None
    chunks = [decoder.feed(write_event(each["type"], each)) for each in (start, block, end)]
    message = streamed(chunks, stop_sequences=["END"])
    assert (message["content"], message["stop_reason"], message["stop_sequence"]) == (
        [text("a")],
        "stop_sequence",
        "END",
    )
