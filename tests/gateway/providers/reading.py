"""Recorded shapes, and reading what an adapter makes of them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apps.gateway.formats.embeddings import EMBEDDINGS, EmbeddingsRequest
from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.wire import ChatRequest, parse_chat

RECORDED = Path(__file__).parent / "recorded"
CREATED = 1_800_000_000
STREAMS = sorted(path.relative_to(RECORDED).as_posix() for path in RECORDED.glob("*/*.sse"))
# Those that a decoder translates; the others are canonical as they come.
DECODED = [name for name in STREAMS if name.startswith(("anthropic/", "gemini/"))]


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


def read_json(name: str) -> Any:
    """Return what an adapter reads from a recorded JSON answer."""
    return json.loads(ADAPTERS[name.partition("/")[0]].read_chat(recorded(name), created=CREATED))


def decode(name: str, pieces: Iterable[bytes] | None = None) -> bytes:
    """Return the canonical bytes of a recorded stream, as it is or in pieces."""
    decoder = ADAPTERS[name.partition("/")[0]].chat_stream(created=CREATED)
    assert decoder is not None
    out = b"".join(decoder.feed(piece) for piece in ([recorded(name)] if pieces is None else pieces))
    return out + decoder.flush()


def chunks(canonical: bytes) -> list[Any]:
    """Return the events of a canonical stream; the end marker as the string it is."""
    assert canonical.endswith(b"\n\n")
    events = [event.removeprefix("data: ") for event in canonical.decode().split("\n\n")[:-1]]
    return [event if event == "[DONE]" else json.loads(event) for event in events]


def gather(events: list[Any], index: int = 0) -> dict[str, Any]:
    """Return the message that a client puts together from chunks, as OpenAI's own client does."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "thinking_blocks": [], "tool_calls": []}
    for event in events:
        if event == "[DONE]":
            message["done"] = True
            continue
        if "error" in event:
            message["error"] = event["error"]
            continue
        if "usage" in event:
            message["usage"] = event["usage"]
        for choice in event["choices"]:
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning_content"] += delta.get("reasoning_content") or ""
            message["thinking_blocks"] += delta.get("thinking_blocks") or []
            for call in delta.get("tool_calls") or []:
                _add_call(message["tool_calls"], call)
            message["finish_reason"] = choice["finish_reason"] or message.get("finish_reason")
    return message


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    if piece["index"] == len(calls):
        calls.append({name: value for name, value in piece.items() if name != "index"})
    else:
        calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]


def request(*messages: dict[str, Any], **members: Any) -> ChatRequest:
    said = list(messages) or [{"role": "user", "content": "Hello"}]
    return parse_chat(json.dumps({"messages": said} | members).encode())


def to_embed(given: Any, **members: Any) -> EmbeddingsRequest:
    return EMBEDDINGS.parse(json.dumps({"model": "m", "input": given} | members).encode())


def rendered(adapter: str, asked: ChatRequest, *, model: str = "", cap: int = 4096) -> Any:
    """Return the body that an adapter sends."""
    name = model or {"anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}.get(adapter, "gpt-4o-mini")
    return json.loads(ADAPTERS[adapter].chat_body(asked, model=name, output_cap=cap, cap_name="max_tokens"))


def function(name: str, **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters} | more}


def call(identity: str, name: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
