"""A canonical answer as OpenAI's response object."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.gateway.formats.events import (
    function_of,
    objects_of,
    own_id,
    read_answer,
    reasoning_of,
    text_or,
    texts_of,
)
from apps.gateway.formats.responses.reasoning import pack, signatures
from apps.usage.rate import Tokens

_encode = msgspec.json.Encoder().encode
_INCOMPLETE = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "content_filter": "content_filter",
}


def write_response(canonical: bytes, client: Mapping[str, Any], *, request_id: str, usage: Tokens) -> bytes:
    """Return a whole answer as OpenAI's JSON. Raises BrokenAnswer where `canonical` is no chat completion."""
    answer, choice, message = read_answer(canonical)
    status, details = status_of(choice)
    output: list[dict[str, Any]] = []

    def identity(prefix: str) -> str:
        return item_id(prefix, request_id, len(output))

    calls = objects_of(message, "tool_calls")
    thought, blocks = reasoning_of(message), [*objects_of(message, "thinking_blocks"), *signatures(calls)]
    if item := reasoning_item(identity("rs"), thought, blocks, client):
        output.append(item)
    parts = [output_text(text)] if (text := texts_of(message)) else []
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    if parts:
        output.append(message_item(identity("msg"), parts, status))
    for call in calls:
        name, arguments = function_of(call)
        call_id = text_or(call.get("id"), identity("call"))
        output.append(call_item(identity, call_id, name, arguments, status, client))
    return _encode(response(answer, client, request_id) | ending(status, details, output, usage))


def response(answer: Mapping[str, Any], client: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """Return a response object with nothing in it yet. `answer` is a chat completion or a chunk of one."""
    created = answer.get("created")
    return {
        "id": own_id("resp", request_id),
        "object": "response",
        "created_at": created if isinstance(created, int) else 0,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": text_or(answer.get("model"), ""),
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,  # whatever was asked for: nothing is kept
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        **client["echo"],
    }


def ending(status: str, details: dict[str, str] | None, output: list[dict[str, Any]], usage: Tokens) -> dict[str, Any]:
    """Return the members by which an answer ends."""
    return {"status": status, "incomplete_details": details, "output": output, "usage": usage_of(usage)}


def status_of(choice: Mapping[str, Any]) -> tuple[str, dict[str, str] | None]:
    """Return an answer's status, and why it is incomplete where it is."""
    reason = choice.get("finish_reason")
    if isinstance(reason, str) and reason in _INCOMPLETE:
        return "incomplete", {"reason": _INCOMPLETE[reason]}
    return "completed", None


def usage_of(tokens: Tokens) -> dict[str, Any]:
    """Return usage as Responses counts it: cached tokens within the input, reasoning within the output."""
    prompt = tokens.input + tokens.cache_read + tokens.cache_write
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": prompt + tokens.output,
    }


def item_id(prefix: str, request_id: str, position: int) -> str:
    return own_id(prefix, f"{request_id}_{position}")


def output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message_item(identity: str, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"id": identity, "type": "message", "role": "assistant", "status": status, "content": parts}


def reasoning_item(
    identity: str, text: str, blocks: list[dict[str, Any]], client: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return what the model thought: for people, and for its next turn where the client asks for that."""
    kept = blocks if client["encrypted"] else []
    if not text and not kept:
        return None
    summary = [{"type": "summary_text", "text": text}] if text else []
    item: dict[str, Any] = {"id": identity, "type": "reasoning", "summary": summary}
    if kept:
        item["encrypted_content"] = pack(kept)
    return item


def call_item(
    identity: Any, call_id: str, name: str, arguments: str, status: str, client: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a call. `identity` gives the item's id for a prefix."""
    if name in client["custom"]:
        return {
            "id": identity("ctc"),
            "type": "custom_tool_call",
            "call_id": call_id,
            "name": name,
            "input": free_text(arguments),
        }
    return {
        "id": identity("fc"),
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def free_text(arguments: str) -> str:
    """Return the input of a custom tool; what is not the object asked for is taken as the input itself."""
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    text = found.get("input") if isinstance(found, dict) else None
    return text if isinstance(text, str) else arguments
