"""Reads what an encoder wrote, as a client does: by the rules of server-sent events."""

import json
from typing import Any

from apps.gateway.formats.base import StreamEncoder
from tests.gateway.formats.shapes import NOTE, USAGE


def encode(encoder: StreamEncoder | None, chunks: list[bytes], *, at_once: bool = False) -> bytes:
    """Return a whole stream, fed chunk by chunk or in one piece."""
    assert encoder is not None
    fed = [b"".join(chunks)] if at_once else chunks
    return b"".join(encoder.feed(data) for data in fed) + encoder.finish(NOTE, usage=USAGE)


def events(data: bytes) -> list[tuple[str, Any]]:
    """Return the named events among bytes; comments are skipped."""
    out: list[tuple[str, Any]] = []
    for block in data.decode().split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line and not line.startswith(":")]
        fields = {name: value for name, _, value in lines}
        if fields:
            assert set(fields) == {"event", "data"}
            out.append((fields["event"], json.loads(fields["data"])))
    return out
