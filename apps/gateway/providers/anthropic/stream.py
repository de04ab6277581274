"""Anthropic's stream of events as canonical chunks.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming.
"""

from dataclasses import dataclass, field
from typing import Any

from apps.gateway.metering import MAX_EVENT_BYTES, BrokenAnswer
from apps.gateway.providers.answers import DONE, Chunks, encode, error_event, text_of, tool_call
from apps.gateway.providers.anthropic.answer import finish_reason, merge_usage, read_usage, stop_of
from apps.gateway.providers.sse import Events, read_object

# What an empty piece counts for: a million of them are not free to keep either.
_OVERHEAD = 8


@dataclass(slots=True)
class _Block:
    """A content block that is being written. `call`: its place among the tool calls."""

    start: dict[str, Any]
    call: int = 0
    said: bool = False
    thinking: list[str] = field(default_factory=list)
    signature: str = ""


class MessageStream:
    """Decodes one stream. Kept: open blocks, and of those the thinking text alone, for its block at the end."""

    __slots__ = ("_blocks", "_calls", "_chunks", "_counts", "_events", "_kept_bytes", "_over")

    def __init__(self, *, created: int) -> None:
        self._events = Events()
        self._chunks = Chunks("msg", created)
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._kept_bytes = 0
        self._counts: dict[str, int] = {}
        self._over = False

    def feed(self, data: bytes) -> bytes:
        return self._decode(self._events.feed(data))

    def flush(self) -> bytes:
        return self._decode(self._events.flush())

    def _decode(self, payloads: list[bytes]) -> bytes:
        out: list[bytes] = []
        for payload in payloads:
            if self._over:
                break
            out.append(self._event(read_object(payload)))
        return b"".join(out)

    def _event(self, event: dict[str, Any]) -> bytes:
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._delta(self._block(event), _object(event, "delta"))
        if kind == "content_block_start":
            return self._start_block(event)
        if kind == "content_block_stop":
            return self._stop_block(event)
        if kind == "message_start":
            return self._start(_object(event, "message"))
        if kind == "message_delta":
            return self._end(_object(event, "delta"), event.get("usage"))
        if kind == "message_stop":
            self._over = True
            return DONE
        if kind == "error":
            self._over = True
            error = _object(event, "error")
            return error_event(text_of(error.get("message")), text_of(error.get("type")) or "api_error")
        return b""  # ping, and whatever will be added: new event types are to be ignored

    def _start(self, message: dict[str, Any]) -> bytes:
        self._chunks.identity = text_of(message.get("id")) or self._chunks.identity
        self._chunks.model = text_of(message.get("model"))
        self._counts = merge_usage(self._counts, message.get("usage"))
        return self._chunks.delta(0, {"role": "assistant", "content": ""})

    def _end(self, delta: dict[str, Any], used: Any) -> bytes:
        self._counts = merge_usage(self._counts, used)
        if not isinstance(delta.get("stop_reason"), str):
            return b""
        out = self._chunks.delta(0, {}, finish_reason(delta["stop_reason"]), **stop_of(delta))
        counted = read_usage(self._counts)
        return out if counted is None else out + self._chunks.usage(counted)

    def _block(self, event: dict[str, Any]) -> _Block:
        place = event.get("index")
        if not isinstance(place, int) or place not in self._blocks:
            raise BrokenAnswer("a content block that was not begun")
        return self._blocks[place]

    def _start_block(self, event: dict[str, Any]) -> bytes:
        place, start = event.get("index"), _object(event, "content_block")
        if not isinstance(place, int):
            raise BrokenAnswer("a content block without a place")
        kind = start.get("type")
        self._kept("" if kind in ("text", "thinking") else encode(start).decode())
        block = self._blocks[place] = _Block(start)
        if kind == "tool_use":
            block.call = self._calls
            self._calls += 1
            call = tool_call(text_of(start.get("id")), text_of(start.get("name")), "")
            return self._chunks.delta(0, {"tool_calls": [{"index": block.call, **call}]})
        # Providers that imitate the format put the first words here; Anthropic begins with nothing.
        if kind == "text":
            return self._say("content", text_of(start.get("text")))
        if kind == "thinking":
            block.signature = text_of(start.get("signature"))
            return self._think(block, text_of(start.get("thinking")))
        return b""

    def _delta(self, block: _Block, delta: dict[str, Any]) -> bytes:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._say("content", text_of(delta.get("text")))
        if kind == "thinking_delta":
            return self._think(block, text_of(delta.get("thinking")))
        if kind == "input_json_delta" and block.start.get("type") == "tool_use":
            return self._arguments(block, text_of(delta.get("partial_json")))
        if kind == "signature_delta":
            block.signature += self._kept(text_of(delta.get("signature")))
        return b""

    def _stop_block(self, event: dict[str, Any]) -> bytes:
        block = self._block(event)
        del self._blocks[event["index"]]
        kind = block.start.get("type")
        if kind == "tool_use" and not block.said:
            # Without deltas the whole input came at the start, and mostly there is none: OpenAI's clients parse it.
            given = block.start.get("input")
            return self._arguments(block, encode(given if isinstance(given, dict) else {}).decode())
        if kind == "thinking":
            made = {"type": "thinking", "thinking": "".join(block.thinking), "signature": block.signature}
            return self._chunks.delta(0, {"thinking_blocks": [made]})
        if kind == "redacted_thinking":
            return self._chunks.delta(0, {"thinking_blocks": [block.start]})
        return b""

    def _think(self, block: _Block, text: str) -> bytes:
        block.thinking.append(self._kept(text))
        return self._say("reasoning_content", text)

    def _arguments(self, block: _Block, text: str) -> bytes:
        if not text:
            return b""
        block.said = True
        return self._chunks.delta(0, {"tool_calls": [{"index": block.call, "function": {"arguments": text}}]})

    def _say(self, member: str, text: str) -> bytes:
        return self._chunks.delta(0, {member: text}) if text else b""

    def _kept(self, text: str) -> str:
        self._kept_bytes += len(text) + _OVERHEAD
        if self._kept_bytes > MAX_EVENT_BYTES:
            raise BrokenAnswer("an answer without end")
        return text


def _object(event: dict[str, Any], name: str) -> dict[str, Any]:
    value = event.get(name)
    if not isinstance(value, dict):
        raise BrokenAnswer(f"an event without its {name}")
    return value
