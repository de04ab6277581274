"""Whatever a provider says, a client gets its own format or the answer is called broken: never a fault of ours."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.gateway.formats.base import ClientFormat
from apps.gateway.formats.messages import MESSAGES
from apps.gateway.formats.responses import RESPONSES
from apps.gateway.metering import BrokenAnswer
from tests.gateway.formats.reading import events
from tests.gateway.formats.shapes import NOTE, USAGE, event

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
ODD = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
TEXT = st.text(max_size=6) | ODD
FUNCTION = (
    st.fixed_dictionaries({}, optional={"name": st.just("f") | TEXT, "arguments": st.just('{"a":1}') | TEXT}) | ODD
)
CALL = st.fixed_dictionaries({}, optional={"index": st.integers(0, 2) | ODD, "id": TEXT, "function": FUNCTION}) | ODD
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["thinking", "redacted_thinking", "odd"])},
    optional={"thinking": TEXT, "signature": TEXT, "data": TEXT},
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "content": TEXT | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})),
        "reasoning_content": TEXT,
        "reasoning": TEXT,
        "refusal": TEXT,
        "tool_calls": st.lists(CALL, max_size=3) | ODD,
        "thinking_blocks": st.lists(BLOCK, max_size=2) | ODD,
    },
)
REASON = st.sampled_from(["stop", "length", "tool_calls", "content_filter", None]) | ODD
CHOICE = st.fixed_dictionaries({}, optional={"index": st.just(0) | ODD, "delta": DELTA | ODD, "finish_reason": REASON})
CHUNK = (
    st.fixed_dictionaries(
        {}, optional={"choices": st.lists(CHOICE | ODD, max_size=2) | ODD, "model": ODD, "created": ODD, "usage": ODD}
    )
    | ODD
)
ASKED: list[tuple[ClientFormat, dict[str, Any]]] = [
    (MESSAGES, {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "thinking": {"type": "adaptive"}}),
    (
        RESPONSES,
        {"input": "x", "include": ["reasoning.encrypted_content"], "tools": [{"type": "custom", "name": "f"}]},
    ),
    (RESPONSES, {"input": "x"}),
]


@pytest.mark.parametrize(("format", "asked"), ASKED)
@settings(max_examples=120, deadline=None)
@given(chunks=st.lists(CHUNK, max_size=6))
def test_any_stream(format: ClientFormat, asked: dict[str, Any], chunks: list[Any]) -> None:
    encoder = format.encoder(format.parse(json.dumps(asked).encode()), request_id="req_1")
    assert encoder is not None
    try:
        data = b"".join(encoder.feed(event(chunk)) for chunk in chunks) + encoder.finish(NOTE, usage=USAGE)
    except BrokenAnswer:
        return
    found = events(data)
    assert found[-1][0] in ("message_stop", "response.completed", "response.incomplete")
    opened = [name for name, _ in found if name.endswith(("block_start", "item.added"))]
    closed = [name for name, _ in found if name.endswith(("block_stop", "item.done"))]
    assert len(opened) == len(closed)


@pytest.mark.parametrize(("format", "asked"), ASKED)
@settings(max_examples=120, deadline=None)
@given(message=DELTA | ODD, reason=REASON, more=ODD)
def test_any_answer(format: ClientFormat, asked: dict[str, Any], message: Any, reason: Any, more: Any) -> None:
    request = format.parse(json.dumps(asked).encode())
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "model": more, "created": more}
    body = format.answer(json.dumps(answer).encode(), request, request_id="req_1", usage=USAGE)
    assert json.loads(body)["usage"]["output_tokens"] == USAGE.output
