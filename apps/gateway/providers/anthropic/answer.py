"""A message of Anthropic's as a canonical chat completion."""

from collections.abc import Mapping
from typing import Any

from apps.gateway.metering import BrokenAnswer
from apps.gateway.providers.answers import (
    Message,
    completion,
    count,
    encode,
    is_count,
    objects,
    text_of,
    tool_call,
    usage,
)
from apps.gateway.providers.sse import read_object

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def read_message(body: bytes, *, created: int) -> bytes:
    """Return the chat completion. Raises BrokenAnswer where `body` is no message."""
    answer = read_object(body)
    if answer.get("type") != "message" or not isinstance(answer.get("content"), list):
        raise BrokenAnswer("no message")
    said = Message()
    for block in objects(answer["content"]):
        kind = block.get("type")
        if kind == "text":
            said.text.append(text_of(block.get("text")))
        elif kind == "thinking":
            said.reasoning.append(text_of(block.get("thinking")))
            said.thinking_blocks.append(block)
        elif kind == "redacted_thinking":
            said.thinking_blocks.append(block)
        elif kind == "tool_use":
            given = block.get("input")
            arguments = encode(given if isinstance(given, dict) else {}).decode()
            said.tool_calls.append(tool_call(text_of(block.get("id")), text_of(block.get("name")), arguments))
    choice = said.as_choice(0, finish_reason(answer.get("stop_reason"))) | stop_of(answer)
    used = answer.get("usage")
    return completion(
        text_of(answer.get("id")),
        created,
        text_of(answer.get("model")),
        [choice],
        read_usage(merge_usage({}, used)),
    )


def stop_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the stop sequence that ended an answer, as vLLM tells it beside OpenAI's `finish_reason`."""
    sequence = answer.get("stop_sequence")
    return {"stop_reason": sequence} if isinstance(sequence, str) else {}


def finish_reason(reason: Any) -> str:
    """Return OpenAI's word for a stop reason; one that is not known yet still means that the answer is complete."""
    return _REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"


def merge_usage(known: dict[str, int], reported: Any) -> dict[str, int]:
    """Return the counts known so far with those of another event: they are cumulative, so the larger one holds."""
    if not isinstance(reported, dict):
        return known
    merged = dict(known)
    for name in _COUNTS:
        if is_count(reported.get(name)):
            merged[name] = max(reported[name], known.get(name, 0))
    details = reported.get("output_tokens_details")
    if isinstance(details, dict):
        merged["thinking_tokens"] = max(count(details.get("thinking_tokens")), known.get("thinking_tokens", 0))
    return merged


def read_usage(counts: Mapping[str, int]) -> dict[str, Any] | None:
    """Return canonical usage, None where it was not reported. Cached tokens lie outside Anthropic's input_tokens."""
    if "input_tokens" not in counts or "output_tokens" not in counts:
        return None
    cached, written = counts.get("cache_read_input_tokens", 0), counts.get("cache_creation_input_tokens", 0)
    return usage(
        prompt=counts["input_tokens"] + cached + written,
        cached=cached,
        written=written,
        completion=counts["output_tokens"],
        reasoning=min(counts.get("thinking_tokens", 0), counts["output_tokens"]),
    )
