"""What is read off an answer: usage in every provider's style, and streams however they are cut into reads."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.gateway.metering import MAX_EVENT_BYTES, BrokenAnswer, read_answer, read_usage
from apps.gateway.stream_meter import StreamMeter
from apps.gateway.tokens import count_tokens
from apps.usage.rate import Tokens

OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 30,
    "total_tokens": 130,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 10},
}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (OPENAI, Tokens(input=60, cache_read=40, output=30, reasoning=10)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 30,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
            },
            Tokens(input=36, cache_read=64, output=30),
        ),
        (  # xAI counts reasoning beside completion_tokens
            {
                "prompt_tokens": 100,
                "completion_tokens": 30,
                "total_tokens": 180,
                "completion_tokens_details": {"reasoning_tokens": 50},
            },
            Tokens(input=100, output=80, reasoning=50),
        ),
        (  # OpenRouter
            {
                "prompt_tokens": 100,
                "completion_tokens": 30,
                "prompt_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 20},
                "cost": 0.00014,
            },
            Tokens(input=30, cache_read=50, cache_write=20, output=30),
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 30, "cache_creation_input_tokens": 20},
            Tokens(input=80, cache_write=20, output=30),
        ),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Tokens()),
        ({"prompt_tokens": 7.0, "completion_tokens": 3}, Tokens(input=7, output=3)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": None}, Tokens(input=7, output=3)),
        (  # more cached than there was: never negative
            {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 99}},
            Tokens(cache_read=7, output=3),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 9}},
            Tokens(input=7, output=3, reasoning=3),
        ),
    ],
)
def test_usage_is_read_in_disjoint_kinds(usage: Any, tokens: Tokens) -> None:
    assert read_usage(usage) == tokens


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "12",
        {"prompt_tokens": 5},
        {"completion_tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": "5", "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": None},
        {"prompt_tokens": float("inf"), "completion_tokens": 5},
        {"prompt_tokens": float("nan"), "completion_tokens": 5},
        {"prompt_tokens": 10**30, "completion_tokens": 5},
    ],
)
def test_usage_that_makes_no_sense_is_missing(usage: Any) -> None:
    assert read_usage(usage) is None


def answer(**message: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "Hello"}, "Hello"),
        ({"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}, "Hello"),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": "", "reasoning_content": "Hm"}, "Hm"),
        ({"tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]}, "look{}"),
        ({"tool_calls": [{"type": "custom", "custom": {"name": "write", "input": "an essay"}}]}, "writean essay"),
        ({"function_call": {"name": "look", "arguments": ""}}, "look"),
        ({"content": "", "images": [{"image_url": {"url": "data:image/png;base64,AA=="}}]}, " "),
        ({"content": "", "images": []}, ""),
        ({"content": ""}, ""),
        ({"content": 5, "tool_calls": "x"}, ""),
        ({"tool_calls": [None, {"function": None}, {"function": {"name": 4}}]}, ""),
    ],
)
def test_text_of_a_message_is_whatever_the_model_wrote(message: dict[str, Any], text: str) -> None:
    read = read_answer(answer(**message))
    assert (read.text, read.has_content) == (text, bool(text))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"choices"',
        b"<html>",
        b'{"choices": null}',
        b'{"choices": {}}',
        b'{"error": {"message": "no"}}',
        b'{"error": "no", "choices": []}',
        b'{"choices": [5]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        read_answer(body)


# Streams.


def chunk(text: str | None = None, *, reason: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}


def sse(*events: Any, end: str = "\n") -> bytes:
    lines = [e if isinstance(e, str) else "data: " + json.dumps(e, ensure_ascii=False) for e in events]
    return "".join(line + end * 2 for line in lines).encode()


def run(data: bytes, cuts: list[int] | None = None, *, strip: bool = True) -> tuple[StreamMeter, bytes]:
    """Feed `data` cut at `cuts` and return the meter and all that is forwarded."""
    meter = StreamMeter(strip_usage=strip, tokenizer="o200k_base")
    out = b""
    edges = [0, *sorted(cuts or []), len(data)]
    for start, stop in pairwise(edges):
        if stop > start and not meter.done and meter.error is None:
            out += meter.feed(data[start:stop])
    if not meter.done and meter.error is None:
        out += meter.flush()
    return meter, out


def texts(out: bytes) -> str:
    events = [json.loads(line[6:]) for line in out.decode().splitlines() if line.startswith("data: {")]
    return "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])


TALE = "你好 world, „Grüße“ 🙂 and so on"
STREAM = sse(
    ": a comment",
    chunk(""),
    *(chunk(word) for word in TALE.split(" ")),
    chunk('it says "usage": {} and "error" and [DONE]'),
    chunk(reason="stop"),
    {"id": "c", "choices": [], "usage": OPENAI},
    "data: [DONE]",
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=30), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_stream_is_read_the_same_however_it_is_cut(cuts: list[int], strip: bool, end: str) -> None:
    data = STREAM if end == "\n" else STREAM.replace(b"\n", b"\r\n")
    meter, out = run(data, cuts, strip=strip)
    assert meter.usage == Tokens(input=60, cache_read=40, output=30, reasoning=10)
    assert (meter.finish_reason, meter.done, meter.has_content, meter.error) == ("stop", True, True, None)
    kept = STREAM.replace(sse("data: [DONE]"), b"")
    if strip:
        kept = kept.replace(sse({"id": "c", "choices": [], "usage": OPENAI}), b"")
    assert out == kept


def test_stream_is_read_byte_by_byte() -> None:
    meter, out = run(STREAM, list(range(len(STREAM))))
    assert meter.done
    assert texts(out).startswith(TALE.replace(" ", ""))


def test_usage_in_each_chunk_is_stripped_and_the_last_one_counts() -> None:
    usages = [{"prompt_tokens": 5, "completion_tokens": n} for n in range(1, 4)]
    data = sse(
        *(chunk("word", usage=usage) for usage in usages), chunk(reason="stop", usage=usages[-1]), "data: [DONE]"
    )
    for cuts in ([], [60], list(range(0, len(data), 7))):
        meter, out = run(data, cuts)
        assert meter.usage == Tokens(input=5, output=3)
        assert b"usage" not in out
        assert texts(out) == "wordwordword"


def test_usage_in_each_chunk_of_a_long_read_is_stripped() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 9}
    data = sse(*(chunk("word" * 20, usage=usage) for _ in range(200)), chunk(reason="stop"), "data: [DONE]")
    assert len(data) > 30_000
    meter, out = run(data)
    assert meter.usage == Tokens(input=5, output=9)
    assert b"usage" not in out


@pytest.mark.parametrize("strip", [True, False])
@pytest.mark.parametrize("ends", [True, False], ids=["done", "no-done"])
@pytest.mark.parametrize("cuts", [[], [200], [9_000]])
def test_usage_far_from_the_end_of_a_long_read_is_found(strip: bool, ends: bool, cuts: list[int]) -> None:
    citations = ["https://example.com/" + "x" * 100] * 90
    last = chunk(reason="stop", usage={"prompt_tokens": 5, "completion_tokens": 9}, citations=citations)
    data = sse(chunk("Hello"), *(chunk("word" * 20) for _ in range(30)), last, *(["data: [DONE]"] if ends else []))
    meter, out = run(data, cuts, strip=strip)
    assert (meter.finish_reason, meter.done) == ("stop", ends)
    assert meter.usage == Tokens(input=5, output=9)
    assert texts(out) == "Hello" + "word" * 20 * 30


def test_usage_far_from_the_end_is_found_after_the_client_has_left() -> None:
    last = chunk(reason="stop", usage={"prompt_tokens": 5, "completion_tokens": 9}, citations=["x" * 9_000])
    meter = StreamMeter(strip_usage=True, tokenizer="o200k_base")
    meter.feed(sse(chunk("Hello")))
    meter.client_left = True
    meter.feed(sse(chunk("never delivered" * 100), last))
    assert meter.usage == Tokens(input=5, output=9)
    assert meter.finish_reason == "stop"
    assert meter.delivered_tokens() == count_tokens("Hello", "o200k_base")


def test_nothing_after_the_end_marker_is_forwarded() -> None:
    data = sse(chunk("Hello"), chunk(reason="stop"), "data: [DONE]", chunk("more"), ": bye")
    meter, out = run(data)
    assert meter.done
    assert texts(out) == "Hello"
    assert b"bye" not in out


@pytest.mark.parametrize("error", [{"message": "overloaded"}, "overloaded"])
def test_error_event_is_kept_from_the_client(error: Any) -> None:
    meter, out = run(sse(chunk("Hello"), {"error": error}))
    assert meter.error == error
    assert texts(out) == "Hello"
    assert b"overloaded" not in out


def test_null_error_and_null_usage_are_none() -> None:
    meter, out = run(sse(chunk("Hello", error=None, usage=None), chunk(reason="stop", usage=None), "data: [DONE]"))
    assert (meter.error, meter.usage, meter.done) == (None, None, True)
    assert texts(out) == "Hello"


def test_one_choice_that_ended_in_error_decides() -> None:
    first, second = chunk(reason="stop"), chunk(reason="error")
    assert run(sse(chunk("a"), first, second, "data: [DONE]"))[0].finish_reason == "error"


def test_event_in_several_lines_is_one() -> None:
    usage = '"usage": {"prompt_tokens": 1,\ndata: "completion_tokens": 2}'
    meter, _ = run(
        sse(chunk("Hello"), f'event: message\nid: 5\ndata: {{"choices": [],\ndata: {usage}}}', "data:[DONE]")
    )
    assert meter.usage == Tokens(input=1, output=2)
    assert meter.done


def test_what_is_not_json_is_passed_on() -> None:
    meter, out = run(sse(chunk("Hello"), "data: {broken", "data: [1]", "event: ping", chunk(reason="stop")))
    assert out == sse(chunk("Hello"), "data: {broken", "data: [1]", "event: ping", chunk(reason="stop"))
    assert meter.finish_reason == "stop"


def test_last_event_without_an_empty_line_counts() -> None:
    meter, out = run(sse(chunk("Hello")) + b"data: " + json.dumps(chunk(reason="stop")).encode() + b"\n")
    assert meter.finish_reason == "stop"
    assert b'"stop"' in out


def test_event_without_end_is_broken() -> None:
    meter = StreamMeter(strip_usage=True, tokenizer="o200k_base")
    with pytest.raises(BrokenAnswer):
        for _ in range(MAX_EVENT_BYTES // 1_000_000 + 1):
            meter.feed(b"x" * 1_000_000)


def test_content_is_noticed_wherever_it_first_comes() -> None:
    tool = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "look"}}]}}]}
    for content in (chunk("x"), tool, {"choices": [{"delta": {"reasoning_content": "hm"}}]}):
        meter, _ = run(sse(chunk(""), content, chunk(reason="stop"), "data: [DONE]"))
        assert meter.has_content
    assert not run(sse(chunk(""), chunk(reason="stop"), "data: [DONE]"))[0].has_content


def test_delivered_tokens_are_counted_in_bounded_memory() -> None:
    meter = StreamMeter(strip_usage=True, tokenizer="o200k_base")
    text = "several words at once, " * 20
    for _ in range(3_000):
        meter.feed(sse(chunk(text)))
        assert meter._kept_bytes < 300_000
    expected = count_tokens(text * 3_000, "o200k_base")
    assert abs(meter.delivered_tokens() - expected) <= expected // 1000
