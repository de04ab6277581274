"""Canonical answers as providers give them, whole and as the chunks of a stream: what every format has to carry."""

import json
from typing import Any

from apps.usage.rate import Tokens

USAGE = Tokens(input=20, cache_read=8, cache_write=4, output=30, reasoning=12)
NOTE = {"request_id": "req_1", "price_usd": "0.0001", "estimated": False, "outcome": "finished"}
SIGNED = {"type": "thinking", "thinking": "Let me look.", "signature": "c2lnbmF0dXJl"}
REDACTED = {"type": "redacted_thinking", "data": "aGlkZGVu"}
ARGUMENTS = '{"city": "Zürich", "unit": "celsius"}'


def function_call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def whole(finish: str | None, **message: Any) -> bytes:
    """Return an answer in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    return json.dumps(head("chat.completion") | {"choices": [choice], "usage": {"prompt_tokens": 32}}).encode()


def head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": "model-up"}


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(head("chat.completion.chunk") | {"choices": [choice]})


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


USAGE_CHUNK = event(head("chat.completion.chunk") | {"choices": [], "usage": {"prompt_tokens": 32}})
START = chunk(role="assistant", content="", refusal=None)


def pieces_of_call(index: int, identity: str, name: str, arguments: str, size: int = 5) -> list[bytes]:
    """Return the chunks of one call: its name first, then its arguments in pieces."""
    first = function_call(identity, name, "") | {"index": index}
    out = [chunk(tool_calls=[first])]
    for start in range(0, len(arguments), size):
        piece = {"index": index, "function": {"arguments": arguments[start : start + size]}}
        out.append(chunk(tool_calls=[piece]))
    return out


TWO_CALLS = [
    *pieces_of_call(0, "call_a", "get_weather", ARGUMENTS),
    *pieces_of_call(1, "call_b", "get_time", '{"zone": {"name": "CET"}}'),
]
_A, _B = (
    pieces_of_call(0, "call_a", "get_weather", ARGUMENTS),
    pieces_of_call(1, "call_b", "get_time", '{"zone": "CET"}'),
)
INTERLEAVED = [each for pair in zip(_A, _B, strict=False) for each in pair] + _A[len(_B) :]

# Streams by name, without [DONE] as the meter hands them on.
STREAMS: dict[str, list[bytes]] = {
    "text": [START, chunk(content="Grüße, "), chunk(content="你好"), chunk("stop"), USAGE_CHUNK],
    "one chunk": [chunk("stop", content="All at once")],
    "cut off": [START, chunk(content="On and"), chunk("length"), USAGE_CHUNK],
    "filtered": [START, chunk(content="No"), chunk("content_filter"), USAGE_CHUNK],
    "refusal": [START, chunk(refusal="I can"), chunk(refusal="not."), chunk("stop"), USAGE_CHUNK],
    "call": [START, *pieces_of_call(0, "call_a", "get_weather", ARGUMENTS), chunk("tool_calls"), USAGE_CHUNK],
    "two calls": [START, chunk(content="I look."), *TWO_CALLS, chunk("tool_calls"), USAGE_CHUNK],
    "interleaved calls": [START, *INTERLEAVED, chunk("tool_calls"), USAGE_CHUNK],
    "whole calls": [
        chunk(
            tool_calls=[
                function_call("call_a", "get_weather", ARGUMENTS) | {"index": 0},
                function_call("call_b", "get_time", "") | {"index": 1},
            ]
        ),
        chunk("tool_calls"),
        USAGE_CHUNK,
    ],
    "thinking, unsigned": [
        chunk(reasoning_content="Let me "),
        chunk(reasoning_content="look."),
        chunk(content="There."),
        chunk("stop"),
        USAGE_CHUNK,
    ],
    "thinking, signed": [
        chunk(reasoning_content="Let me "),
        chunk(reasoning_content="look."),
        chunk(thinking_blocks=[SIGNED]),
        chunk(thinking_blocks=[REDACTED]),
        chunk(content="There."),
        *pieces_of_call(0, "call_a", "get_weather", ARGUMENTS),
        chunk("tool_calls"),
        USAGE_CHUNK,
    ],
    "odd": [
        b": OPENROUTER PROCESSING\n\n",
        START,
        b": keep-alive\n\n",
        chunk(content=[{"type": "text", "text": "In parts"}], vendor={"x": 1}, tool_calls=None),
        event({"choices": [{"delta": None}], "extra": True}),
        event({"choices": None}),
        chunk("eos"),
    ],
    "nothing": [],
    "nothing said": [START, chunk("stop"), USAGE_CHUNK],
}
WHOLE: dict[str, bytes] = {
    "text": whole("stop", content="Grüße, 你好"),
    "parts": whole("stop", content=[{"type": "text", "text": "In parts"}]),
    "cut off": whole("length", content="On and"),
    "filtered": whole("content_filter", content="No"),
    "refusal": whole("stop", refusal="I cannot."),
    "calls": whole(
        "tool_calls",
        content="I look.",
        tool_calls=[
            function_call("call_a", "get_weather", ARGUMENTS),
            function_call("call_b", "get_time", ""),
            function_call("call_c", "broken", '{"city": '),
        ],
    ),
    "thinking, unsigned": whole("stop", content="There.", reasoning_content="Let me look."),
    "thinking, signed": whole(
        "stop", content="There.", reasoning_content="Let me look.", thinking_blocks=[SIGNED, REDACTED]
    ),
    "nothing said": whole("stop", content=""),
    "no choice": json.dumps(head("chat.completion") | {"choices": []}).encode(),
}
