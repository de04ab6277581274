"""A provider's SSE stream, cut into the data of its events however the bytes arrive."""

from typing import Any

import msgspec

from apps.gateway.metering import MAX_EVENT_BYTES, BrokenAnswer

_decode = msgspec.json.decode


class Events:
    """`feed` it what arrives and iterate over the data of whole events. Memory is bounded by one event.

    Bytes are cut at line ends only, so a character that is split over two reads comes out whole.
    """

    __slots__ = ("_buffer", "_carriage", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._carriage = False
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that are now complete. Raises BrokenAnswer for one without end."""
        if self._carriage:
            data = b"\r" + data
        self._carriage = data.endswith(b"\r")
        if self._carriage:
            data = data[:-1]
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        buffer = self._buffer
        buffer += data
        end = buffer.rfind(b"\n\n", max(0, self._searched - 1))
        if end < 0:
            self._searched = len(buffer)
            if self._searched > MAX_EVENT_BYTES:
                raise BrokenAnswer("an event without end")
            return []
        whole = bytes(buffer[:end])
        del buffer[: end + 2]
        self._searched = len(buffer)
        return [said for event in whole.split(b"\n\n") if (said := _data(event)) is not None]

    def flush(self) -> list[bytes]:
        """Return the last event of a stream that ended without an empty line."""
        rest = bytes(self._buffer).strip(b"\n")
        self._buffer.clear()
        self._searched = 0
        return [said] if rest and (said := _data(rest)) is not None else []


def _data(event: bytes) -> bytes | None:
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def read_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises BrokenAnswer where `data` is none."""
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenAnswer("not JSON") from error
    if not isinstance(value, dict):
        raise BrokenAnswer("no JSON object")
    return value
