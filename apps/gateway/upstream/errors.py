"""What can go wrong with a provider, as seen from the socket.

    UpstreamError
    ├── UpstreamConnectError   no connection, so nothing was sent
    ├── UpstreamTimeout        `.phase`: connect, first_byte, idle or deadline
    ├── UpstreamBroken         the connection ended or the answer was not HTTP; `.bytes_received`
    └── UpstreamTooLarge       the body is larger than the reader takes

Messages hold no header, no body and no secret. `safe_to_retry` says that no byte of the request can have reached
the provider; where that is in doubt it is False.
"""

from typing import Literal

Phase = Literal["connect", "first_byte", "idle", "deadline"]


class UpstreamError(Exception):
    """Base of every failure of an upstream request."""

    safe_to_retry = False


class UpstreamConnectError(UpstreamError):
    """No connection could be made. `reason` is address, name, refused or tls."""

    safe_to_retry = True

    def __init__(self, message: str, *, reason: Literal["address", "name", "refused", "tls"]) -> None:
        super().__init__(message)
        self.reason = reason


class UpstreamTimeout(UpstreamError):
    """The provider took too long; `phase` says at what."""

    def __init__(self, phase: Phase, *, sent: bool = True) -> None:
        super().__init__(f"the provider took too long ({phase})")
        self.phase = phase
        self.safe_to_retry = not sent


class UpstreamBroken(UpstreamError):
    """The connection ended within the answer, or what came is not HTTP.

    `bytes_received` counts the bytes of the answer that came off the socket, head included. `reused` says that the
    connection had served before: with no byte received it may have been closed for idleness, and whether the
    request was looked at is not known.
    """

    def __init__(self, message: str, *, bytes_received: int, reused: bool = False) -> None:
        super().__init__(message)
        self.bytes_received = bytes_received
        self.reused = reused


class UpstreamTooLarge(UpstreamError):
    """The body is larger than `limit` bytes; the connection has been closed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the provider's answer is larger than {limit} bytes")
        self.limit = limit
