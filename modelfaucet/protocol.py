"""uvicorn's HTTP protocol, with a bound on the head of a request and a short way out for streams."""

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from apps.gateway.http import DIRECT

MAX_HEAD_BYTES = 65_536
HEAD_SECONDS = 30.0
# The kernel's own bound on what waits for a slow reader is several megabytes a connection.
SEND_BUFFER_BYTES = 262_144


class DirectWriter:
    """The body of an answer that was begun by ASGI messages and is chunked, written without a coroutine a chunk.

    It does not know the request that it is for, whose scope it is in: each would be garbage for the collector.
    """

    __slots__ = ("_flow", "_transport")

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow

    def write(self, data: bytes) -> bool:
        """Send one chunk. Return whether there may be more at once; else `drain` first."""
        if not self._transport.is_closing():
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return not self._flow.write_paused

    async def drain(self) -> None:
        """Return when the client has read enough, or is gone."""
        await self._flow.drain()


class BoundedHeads(HttpToolsProtocol):
    """Close a connection whose request line and headers are too large, or take too long.

    Anybody may open one: a client without a token could otherwise fill the memory with headers that never end.
    Each request's scope carries a DirectWriter.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != getattr(socket, "AF_UNIX", None):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse()
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.scope["extensions"] = {DIRECT: DirectWriter(self.transport, self.flow)}  # type: ignore[dict-item]

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self) -> None:
        # At once: an answer to a client that does not stop sending would be kept with what it sends.
        self._stop_timer()
        self.transport.abort()
