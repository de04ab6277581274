"""A canonical answer as Anthropic's message."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.gateway.formats.events import (
    function_of,
    objects_of,
    own_id,
    read_answer,
    reasoning_of,
    signature_of,
    text_or,
    texts_of,
)
from apps.usage.rate import Tokens

_encode = msgspec.json.Encoder().encode
_REASONS = {
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def write_message(canonical: bytes, client: Mapping[str, Any], *, request_id: str, usage: Tokens) -> bytes:
    """Return a whole answer as Anthropic's JSON. Raises BrokenAnswer where `canonical` is no chat completion."""
    answer, choice, message = read_answer(canonical)
    content: list[dict[str, Any]] = []
    if client["thinking"]:
        content += thinking_of(message)
    if text := texts_of(message):
        content.append({"type": "text", "text": text})
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        content.append({"type": "text", "text": refusal})
    calls = objects_of(message, "tool_calls")
    for position, call in enumerate(calls):
        name, arguments = function_of(call)
        identity = text_or(call.get("id"), own_id("toolu", f"{request_id}_{position}"))
        content.append(tool_use(identity, name, read_input(arguments), signature_of(call)))
    reason, sequence = stop_of(choice, client["stop"], calls=bool(calls), refused=bool(refusal))
    body = head(request_id, answer) | {
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage_of(usage),
    }
    return _encode(body)


def tool_use(identity: str, name: str, given: dict[str, Any], signature: str) -> dict[str, Any]:
    """Return a call; the `signature` of Gemini's comes back with it if the client sends the block as it is."""
    block: dict[str, Any] = {"type": "tool_use", "id": identity, "name": name, "input": given}
    return block | {"signature": signature} if signature else block


def head(request_id: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with nothing in it yet."""
    return {
        "id": own_id("msg", request_id),
        "type": "message",
        "role": "assistant",
        "model": text_or(answer.get("model"), ""),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def thinking_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the model's thinking: its provider's own blocks, or the text of one that signs nothing."""
    blocks = []
    for block in objects_of(message, "thinking_blocks"):
        if block.get("type") == "redacted_thinking":
            blocks.append({"type": "redacted_thinking", "data": text_or(block.get("data"), "")})
        else:
            text, signature = text_or(block.get("thinking"), ""), text_or(block.get("signature"), "")
            blocks.append({"type": "thinking", "thinking": text, "signature": signature})
    if not blocks and (text := reasoning_of(message)):
        blocks.append({"type": "thinking", "thinking": text, "signature": ""})
    return blocks


def read_input(arguments: str) -> dict[str, Any]:
    """Return a call's arguments as an object, whatever the model wrote."""
    if not arguments.strip():
        return {}
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}


def stop_of(choice: Mapping[str, Any], stop: list[str], *, calls: bool, refused: bool) -> tuple[str, str | None]:
    """Return why the model stopped, and the stop sequence where the provider tells which it was."""
    reason = choice.get("finish_reason")
    if refused:
        return "refusal", None
    if isinstance(reason, str) and reason in _REASONS:
        return _REASONS[reason], None
    if calls:
        return "tool_use", None
    sequence = choice.get("stop_reason")  # vLLM's word for it
    if isinstance(sequence, str) and sequence in stop:
        return "stop_sequence", sequence
    return "end_turn", None


def usage_of(tokens: Tokens) -> dict[str, Any]:
    """Return usage as Anthropic counts it: cached tokens beside the input, not within."""
    usage: dict[str, Any] = {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.output,
    }
    if tokens.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage
