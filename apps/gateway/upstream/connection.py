"""One connection to a provider: sending a request, and gathering the answer for an UpstreamResponse.

A chunk of a stream costs one `feed_data` and one call of the sink that a relay has set, or a wake-up of who waits:
the parser's body callback is the `append` of a list, and there is no timer per read (the pool's ticker looks at
`heard_at`). What gathers while the reader is busy is handed over in one piece; beyond HIGH_WATER the socket is not
read, so that a stalled reader slows the provider down and costs no memory.

Small reads in quick succession (a provider faster than some 500 chunks a second) make every chunk cost a system call
here and another towards the client. After BURST_READS of them the socket rests for about a millisecond, and what came
meanwhile is read at once. Nothing that was read waits; slower streams never get there.
"""

import asyncio
import re
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import httptools

from apps.gateway.upstream.errors import UpstreamBroken, UpstreamError, UpstreamTimeout

if TYPE_CHECKING:
    from apps.gateway.upstream.pool import UpstreamPool

# Below the idle limits of common servers and balancers (60 s and up), so that we close before they do.
KEEP_ALIVE_SECONDS = 30.0
HIGH_WATER = 65_536
# Left to itself, the kernel lets a receive buffer grow to tens of megabytes where a client reads slowly. This is
# 2.5 MB/s at a round trip of 100 ms, far more than models write.
SOCKET_BYTES = 262_144
MAX_HEAD_BYTES = 65_536
BURST_READS = 4
BURST_BYTES = 4_096
BURST_SECONDS = 0.002
_KEEP_ALIVE_TIMEOUT = re.compile(rb"\btimeout\s*=\s*(\d{1,6})")
_HUNG_UP = getattr(select, "POLLRDHUP", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


class Connection(asyncio.Protocol):
    """An HTTP/1.1 client connection: one request at a time, kept open between them."""

    transport: asyncio.Transport

    def __init__(self, pool: "UpstreamPool", key: tuple[str, str, int]) -> None:
        self.pool = pool
        self.key = key
        self.closed = False
        self.served = 0  # answers taken from it so far
        self.keep_until = pool.loop.time() + KEEP_ALIVE_SECONDS
        self.time = pool.loop.time
        self.parts: list[bytes] = []
        self.on_body = self.parts.append  # the parser takes the bound method of the list itself
        self.parser = httptools.HttpResponseParser(self)
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None
        self._reset()

    def _reset(self) -> None:
        self.active = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.received = 0
        self.unread = 0
        self.paused = False
        self.burst = 0
        self.until_eof = False
        self.complete = False
        self.reusable = False
        # How to make the error, not the error: that would hold the frames it was raised in, and they hold us.
        self.failure: Callable[[], UpstreamError] | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.sink: Callable[[bytes], bool] | None = None
        self.sink_error: Exception | None = None
        self.heard_at = 0.0
        self.deadline = 0.0

    # From the pool.

    def request(self, head: bytes, body: bytes, deadline: float) -> None:
        """Send a request; its answer is read through `wait` and an UpstreamResponse."""
        self.active = True
        self.heard_at = self.time()
        self.deadline = deadline
        if len(body) <= HIGH_WATER:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    def hung_up(self) -> bool:
        """Return whether the peer has closed an idle connection, even if the loop has not told us yet."""
        if self.closed or self.transport.is_closing():
            return True
        return self._poll is not None and bool(self._poll(0))

    def rest(self, until: float) -> None:
        """Forget the answer, ready for the next request, which may come until `until`."""
        self.served += 1
        self._reset()
        self.keep_until = until

    def keep_alive_seconds(self) -> float:
        """Return how long the connection may rest: less than the provider says it waits, if it says so."""
        said = self.headers.get(b"keep-alive")
        match = _KEEP_ALIVE_TIMEOUT.search(said) if said is not None else None
        return KEEP_ALIVE_SECONDS if match is None else min(KEEP_ALIVE_SECONDS, int(match[1]) - 1.0)

    def abort(self) -> None:
        """Close the connection at once, whatever is under way."""
        if not self.closed:
            self.transport.abort()

    def fail(self, failure: Callable[[], UpstreamError]) -> None:
        """End the answer with an error (after what was already received) and close the connection."""
        if self.active and not self.complete and self.failure is None:
            self.failure = failure
            self.wake()
        self.abort()

    def broken(self, message: str) -> Callable[[], UpstreamBroken]:
        """Return what makes the error of an answer that breaks here."""
        return partial(UpstreamBroken, message, bytes_received=self.received, reused=self.served > 0)

    def check_time(self, now: float, first_byte_timeout: float, idle_timeout: float) -> None:
        """Fail an answer that is late. Time in which we do not read is not the provider's silence."""
        if not self.complete and not self.paused:
            limit = idle_timeout if self.received else first_byte_timeout
            if now - self.heard_at >= limit:
                self.fail(partial(UpstreamTimeout, "idle" if self.received else "first_byte"))
                return
        if now >= self.deadline:
            self.fail(partial(UpstreamTimeout, "deadline"))

    async def wait(self) -> None:
        """Return when something has changed: bytes, the head, the end or an error.

        Cancelling closes the connection: half an answer cannot be handed to the next request.
        """
        waiter = self.waiter = self.pool.loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.abort()
            raise

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def resume(self) -> None:
        """Read from the socket again, after `paused`."""
        self.paused = False
        self.heard_at = self.time()
        if not self.closed:
            self.transport.resume_reading()

    # From the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # create_connection makes asyncio.Transport only
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        if hasattr(select, "poll") and sock is not None:
            poll = select.poll()
            poll.register(sock.fileno(), _HUNG_UP)
            self._poll = poll.poll
        self.pool.opened(self)

    def data_received(self, data: bytes) -> None:
        if not self.active or self.complete:
            self.reusable = False
            self.abort()  # nobody asked: this would be taken for the next answer
            return
        size = len(data)
        now = self.time()
        if now - self.heard_at < BURST_SECONDS and size < BURST_BYTES:
            self.burst += 1
        else:
            self.burst = 0
        self.heard_at = now
        self.received += size
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(self.broken("what the provider sent is not HTTP"))
            return
        if self.status:
            sink = self.sink
            more = False
            if sink is not None and self.parts:
                more = self._pour(sink)
            else:
                self.unread += size
            if not self.complete:
                if self.unread > HIGH_WATER:
                    self.paused = True
                    self.transport.pause_reading()
                elif self.burst >= BURST_READS:
                    self.transport.pause_reading()
                    self.pool.resume_soon(self)
                if more:
                    return
        elif self.received > MAX_HEAD_BYTES:
            self.fail(self.broken("the head of the provider's answer is too large"))
            return
        else:
            return
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _pour(self, sink: Callable[[bytes], bool]) -> bool:
        """Hand the sink what has come; return whether it takes more. An error of its own is for who set it."""
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        try:
            more = sink(data)
        except Exception as error:
            self.sink_error = error
            more = False
        if not more:
            self.sink = None
        return more

    def eof_received(self) -> None:
        if self.until_eof and self.status:
            self.complete = True
            self.wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self.active and not self.complete and self.failure is None:
            self.failure = self.broken("the provider closed the connection")
        del self.parser  # it holds our methods: without this, every connection would be a cycle for the collector
        self.wake()
        self.pool.lost(self)

    # From the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        known = self.headers.get(name)
        self.headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:
            self.headers = {}
            return
        self.status = status
        headers = self.headers
        encoding = headers.get(b"transfer-encoding")
        self.until_eof = b"content-length" not in headers and (encoding is None or b"chunked" not in encoding.lower())

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False
            raise ValueError("bytes after the end of the answer")

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self.reusable = self.parser.should_keep_alive()
