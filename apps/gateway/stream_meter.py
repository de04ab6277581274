"""Following a stream for its usage, finish reasons and content, as little of it as is needed.

Pure. The stream is forwarded as the bytes that came; an event is decoded only when it may hold usage, a finish
reason, an error or the end, or while no content was seen yet. What was delivered is kept in bounded memory, so
that it can be counted if the provider never reports usage.
"""

from typing import Any

import msgspec

from apps.gateway.metering import (
    MAX_EVENT_BYTES,
    BrokenAnswer,
    choices_of,
    chunks_of,
    message_text,
    payload_of,
    read_usage,
    worst_reason,
)
from apps.gateway.tokens import count_tokens
from apps.usage.rate import Tokens

# Delivered bytes kept for counting before they are counted and dropped.
KEEP_BYTES = 262_144

# An event without one of these is forwarded unread. Plain searches: a tenth of the time of a regular expression.
_MARKERS = (b'"usage":{', b'"usage": {', b'"error"', b"[DONE]", b'"finish_reason":"', b'"finish_reason": "')
# All of them come with the end of what is said, so of a long read only this many last bytes are searched, unless
# the provider showed in its first events that it repeats usage in each.
_TAIL = 4_096

_decode = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


class StreamMeter:
    """Follow one SSE stream: `feed` it what arrives, forward what it returns.

    The end marker is never returned: the caller sends its own once the call is settled.
    """

    __slots__ = (
        "_counted",
        "_kept",
        "_kept_bytes",
        "_pending",
        "_repeats_usage",
        "_strip_usage",
        "_tokenizer",
        "client_left",
        "done",
        "error",
        "has_content",
        "reasons",
        "usage",
    )

    def __init__(self, *, strip_usage: bool, tokenizer: str) -> None:
        self._strip_usage = strip_usage
        self._tokenizer = tokenizer
        self._pending = b""
        self._repeats_usage = False
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._counted = 0
        self.usage: Tokens | None = None
        self.reasons: list[str] = []
        self.error: Any = None
        self.done = False
        self.has_content = False
        self.client_left = False

    @property
    def finish_reason(self) -> str | None:
        return worst_reason(self.reasons)

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the wire and return the whole events among them that the client is to get.

        Raises BrokenAnswer for an event without end.
        """
        if self._pending:
            data = self._pending + data
            self._pending = b""
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        if not data.endswith(b"\n\n"):
            cut = data.rfind(b"\n\n") + 2
            if cut == 1:
                if len(data) > MAX_EVENT_BYTES:
                    raise BrokenAnswer("an event without end")
                self._pending = data
                return b""
            self._pending = data[cut:]
            data = data[:cut]
        # Almost every read of a paced stream is one event of plain text: look for what matters, decode nothing.
        if not self.has_content or len(data) > _TAIL or _matters(data):
            data = self._inspect(data)
        if data and not self.client_left:
            self._keep(data)
        return data

    def flush(self) -> bytes:
        """Return the last event of a stream that ended without an empty line."""
        rest, self._pending = self._pending.strip(b"\r\n"), b""
        data = self.feed(rest + b"\n\n") if rest else b""
        if not self.done and not self.reasons:
            self._count_kept()  # it may lie ahead of the tail of a long read
        return data

    def delivered_tokens(self) -> int:
        """Return the tokens of what the client was sent, counted here."""
        self._count_kept()
        return self._counted

    def _inspect(self, data: bytes) -> bytes:
        """Decode the events among `data` that matter and return what is forwarded; the others are not looked at."""
        end = len(data)
        start = 0
        out: list[bytes] = []
        while not self.has_content and start < end and not self._over:
            start = self._take_event(data, start, out)
        first, known = start, len(out)
        begin = start if self._repeats_usage or self.client_left else max(start, end - _TAIL)
        start = self._scan(data, start, begin, out)
        if self.done and begin > first and (self.usage is None or not self.reasons):
            # The end has come, but not what comes with it: that lies ahead of the tail.
            self.done = False
            del out[known:]
            start = self._scan(data, first, first, out)
        if self._over:
            return b"".join(out)
        if not out:
            return data if start == 0 else data[start:]
        out.append(data[start:])
        return b"".join(out)

    @property
    def _over(self) -> bool:
        return self.done or self.error is not None

    def _scan(self, data: bytes, start: int, begin: int, out: list[bytes]) -> int:
        """Inspect the events from `begin` on that have a marker; return how far `data` is in `out`."""
        end = len(data)
        found = [-1] * len(_MARKERS)
        while start < end and not self._over:
            position = end
            for number, marker in enumerate(_MARKERS):
                if found[number] < start:
                    at = data.find(marker, max(start, begin))
                    found[number] = at if at >= 0 else end
                if found[number] < position:
                    position = found[number]
            if position == end:
                break
            event = data.rfind(b"\n\n", start, position) + 2
            if event > start and event != 1:
                out.append(data[start:event])
                start = event
            start = self._take_event(data, start, out)
        return start

    def _take_event(self, data: bytes, start: int, out: list[bytes]) -> int:
        """Inspect the event that begins at `start` and return where the next one does."""
        next_start = data.index(b"\n\n", start) + 2
        event = data[start : next_start - 2].lstrip(b"\n")
        if event and (kept := self._inspect_event(event)):
            out.append(kept + b"\n\n")
        return next_start

    def _inspect_event(self, event: bytes) -> bytes:
        """Learn what an event says and return what of it is forwarded."""
        payload = payload_of(event)
        if payload is None:
            return event
        if payload == b"[DONE]" or self.done:
            self.done = True
            return b""
        try:
            chunk = _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return event
        if not isinstance(chunk, dict):
            return event
        if chunk.get("error"):
            self.error = chunk["error"]
            return b""
        choices = choices_of(chunk)
        for choice in choices:
            if isinstance(reason := choice.get("finish_reason"), str):
                self.reasons.append(reason)
            if not self.has_content and any(message_text(choice.get("delta"))):
                self.has_content = True
        if isinstance(chunk.get("usage"), dict):
            self._repeats_usage = self._repeats_usage or not self.reasons
            self.usage = read_usage(chunk["usage"]) or self.usage
            if self._strip_usage:
                if not choices:
                    return b""
                del chunk["usage"]
                return b"data: " + _encode(chunk)
        return event

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > KEEP_BYTES:
            self._count_kept()

    def _count_kept(self) -> None:
        texts: list[str] = []
        learn = not self.reasons
        for chunk in chunks_of(b"".join(self._kept)):
            for choice in choices_of(chunk):
                texts += message_text(choice.get("delta"))
                if learn and isinstance(reason := choice.get("finish_reason"), str):
                    self.reasons.append(reason)
            if self.usage is None and isinstance(chunk, dict):
                self.usage = read_usage(chunk.get("usage"))
        self._counted += count_tokens("".join(texts), self._tokenizer)
        self._kept, self._kept_bytes = [], 0


def _matters(data: bytes) -> bool:
    usage, spaced_usage, error, done, reason, spaced_reason = _MARKERS
    return (
        reason in data
        or usage in data
        or done in data
        or error in data
        or spaced_reason in data
        or spaced_usage in data
    )
