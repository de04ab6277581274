"""Streams put together into one answer, and one answer taken apart into a stream. Pure.

Whatever cannot be put together so that it comes out as it went in is not kept.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from apps.gateway.cache.entries import MAX_BYTES
from apps.gateway.formats.events import read_chunks
from apps.gateway.metering import BrokenAnswer
from apps.gateway.providers.answers import usage as write_usage
from apps.usage.rate import Tokens

# Bytes of events that are kept until the end: one token may come with a few hundred bytes around it.
MAX_EVENT_BYTES = 8 * MAX_BYTES
# Characters of text in one event of a replayed stream.
PIECE = 200
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_LISTS = ("thinking_blocks", "annotations", "images")
_CHUNK_ONLY = frozenset(("id", "object", "created", "choices", "usage", "obfuscation"))
_LOGPROBS = ("content", "refusal")

_encode = msgspec.json.Encoder().encode


class Collector:
    """The canonical events of one stream, kept until it is over."""

    __slots__ = ("_events", "size")

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self.size = 0

    def feed(self, events: bytes) -> None:
        """Take whole events."""
        self.size += len(events)
        if self.size <= MAX_EVENT_BYTES:
            self._events.append(events)
        else:
            self._events.clear()

    def answer(self, usage: Tokens | None) -> bytes | None:
        """Return the answer as JSON, with `usage` where it was reported; None where it is none to keep."""
        if self.size > MAX_EVENT_BYTES:
            return None
        try:
            return put_together(b"".join(self._events), usage)
        except (BrokenAnswer, RecursionError):
            return None


def put_together(events: bytes, usage: Tokens | None) -> bytes | None:
    """Return the chat completion that a stream tells, None where a part of it is not understood."""
    answer: dict[str, Any] = {"id": "", "object": "chat.completion", "created": 0}
    choices: dict[int, _Choice] = {}
    for chunk in read_chunks(events):
        if chunk is None:
            continue
        for name, value in chunk.items():
            if name not in _CHUNK_ONLY:
                answer.setdefault(name, value)
        found = chunk.get("choices")
        for choice in found if isinstance(found, list) else ():
            index = choice.get("index", 0) if isinstance(choice, dict) else None
            if not isinstance(index, int) or not choices.setdefault(index, _Choice()).take(choice):
                return None
    if not choices or not all(choice.finish_reason for choice in choices.values()):
        return None
    answer["choices"] = [choices[index].whole(index) for index in sorted(choices)]
    if usage is not None:
        answer["usage"] = write_usage(
            prompt=usage.prompt,
            cached=usage.cache_read,
            written=usage.cache_write,
            completion=usage.output,
            reasoning=usage.reasoning,
        )
    return _encode(answer)


class _Choice:
    """One choice in the making."""

    def __init__(self) -> None:
        self.role = "assistant"
        self.texts: dict[str, list[str]] = {}
        self.lists: dict[str, list[Any]] = {}
        self.calls: dict[int, dict[str, Any]] = {}
        self.function: dict[str, Any] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None

    def take(self, choice: dict[str, Any]) -> bool:
        """Add what a chunk says; tell whether all of it was understood."""
        for name, value in choice.items():
            if value is None or name == "index":
                continue
            if name == "finish_reason" and isinstance(value, str):
                self.finish_reason = self.finish_reason or value
            elif name == "delta" and isinstance(value, dict):
                if not all(self._take_member(*member) for member in value.items() if member[1] is not None):
                    return False
            elif name == "logprobs" and isinstance(value, dict):
                for kind, tokens in value.items():
                    if kind not in _LOGPROBS or not isinstance(tokens, list | None):
                        return False
                    if tokens is not None:
                        self.logprobs.setdefault(kind, []).extend(tokens)
            elif name != "native_finish_reason":
                return False
        return True

    def _take_member(self, name: str, value: Any) -> bool:
        if name == "role" and isinstance(value, str):
            self.role = value
        elif name in _TEXTS and isinstance(value, str):
            self.texts.setdefault(name, []).append(value)
        elif name in _LISTS and isinstance(value, list):
            self.lists.setdefault(name, []).extend(value)
        elif name == "function_call" and isinstance(value, dict):
            return _add(self.function, value)
        elif name == "tool_calls" and isinstance(value, list):
            for call in value:
                index = call.get("index") if isinstance(call, dict) else None
                if not isinstance(index, int) or not _add(self.calls.setdefault(index, {}), call):
                    return False
        else:
            return False
        return True

    def whole(self, index: int) -> dict[str, Any]:
        """Return the choice as it stands in a JSON answer."""
        message: dict[str, Any] = {"role": self.role, "content": None}
        message |= {name: "".join(parts) for name, parts in self.texts.items()}
        message |= self.lists
        if message["content"] == "" and (self.calls or self.function):
            message["content"] = None
        if self.calls:
            message["tool_calls"] = [_without_index(self.calls[number]) for number in sorted(self.calls)]
        if self.function:
            message["function_call"] = self.function
        choice = {"index": index, "message": message, "finish_reason": self.finish_reason}
        if self.logprobs:
            choice["logprobs"] = dict.fromkeys(_LOGPROBS) | self.logprobs
        return choice


def _add(call: dict[str, Any], more: dict[str, Any]) -> bool:
    """Add a part of a call to what is known of it; tell whether it was understood."""
    for name, value in more.items():
        if value is None:
            continue
        if name in ("arguments", "input") and isinstance(value, str):
            call[name] = call.get(name, "") + value
        elif name in ("function", "custom") and isinstance(value, dict):
            if not _add(call.setdefault(name, {}), value):
                return False
        elif name in ("index", "id", "type", "name", "extra_content"):
            if not call.get(name):  # some providers repeat them, some repeat them empty
                call[name] = value
        else:
            return False
    return True


def _without_index(call: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name != "index"}


def renewed(body: bytes, *, request_id: str, created: int) -> dict[str, Any]:
    """Return a stored chat completion as the answer to another request."""
    answer: dict[str, Any] = msgspec.json.decode(body)
    answer["id"] = f"chatcmpl-{request_id.removeprefix('req_')}"
    answer["created"] = created
    return answer


def take_apart(answer: dict[str, Any], *, with_usage: bool) -> bytes:
    """Return the canonical events of a chat completion, without the end marker; `with_usage` as clients ask for it."""
    same = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    same["object"] = "chat.completion.chunk"
    out: list[bytes] = []
    for choice in answer["choices"]:
        index = choice.get("index", 0)
        rest = {name: value for name, value in choice.items() if name not in ("index", "message", "finish_reason")}
        for number, delta in enumerate(_deltas(choice.get("message") or {})):
            # What belongs to the choice as a whole, its log probabilities for one, goes with its first words.
            told = {"index": index, "delta": delta, **(rest if number == 1 else {}), "finish_reason": None}
            out.append(_event({**same, "choices": [told]}))
        last = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        out.append(_event({**same, "choices": [last]}))
    if with_usage and isinstance(answer.get("usage"), dict):
        out.append(_event({**same, "choices": [], "usage": answer["usage"]}))
    return b"".join(out)


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a message consists of: its role, what it thought, what it says, what it calls."""
    yield {"role": message.get("role") or "assistant", "content": "" if message.get("content") is not None else None}
    for name in ("reasoning", "reasoning_content", "thinking_blocks", "content", "refusal"):
        value = message.get(name)
        if isinstance(value, str):
            yield from ({name: value[start : start + PIECE]} for start in range(0, len(value), PIECE))
        elif value:
            yield {name: value}
    told = {"role", "content", "reasoning", "reasoning_content", "thinking_blocks", "refusal", "tool_calls"}
    for name, value in message.items():
        if name not in told and value not in (None, []):
            yield {name: value}
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield {"tool_calls": [{"index": index, **call}]}


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"
