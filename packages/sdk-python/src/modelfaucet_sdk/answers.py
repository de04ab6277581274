"""Answers of models, whole or in events, as results. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from modelfaucet_sdk.errors import UnavailableError, error_of_event
from modelfaucet_sdk.results import (
    ChatResult,
    EmbeddingsResult,
    FeatureResult,
    StreamPart,
    TextPart,
    ToolCall,
    ToolCallPart,
    Usage,
    UsagePart,
    read_meta,
    read_object,
)
from modelfaucet_sdk.sse import Event

_NOTE = "modelfaucet "
R_co = TypeVar("R_co", covariant=True)


class Assembler(Protocol[R_co]):
    """Makes parts, and in the end a result, of the events of one stream."""

    @property
    def is_done(self) -> bool:
        """Tell whether the answer is whole."""

    def take(self, event: Event) -> list[StreamPart]:
        """Return the parts that an event tells. Raises FaucetError for one that tells an error."""

    def result(self) -> R_co:
        """Return the whole answer."""


def chat_result(body: bytes, headers: Mapping[str, str]) -> ChatResult:
    """Return a whole chat completion. Raises UnavailableError."""
    raw = read_object(body)
    choice = _first(raw.get("choices"))
    message = _object(choice.get("message"))
    return ChatResult(
        text=_text(message.get("content")),
        message=message,
        model=str(raw.get("model") or ""),
        finish_reason=str(choice.get("finish_reason") or "stop"),
        usage=_chat_usage(raw.get("usage")),
        meta=read_meta(headers),
        tool_calls=tuple(_tool_call(each) for each in message.get("tool_calls") or () if isinstance(each, dict)),
        raw=raw,
    )


def feature_result(body: bytes, headers: Mapping[str, str]) -> FeatureResult:
    """Return what a feature answered. Raises UnavailableError."""
    return _feature_result(read_object(body), headers)


def embeddings_result(body: bytes, headers: Mapping[str, str]) -> EmbeddingsResult:
    """Return embeddings in the order of their inputs. Raises UnavailableError."""
    raw = read_object(body)
    rows = sorted((_object(row) for row in raw.get("data") or ()), key=lambda row: int(row.get("index") or 0))
    return EmbeddingsResult(
        vectors=tuple(_vector(row.get("embedding")) for row in rows),
        model=str(raw.get("model") or ""),
        usage=_chat_usage(raw.get("usage")),
        meta=read_meta(headers),
    )


class ChatAssembler:
    """A streamed chat completion."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._tools: dict[int, dict[str, str]] = {}
        self._model = ""
        self._finish = ""
        self._usage = Usage()
        self._note: dict[str, Any] = {}
        self.is_done = False

    def take(self, event: Event) -> list[StreamPart]:
        if event.is_comment:
            self._note = _note(event.data) or self._note
            return []
        if event.data == "[DONE]":
            self.is_done = True
            return [ToolCallPart(call) for call in self._tool_calls()]
        chunk = _event_object(event)
        self._model = str(chunk.get("model") or self._model)
        parts: list[StreamPart] = []
        if isinstance(chunk.get("usage"), dict):
            self._usage = _chat_usage(chunk["usage"])
            parts.append(UsagePart(self._usage))
        choice = _first(chunk.get("choices"))
        self._finish = str(choice.get("finish_reason") or self._finish)
        delta = _object(choice.get("delta"))
        if isinstance(delta.get("refusal"), str):
            self._refusals.append(delta["refusal"])
        for number, piece in enumerate(delta.get("tool_calls") or ()):
            self._take_tool(number, _object(piece))
        if text := _text(delta.get("content")):
            self._texts.append(text)
            parts.insert(0, TextPart(text))
        return parts

    def result(self) -> ChatResult:
        text, calls = "".join(self._texts), self._tool_calls()
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if self._refusals:
            message["refusal"] = "".join(self._refusals)
        if calls:
            message["tool_calls"] = [
                {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
                for each in calls
            ]
        return ChatResult(
            text=text,
            message=message,
            model=self._model,
            finish_reason=self._finish or "stop",
            usage=self._usage,
            meta=read_meta(self._headers, self._note),
            tool_calls=tuple(calls),
        )

    def _take_tool(self, number: int, piece: Mapping[str, Any]) -> None:
        index = piece.get("index")
        tool = self._tools.setdefault(index if isinstance(index, int) else number, dict.fromkeys(_TOOL, ""))
        function = _object(piece.get("function"))
        tool["id"] = str(piece.get("id") or tool["id"])
        tool["name"] += str(function.get("name") or "")
        tool["arguments"] += str(function.get("arguments") or "")

    def _tool_calls(self) -> list[ToolCall]:
        return [ToolCall(**tool) for _, tool in sorted(self._tools.items())]


class TellingAssembler(ChatAssembler):
    """A streamed chat completion that tells once that it is whole."""

    def __init__(self, headers: Mapping[str, str], tell: Callable[[ChatResult], None]) -> None:
        super().__init__(headers)
        self._tell = tell

    def take(self, event: Event) -> list[StreamPart]:
        was_done = self.is_done
        parts = super().take(event)
        if self.is_done and not was_done:
            self._tell(self.result())
        return parts


class FeatureAssembler:
    """A streamed answer of a feature."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._done: dict[str, Any] = {}

    @property
    def is_done(self) -> bool:
        return bool(self._done)

    def take(self, event: Event) -> list[StreamPart]:
        if event.is_comment:
            return []
        content = _event_object(event)
        if event.name == "feature.done":
            self._done = content
            return [UsagePart(_feature_usage(content.get("usage")))]
        text = content.get("text")
        return [TextPart(text)] if event.name == "feature.delta" and isinstance(text, str) and text else []

    def result(self) -> FeatureResult:
        return _feature_result(self._done, self._headers)


_TOOL = ("id", "name", "arguments")


def _feature_result(raw: Mapping[str, Any], headers: Mapping[str, str]) -> FeatureResult:
    note = raw.get("modelfaucet")
    known = {"request_id": raw.get("request_id"), **(note if isinstance(note, dict) else {})}
    return FeatureResult(
        output=raw.get("output"),
        problem=raw.get("output_problem"),
        refusal=raw.get("refusal"),
        feature=str(raw.get("feature") or ""),
        model=str(raw.get("model") or ""),
        finish_reason=str(raw.get("finish_reason") or "stop"),
        usage=_feature_usage(raw.get("usage")),
        meta=read_meta(headers, known),
        raw=dict(raw),
    )


def _event_object(event: Event) -> dict[str, Any]:
    error = error_of_event(event.data)
    if error is not None:
        raise error
    try:
        content = json.loads(event.data)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UnavailableError("An event of the stream is no JSON object.", code="not_json")
    return content


def _note(comment: str) -> dict[str, Any]:
    """Return what the gateway's comment before the end of a stream tells, or nothing."""
    if not comment.startswith(_NOTE):
        return {}
    try:
        return _object(json.loads(comment[len(_NOTE) :]))
    except (ValueError, RecursionError):
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(choices: object) -> dict[str, Any]:
    return _object(choices[0]) if isinstance(choices, list) and choices else {}


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _tool_call(raw: Mapping[str, Any]) -> ToolCall:
    function = _object(raw.get("function"))
    return ToolCall(str(raw.get("id") or ""), str(function.get("name") or ""), str(function.get("arguments") or ""))


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0


def _chat_usage(usage: object) -> Usage:
    told = _object(usage)
    prompt, answer = _object(told.get("prompt_tokens_details")), _object(told.get("completion_tokens_details"))
    return Usage(
        _count(told, "prompt_tokens"),
        _count(told, "completion_tokens"),
        _count(prompt, "cached_tokens"),
        _count(answer, "reasoning_tokens"),
    )


def _feature_usage(usage: object) -> Usage:
    told = _object(usage)
    prompt, answer = _object(told.get("input_tokens_details")), _object(told.get("output_tokens_details"))
    return Usage(
        _count(told, "input_tokens"),
        _count(told, "output_tokens"),
        _count(prompt, "cached_tokens"),
        _count(answer, "reasoning_tokens"),
    )


def _vector(value: object) -> tuple[float, ...]:
    """Return a vector, given as numbers or (`encoding_format: base64`) as little-endian 32-bit floats."""
    try:
        if isinstance(value, str):
            data = base64.b64decode(value, validate=True)
            return struct.unpack(f"<{len(data) // 4}f", data)
        return tuple(float(each) for each in value)  # type: ignore[attr-defined]  # the except is for what is no list
    except (TypeError, ValueError, binascii.Error, struct.error):
        raise UnavailableError("An embedding is no list of numbers.", code="not_json") from None
