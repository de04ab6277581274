"""Streams put together and answers taken apart: what comes out is what went in, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.gateway.cache.streams import MAX_EVENT_BYTES, Collector, put_together, renewed, take_apart
from apps.usage.rate import Tokens

TOKENS = Tokens(input=3, cache_read=4, output=5, reasoning=2)
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def answer(*messages: dict[str, Any], **choice: Any) -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": "stop", **choice}
        for index, message in enumerate(messages)
    ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": choices,
    }


def events(*deltas: dict[str, Any], finish: str | None = "stop", **more: Any) -> bytes:
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta, **more}]} for delta in deltas]
    if finish:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return b"".join(b"data: " + json.dumps({"id": "x", "model": "m", **chunk}).encode() + b"\n\n" for chunk in chunks)


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hello"},
        {"content": "é" * 1_000},
        {"content": None, "tool_calls": [CALL, {**CALL, "id": "call_2"}]},
        {"content": "Let me see.", "tool_calls": [CALL]},
        {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"content": None, "refusal": "No."},
        {"content": "4", "reasoning_content": "2 and 2"},
        {"content": "4", "reasoning": "2 and 2"},
        {"content": "4", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
        {"content": "x", "annotations": [{"type": "url_citation"}]},
        {"content": ""},
    ],
)
def test_answer_survives_being_a_stream(message: dict[str, Any]) -> None:
    whole = answer(message)
    streamed = take_apart(whole, with_usage=False)
    again = json.loads(put_together(streamed, TOKENS) or b"{}")
    assert again["choices"] == whole["choices"]
    assert (again["model"], again["system_fingerprint"]) == ("m", "fp")
    assert again["usage"]["prompt_tokens"] == 7
    assert again["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_choices_and_log_probabilities_survive() -> None:
    tokens = {"content": [{"token": "a", "logprob": -1}], "refusal": None}
    whole = answer({"content": "a"}, {"content": "a"}, logprobs=tokens)
    again = json.loads(put_together(take_apart(whole, with_usage=False), None) or b"{}")
    assert again["choices"] == whole["choices"]
    assert "usage" not in again


def test_usage_comes_last_and_only_where_it_is_asked_for() -> None:
    whole = {**answer({"content": "a"}), "usage": {"prompt_tokens": 1}}
    assert b'"usage"' not in take_apart(whole, with_usage=False)
    last = take_apart(whole, with_usage=True).strip().split(b"\n\n")[-1]
    assert json.loads(last[6:])["usage"] == {"prompt_tokens": 1}
    assert json.loads(last[6:])["choices"] == []


def test_long_text_comes_in_pieces() -> None:
    streamed = take_apart(answer({"content": "word " * 1_000}), with_usage=False)
    assert streamed.count(b"\n\n") > 20


def test_calls_that_come_in_parts_are_joined() -> None:
    parts = [
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "id": "", "function": {"name": "", "arguments": "1}"}}]},
    ]
    whole = json.loads(put_together(events({"role": "assistant", "content": None}, *parts), None) or b"{}")
    calls = whole["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", "{}"),
    ]


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        events({"content": "a"}, finish=None),
        events({"content": "a", "novelty": {"x": 1}}),
        events({"content": "a"}, novelty=1),
        events({"content": ["parts"]}),
        events({"tool_calls": [{"id": "no index"}]}),
        events({"tool_calls": [{"index": 0, "novelty": 1}]}),
        events({"content": "a"}, logprobs={"novelty": []}),
        b"data: no json\n\n",
        b"data: []\n\n",
        events({"content": "a"}) + b'data: {"choices":[{"index":1,"delta":{"content":"b"}}]}\n\n',
        b'data: {"choices":[7]}\n\n',
    ],
)
def test_what_is_not_understood_is_not_kept(stream: bytes) -> None:
    collector = Collector()
    collector.feed(stream)
    assert collector.answer(None) is None


def test_stream_that_is_too_long_is_let_go() -> None:
    collector = Collector()
    event = events({"content": "a" * 1_000}, finish=None)
    for _ in range(MAX_EVENT_BYTES // len(event) + 1):
        collector.feed(event)
    collector.feed(events())
    assert collector.answer(None) is None


def test_comments_and_unknown_members_of_an_answer_are_no_hindrance() -> None:
    whole = json.loads(put_together(b": keep-alive\n\n" + events({"content": "a"}), None) or b"{}")
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "a"}


def test_answer_is_renewed_for_each_request() -> None:
    again = renewed(json.dumps(answer({"content": "a"})).encode(), request_id="req_9", created=99)
    assert (again["id"], again["created"]) == ("chatcmpl-9", 99)


texts = st.text(max_size=700)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(texts, st.none() | texts), min_size=1, max_size=3))
def test_any_text_survives(said: list[tuple[str, str | None]]) -> None:
    messages = [{"content": text, **({"refusal": other} if other else {})} for text, other in said]
    whole = answer(*messages)
    again = json.loads(put_together(take_apart(whole, with_usage=False), None) or b"{}")
    assert again["choices"] == whole["choices"]
