"""Gemini's thought signatures through Messages and Responses: a tool's round trip brings them back to Gemini."""

import json
from typing import Any

import pytest

from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.wire import ChatRequest
from tests.gateway.formats import test_messages_answer as messages
from tests.gateway.formats import test_responses_answer as responses

GEMINI = ADAPTERS["gemini"]
PARTS: list[dict[str, Any]] = [
    {"text": "Which city?", "thought": True},
    {"text": "Looking."},
    {"functionCall": {"id": "a", "name": "weather", "args": {"city": "Bern"}}, "thoughtSignature": "c2lnbmVk"},
    {"functionCall": {"id": "b", "name": "time", "args": {}}},
]
every_form = pytest.mark.parametrize("form", ["whole", "stream"])


def event(parts: list[dict[str, Any]], **more: Any) -> bytes:
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}, **more}
    return json.dumps({"candidates": [candidate], "responseId": "r", "modelVersion": "gemini-3-pro"}).encode()


def told(form: str, by: Any, **more: Any) -> Any:
    """Return Gemini's answer in the client's format."""
    if form == "whole":
        return by.answer(GEMINI.read_chat(event(PARTS, finishReason="STOP"), created=1), **more)
    decoder = GEMINI.chat_stream(created=1)
    assert decoder is not None
    sent = [event([part]) for part in PARTS] + [event([{"text": ""}], finishReason="STOP")]
    return by.streamed([decoder.feed(b"data: " + each + b"\n\n") for each in sent], **more)


def parts_sent(request: ChatRequest) -> list[dict[str, Any]]:
    """Return the model's turn as Gemini gets it again."""
    body = GEMINI.chat_body(request, model="gemini-3-pro", output_cap=9, cap_name="max_tokens")
    (turn,) = [turn for turn in json.loads(body)["contents"] if turn["role"] == "model"]
    found: list[dict[str, Any]] = turn["parts"]
    return found


def others_get(request: ChatRequest) -> bytes:
    return request.render(model="m", output_cap=9, cap_name="max_tokens")


@every_form
@pytest.mark.parametrize("thinking", [True, False])
def test_messages_carry_it_on_the_call(form: str, thinking: bool) -> None:
    content = told(form, messages, thinking=thinking)["content"]
    calls = [block for block in content if block["type"] == "tool_use"]
    assert [call.get("signature") for call in calls] == ["c2lnbmVk", None]
    results = [{"type": "tool_result", "tool_use_id": each, "content": "x"} for each in "ab"]
    again = messages.request(
        messages=[
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": content},
            {"role": "user", "content": results},
        ]
    )
    assert parts_sent(again) == PARTS[1:]
    assert b"c2lnbmVk" not in others_get(again)


@every_form
def test_responses_pack_it_with_the_reasoning(form: str) -> None:
    output = told(form, responses, include=responses.ENCRYPTED)["output"]
    results = [{"type": "function_call_output", "call_id": each, "output": "x"} for each in "ab"]
    again = responses.request(input=[{"role": "user", "content": "Hello"}, *output, *results])
    assert parts_sent(again) == PARTS[1:]
    assert b"c2lnbmVk" not in others_get(again)
    plain = told(form, responses)["output"]
    assert "encrypted_content" not in json.dumps(plain)
    lost = responses.request(input=[{"role": "user", "content": "Hello"}, *plain, *results])
    assert parts_sent(lost)[1]["thoughtSignature"] == "skip_thought_signature_validator"
