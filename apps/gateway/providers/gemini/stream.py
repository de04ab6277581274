"""Gemini's stream as canonical chunks: each event is a whole answer that holds what is new.

The stream has no end marker of its own. An answer is complete when every candidate that was begun has a finish
reason and the body has come to its clean end.
"""

from typing import Any

from apps.gateway.metering import BrokenAnswer
from apps.gateway.providers.answers import DONE, Chunks, error_event, objects, text_of
from apps.gateway.providers.gemini.answer import (
    call_of,
    chat_id,
    finish_reason,
    index_of,
    is_blocked,
    parts_of,
    read_logprobs,
    read_usage,
)
from apps.gateway.providers.sse import Events, read_object

_MOST_CANDIDATES = 128


class ContentStream:
    """Decodes one stream. Kept: how many calls each candidate has made, and which have finished."""

    __slots__ = ("_calls", "_chunks", "_created", "_events", "_failed", "_finished", "_identity")

    def __init__(self, *, created: int) -> None:
        self._events = Events()
        self._chunks = Chunks(chat_id(""), created)
        self._created = created
        self._identity = ""
        self._calls: dict[int, int] = {}
        self._finished: set[int] = set()
        self._failed = False

    def feed(self, data: bytes) -> bytes:
        return self._decode(self._events.feed(data))

    def flush(self) -> bytes:
        out = self._decode(self._events.flush())
        complete = self._finished and self._finished >= self._calls.keys() and not self._failed
        return out + DONE if complete else out

    def _decode(self, payloads: list[bytes]) -> bytes:
        out: list[bytes] = []
        for payload in payloads:
            if self._failed:
                break
            out += self._event(read_object(payload))
        return b"".join(out)

    def _event(self, event: dict[str, Any]) -> list[bytes]:
        error = event.get("error")
        if isinstance(error, dict):
            self._failed = True
            return [error_event(text_of(error.get("message")), text_of(error.get("status")) or "api_error")]
        if identity := text_of(event.get("responseId")):
            self._identity = identity
            self._chunks.identity = chat_id(identity)
        self._chunks.model = text_of(event.get("modelVersion")) or self._chunks.model
        out: list[bytes] = []
        for place, candidate in enumerate(objects(event.get("candidates"))):
            index = index_of(candidate, place)
            if index >= _MOST_CANDIDATES:
                raise BrokenAnswer("too many candidates")
            out += self._candidate(index, candidate)
        if is_blocked(event) and not self._calls:
            self._calls[0] = 0
            self._finished.add(0)
            out.append(self._chunks.delta(0, {"role": "assistant", "content": ""}, "content_filter"))
        # Usage comes with every event and grows; once a candidate has ended it is worth telling.
        counted = read_usage(event.get("usageMetadata")) if self._finished else None
        if counted is not None:
            out.append(self._chunks.usage(counted))
        return out

    def _candidate(self, index: int, candidate: dict[str, Any]) -> list[bytes]:
        out: list[bytes] = []
        if index not in self._calls:
            self._calls[index] = 0
            out.append(self._chunks.delta(index, {"role": "assistant", "content": ""}))
        logprobs = read_logprobs(candidate)
        for part in parts_of(candidate):
            call = part.get("functionCall")
            if isinstance(call, dict):
                number = self._calls[index]
                made = call_of(call, part, f"{self._identity}/{self._created}/{index}/{number}")
                self._calls[index] += 1
                out.append(self._chunks.delta(index, {"tool_calls": [{"index": number, **made}]}))
            elif text := text_of(part.get("text")):
                member = "reasoning_content" if part.get("thought") is True else "content"
                out.append(self._chunks.delta(index, {member: text}, None, logprobs))
                logprobs = None
        reason = finish_reason(candidate.get("finishReason"), has_calls=self._calls[index] > 0)
        if reason is not None and index not in self._finished:
            self._finished.add(index)
            out.append(self._chunks.delta(index, {}, reason, logprobs))
        return out
