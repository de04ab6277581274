"""Server-sent events, from bytes that come in pieces of any length."""

from __future__ import annotations

from dataclasses import dataclass

# Bytes of one event; the gateway's largest is the result of a feature.
MAX_EVENT = 64_000_000
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Event:
    """One event, or (`is_comment`) a comment, which the gateway uses to tell a stream's price."""

    data: str
    name: str = "message"
    is_comment: bool = False


class EventTooLarge(ValueError):
    """An event does not end."""


class EventDecoder:
    """Takes bytes, gives events. However the bytes are cut, the events are the same."""

    def __init__(self, most: int = MAX_EVENT) -> None:
        self._most = most
        self._line = bytearray()
        self._after_cr = False
        self._first = True
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that `piece` completes. Raises EventTooLarge."""
        events: list[Event] = []
        if self._after_cr and piece:
            self._after_cr = False
            if piece.startswith(b"\n"):
                piece = piece[1:]
        start = 0
        while start < len(piece):
            end = _line_end(piece, start)
            if end < 0:
                self._keep(piece[start:])
                break
            self._keep(piece[start:end])
            self._end_line(events)
            start = end + 1
            if piece[end] == 0x0D:
                if start == len(piece):
                    self._after_cr = True
                elif piece[start] == 0x0A:
                    start += 1
        return events

    def _keep(self, data: bytes) -> None:
        self._line += data
        if self._size + len(self._line) > self._most:
            raise EventTooLarge(f"an event of a stream is longer than {self._most} bytes")

    def _end_line(self, events: list[Event]) -> None:
        raw = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            raw = raw.removeprefix(_BOM)
        self._size += len(raw)
        line = raw.decode("utf-8", "replace")
        if not line:
            if self._data:
                events.append(Event("\n".join(self._data), self._name or "message"))
            self._name, self._data, self._size = "", [], 0
        elif line.startswith(":"):
            events.append(Event(line[1:].removeprefix(" "), is_comment=True))
        else:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                self._name = value
            elif field == "data":
                self._data.append(value)


def _line_end(piece: bytes, start: int) -> int:
    lf = piece.find(b"\n", start)
    cr = piece.find(b"\r", start, lf if lf >= 0 else len(piece))
    return cr if cr >= 0 else lf
