"""Answers as a client of Responses reads them: output items, numbered events, usage in its words."""

import json
from typing import Any

import pytest

from apps.core.errors import ProviderFailed, RateLimited
from apps.gateway.formats.responses import RESPONSES
from apps.gateway.formats.responses.reasoning import unpack
from apps.gateway.formats.responses.stream import MAX_KEPT
from apps.gateway.metering import BrokenAnswer
from apps.gateway.wire import ChatRequest
from tests.gateway.formats.reading import encode, events
from tests.gateway.formats.shapes import (
    ARGUMENTS,
    REDACTED,
    SIGNED,
    START,
    STREAMS,
    USAGE,
    WHOLE,
    chunk,
    function_call,
    pieces_of_call,
    whole,
)

READ_USAGE = {
    "input_tokens": 32,
    "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 4},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 62,
}
TOOL = {"type": "function", "name": "get_weather", "parameters": {}, "strict": None}
CUSTOM = {"type": "custom", "name": "patch"}
ENCRYPTED = ["reasoning.encrypted_content"]


def request(**more: Any) -> ChatRequest:
    return RESPONSES.parse(json.dumps({"model": "m", "input": "Hi", **more}).encode())


def answer(canonical: bytes, **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(RESPONSES.answer(canonical, request(**more), request_id="req_1", usage=USAGE))
    return result


def output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message(*parts: dict[str, Any], place: int = 0, status: str = "completed") -> dict[str, Any]:
    return {
        "id": f"msg_1_{place}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(parts),
    }


def call(place: int, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"fc_1_{place}",
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def reasoning(place: int, text: str) -> dict[str, Any]:
    return {"id": f"rs_1_{place}", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


def weather(place: int) -> dict[str, Any]:
    return call(place, "call_a", "get_weather", ARGUMENTS)


def streamed(chunks: list[bytes], *, at_once: bool = False, **more: Any) -> dict[str, Any]:
    """Return the last event's response, checking that the events before it say the same, in order."""
    made: dict[int, dict[str, Any]] = {}
    done: dict[int, dict[str, Any]] = {}
    last: dict[str, Any] = {}
    found = events(encode(RESPONSES.encoder(request(**more), request_id="req_1"), chunks, at_once=at_once))
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    assert [name for name, _ in found[:2]] == ["response.created", "response.in_progress"]
    for name, data in found:
        assert name == data["type"]
        assert not last
        place = data.get("output_index", -1)
        if "item_id" in data:
            assert data["item_id"] == made[place]["id"]
            assert place not in done
        if name in ("response.created", "response.in_progress"):
            assert (data["response"]["status"], data["response"]["output"]) == ("in_progress", [])
        elif name == "response.output_item.added":
            assert place == len(made)
            made[place] = data["item"]
        elif name == "response.output_item.done":
            assert (
                made[place] | {"status": None} == data["item"] | {"status": None} or data["item"]["type"] == "reasoning"
            )
            done[place] = data["item"]
        elif name == "response.content_part.added":
            assert data["content_index"] == len(made[place]["content"])
            made[place]["content"].append(data["part"])
        elif name == "response.content_part.done":
            assert made[place]["content"][data["content_index"]] == data["part"]
        elif name in ("response.output_text.delta", "response.refusal.delta"):
            member = "text" if "text" in name else "refusal"
            made[place]["content"][data["content_index"]][member] += data["delta"]
        elif name in ("response.output_text.done", "response.refusal.done"):
            member = "text" if "text" in name else "refusal"
            assert made[place]["content"][data["content_index"]][member] == data[member]
        elif name == "response.reasoning_summary_part.added":
            made[place]["summary"].append(data["part"])
        elif name == "response.reasoning_summary_text.delta":
            made[place]["summary"][0]["text"] += data["delta"]
        elif name in ("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"):
            assert made[place]["summary"][0]["text"] == (data.get("text") or data["part"]["text"])
        elif name == "response.function_call_arguments.delta":
            made[place]["arguments"] += data["delta"]
        elif name == "response.function_call_arguments.done":
            assert made[place]["arguments"] == data["arguments"]
        elif name == "response.custom_tool_call_input.delta":
            made[place]["input"] += data["delta"]
        elif name == "response.custom_tool_call_input.done":
            assert made[place]["input"] == data["input"]
        else:
            last = data["response"]
            assert name == f"response.{last['status']}"
    assert last["output"] == [done[place] for place in sorted(made)]
    return last


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    ("name", "output", "reason"),
    [
        ("text", [message(output_text("Grüße, 你好"))], None),
        ("one chunk", [message(output_text("All at once"))], None),
        ("cut off", [message(output_text("On and"), status="incomplete")], "max_output_tokens"),
        ("filtered", [message(output_text("No"), status="incomplete")], "content_filter"),
        ("refusal", [message({"type": "refusal", "refusal": "I cannot."})], None),
        ("call", [weather(0)], None),
        (
            "two calls",
            [message(output_text("I look.")), weather(1), call(2, "call_b", "get_time", '{"zone": {"name": "CET"}}')],
            None,
        ),
        ("interleaved calls", [weather(0), call(1, "call_b", "get_time", '{"zone": "CET"}')], None),
        ("whole calls", [weather(0), call(1, "call_b", "get_time", "")], None),
        ("thinking, unsigned", [reasoning(0, "Let me look."), message(output_text("There."), place=1)], None),
        ("thinking, signed", [reasoning(0, "Let me look."), message(output_text("There."), place=1), weather(2)], None),
        ("odd", [message(output_text("In parts"))], None),
        ("nothing", [], None),
        ("nothing said", [], None),
    ],
)
def test_stream(name: str, output: list[Any], reason: str | None, at_once: bool) -> None:
    found = streamed(STREAMS[name], at_once=at_once)
    assert found["output"] == output
    assert (found["id"], found["object"], found["model"]) == (
        "resp_1",
        "response",
        "" if name == "nothing" else "model-up",
    )
    assert found["usage"] == READ_USAGE
    assert found["status"] == ("incomplete" if reason else "completed")
    assert found["incomplete_details"] == ({"reason": reason} if reason else None)


@pytest.mark.parametrize(
    ("name", "output", "reason"),
    [
        ("text", [message(output_text("Grüße, 你好"))], None),
        ("parts", [message(output_text("In parts"))], None),
        ("cut off", [message(output_text("On and"), status="incomplete")], "max_output_tokens"),
        ("filtered", [message(output_text("No"), status="incomplete")], "content_filter"),
        ("refusal", [message({"type": "refusal", "refusal": "I cannot."})], None),
        (
            "calls",
            [
                message(output_text("I look.")),
                weather(1),
                call(2, "call_b", "get_time", ""),
                call(3, "call_c", "broken", '{"city": '),
            ],
            None,
        ),
        ("thinking, unsigned", [reasoning(0, "Let me look."), message(output_text("There."), place=1)], None),
        ("thinking, signed", [reasoning(0, "Let me look."), message(output_text("There."), place=1)], None),
        ("nothing said", [], None),
        ("no choice", [], None),
    ],
)
def test_whole_answer(name: str, output: list[Any], reason: str | None) -> None:
    found = answer(WHOLE[name])
    assert found["output"] == output
    assert found["usage"] == READ_USAGE
    assert found["incomplete_details"] == ({"reason": reason} if reason else None)
    assert found["created_at"] == 1_700_000_000


def test_answer_says_again_what_was_asked_for() -> None:
    asked = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "tools": [TOOL],
        "tool_choice": "required",
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "max_output_tokens": 77,
    }
    found = answer(WHOLE["text"], store=True, **asked)
    assert {name: found[name] for name in asked} == asked
    assert found["store"] is False
    assert streamed(STREAMS["text"], **asked)["tools"] == [TOOL]


@pytest.mark.parametrize("form", ["whole", "stream"])
def test_signed_thinking_is_packed_for_the_next_turn(form: str) -> None:
    name = "thinking, signed"
    more: Any = {"include": ENCRYPTED}
    found = answer(WHOLE[name], **more) if form == "whole" else streamed(STREAMS[name], **more)
    assert unpack(found["output"][0]["encrypted_content"]) == [SIGNED, REDACTED]
    again = request(input=[*found["output"], {"role": "user", "content": "Go on"}])
    assert json.loads(bytes(again.members["messages"]))[0]["thinking_blocks"] == [SIGNED, REDACTED]


def test_custom_calls_are_free_text_again() -> None:
    given = {"type": "custom_tool_call", "id": "ctc_1_0", "call_id": "call_p", "name": "patch"}
    for arguments, text in [
        ('{"input": "*** Begin\\n"}', "*** Begin\n"),
        ("*** Begin", "*** Begin"),
        ('{"x": 1}', '{"x": 1}'),
    ]:
        made = function_call("call_p", "patch", arguments)
        assert answer(whole("tool_calls", tool_calls=[made]), tools=[CUSTOM])["output"] == [given | {"input": text}]
        chunks = [START, *pieces_of_call(0, "call_p", "patch", arguments), chunk("tool_calls")]
        assert streamed(chunks, tools=[CUSTOM])["output"] == [given | {"input": text}]


def test_text_goes_out_as_it_comes_and_the_end_only_from_finish() -> None:
    encoder = RESPONSES.encoder(request(), request_id="req_1")
    assert len(events(encoder.feed(START))) == 2
    kinds = [name for name, _ in events(encoder.feed(chunk(content="a")))]
    assert kinds == ["response.output_item.added", "response.content_part.added", "response.output_text.delta"]
    assert [name for name, _ in events(encoder.feed(chunk(content="b")))] == ["response.output_text.delta"]
    kinds = [name for name, _ in events(encoder.feed(chunk("stop")))]
    assert kinds == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    last = encoder.finish({"price_usd": "0.1"}, usage=USAGE)
    assert b': modelfaucet {"price_usd":"0.1"}\n\n' in last
    assert [name for name, _ in events(last)] == ["response.completed"]


def test_failure_is_a_response_that_failed() -> None:
    error = ProviderFailed("It broke.", code="provider_broke_off")
    encoder = RESPONSES.encoder(request(), request_id="req_1")
    encoder.feed(START + chunk(content="a"))
    [(name, data)] = events(encoder.fail(error))
    assert (name, data["sequence_number"], data["response"]["status"]) == ("response.failed", 5, "failed")
    assert data["response"]["error"] == {
        "code": "server_error",
        "message": "It broke.",
        "type": "provider_broke_off",
        "param": None,
    }
    kinds = [name for name, _ in events(RESPONSES.error_event(RateLimited("Slow down."), "req_1"))]
    assert kinds == ["response.created", "response.in_progress", "response.failed"]
    assert RESPONSES.error(error, "req_1") == error.envelope("req_1")


def test_answer_that_is_longer_than_is_kept_breaks() -> None:
    encoder = RESPONSES.encoder(request(), request_id="req_1")
    encoder._kept = MAX_KEPT
    with pytest.raises(BrokenAnswer):
        encoder.feed(chunk(content="a"))


def test_calls_that_make_no_sense_break_the_answer() -> None:
    for chunks in (
        [chunk(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}])],
        [*pieces_of_call(0, "a", "f", "{}"), chunk("tool_calls"), *pieces_of_call(0, "a", "f", "{}")[1:]],
        [chunk(tool_calls=[function_call("a", "f", "{}") | {"index": n} for n in range(1_001)])],
    ):
        encoder = RESPONSES.encoder(request(), request_id="req_1")
        with pytest.raises(BrokenAnswer):
            encoder.feed(b"".join(chunks))
