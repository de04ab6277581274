"""The bytes of a request. Pure."""

from collections.abc import Sequence
from functools import lru_cache

from apps.core.outbound import ParsedUrl

Headers = Sequence[tuple[bytes, bytes]]
_OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"accept-encoding", b"connection"})


@lru_cache(maxsize=1024)
def _start(url: ParsedUrl, method: str) -> bytes:
    # Answers are forwarded as they come, so they are asked for uncompressed.
    return (f"{method} {url.target} HTTP/1.1\r\nhost: {url.host_header}\r\naccept-encoding: identity\r\n").encode(
        "ascii"
    )


def request_head(url: ParsedUrl, headers: Headers, body_length: int, method: str) -> bytes:
    """Return the head of a request: the client's own headers (host, framing, identity encoding), then `headers`.

    Raises ValueError for a header that would smuggle another in, or that is one of the client's own.
    """
    start = _start(url, method)
    fields = b"".join([b"%b: %b\r\n" % pair for pair in headers])
    if fields.count(b"\n") != len(headers) or fields.count(b"\r") != len(headers) or b"\0" in fields:
        raise ValueError("a header holds a line end or a zero byte")
    for name, _ in headers:
        if name.lower() in _OURS:
            raise ValueError(f"the header {name.decode('latin-1')} is set by the client itself")
    return b"%bcontent-length: %d\r\n%b\r\n" % (start, body_length, fields)
