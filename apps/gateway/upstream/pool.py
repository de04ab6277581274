"""Connections to providers, kept between requests; one pool per process and event loop."""

import asyncio
import ssl
from collections import deque

from apps.core.outbound import AddressNotAllowed, ParsedUrl, Resolver, parse_url
from apps.gateway.upstream.connection import Connection
from apps.gateway.upstream.errors import UpstreamBroken, UpstreamConnectError, UpstreamTimeout
from apps.gateway.upstream.response import UpstreamResponse
from apps.gateway.upstream.wire import Headers, request_head

REST_SECONDS = 0.001


class UpstreamPool:
    """Send requests to providers over kept connections, the most recently used first.

    Timeouts are in seconds: `first_byte_timeout` from sending to the first byte of the answer, `idle_timeout`
    between two reads. They are checked by one coarse ticker (an eighth of the shorter one, at most 0.25 s), which
    runs while connections are open. Redirects are not followed; answers are asked for uncompressed.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        first_byte_timeout: float,
        idle_timeout: float,
        max_idle_per_host: int = 256,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._connect_timeout = connect_timeout
        self._first_byte_timeout = first_byte_timeout
        self._idle_timeout = idle_timeout
        self._max_idle = max_idle_per_host
        self._resolver = resolver or Resolver()
        self._tls = tls
        self._idle: dict[tuple[str, str, int], deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._tick_seconds = min(0.25, first_byte_timeout / 8, idle_timeout / 8)
        self._ticker: asyncio.TimerHandle | None = None
        self._resting: list[Connection] = []
        self._closing = False

    async def send(
        self, url: ParsedUrl | str, headers: Headers, body: bytes, *, deadline: float, method: str = "POST"
    ) -> UpstreamResponse:
        """Send a request and return its answer once the head has come; the body is read from the answer.

        `deadline` is a time of the event loop's clock at which the whole exchange, body included, fails.
        Nothing is sent twice: the request goes to a kept connection only if that is not known to be closed.
        Raises UpstreamConnectError, UpstreamTimeout, UpstreamBroken; ValueError for a malformed header.
        """
        if isinstance(url, str):
            try:
                url = parse_url(url)
            except AddressNotAllowed as error:
                raise UpstreamConnectError(error.message, reason="address") from error
        head = request_head(url, headers, len(body), method)
        if self._closing:
            raise UpstreamConnectError("the pool is closed", reason="refused")
        if self.loop.time() >= deadline:
            raise UpstreamTimeout("deadline", sent=False)
        connection = self._take_idle((url.scheme, url.host, url.port)) or await self._connect(url, deadline)
        connection.request(head, body, deadline)
        while not connection.status:
            if connection.failure is not None:
                raise connection.failure()
            await connection.wait()
        if connection.headers.get(b"content-encoding", b"identity") != b"identity":
            connection.abort()
            raise UpstreamBroken("the provider's answer is compressed", bytes_received=connection.received)
        return UpstreamResponse(connection)

    async def close(self) -> None:
        """Close every connection, those in use included, and return when they are gone."""
        self._closing = True
        for connection in list(self._open):
            connection.fail(connection.broken("the pool was closed"))
        while self._open:
            await asyncio.sleep(0)
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    @property
    def open_connections(self) -> int:
        """Return how many connections are open, idle ones included."""
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        """Return how many connections wait for a request."""
        return sum(map(len, self._idle.values()))

    def _take_idle(self, key: tuple[str, str, int]) -> Connection | None:
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            if not connection.hung_up():
                return connection
            connection.abort()
        return None

    async def _connect(self, url: ParsedUrl, deadline: float) -> Connection:
        """Return a connection to one of the vetted addresses, tried in turn within the connect timeout."""
        limit = min(self.loop.time() + self._connect_timeout, deadline)
        late = UpstreamTimeout("deadline" if limit == deadline else "connect", sent=False)
        try:
            async with asyncio.timeout_at(limit):
                addresses = await self._resolver.resolve(url.host, url.port)
        except AddressNotAllowed as error:
            raise UpstreamConnectError(error.message, reason="address") from error
        except TimeoutError as error:
            raise late from error
        except OSError as error:
            raise UpstreamConnectError("the provider's name does not resolve", reason="name") from error
        context = self._tls_context() if url.scheme == "https" else None
        for left, (address, port) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            now = self.loop.time()
            try:
                # A share of the time each, so that one address that swallows packets does not use it all up.
                async with asyncio.timeout_at(now + (limit - now) / left):
                    _, connection = await self.loop.create_connection(
                        lambda: Connection(self, (url.scheme, url.host, url.port)),
                        address,
                        port,
                        ssl=context,
                        server_hostname=url.host if context is not None else None,
                    )
                return connection
            except TimeoutError as error:
                if left == 1:
                    raise late from error
            except ssl.SSLError as error:
                raise UpstreamConnectError("the provider's certificate or TLS is not accepted", reason="tls") from error
            except OSError as error:
                if left == 1:
                    raise UpstreamConnectError("the provider refuses connections", reason="refused") from error
        raise AssertionError("resolve returns at least one address")

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    # From the connections.

    def opened(self, connection: Connection) -> None:
        """Count a connection in."""
        self._open.add(connection)
        if self._ticker is None:
            self._ticker = self.loop.call_later(self._tick_seconds, self._tick)

    def lost(self, connection: Connection) -> None:
        """Count a connection out."""
        self._open.discard(connection)
        idle = self._idle.get(connection.key)
        if idle is not None:
            try:
                idle.remove(connection)
            except ValueError:
                pass
            if not idle:
                del self._idle[connection.key]

    def resume_soon(self, connection: Connection) -> None:
        """Read from a connection again in about a millisecond: one timer for all that rest."""
        if not self._resting:
            self.loop.call_later(REST_SECONDS, self._resume)
        self._resting.append(connection)

    def _resume(self) -> None:
        resting, self._resting = self._resting, []
        for connection in resting:
            if not connection.closed and not connection.transport.is_closing():
                connection.transport.resume_reading()

    def release(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, or close it."""
        idle = self._idle.setdefault(connection.key, deque())
        transport = connection.transport
        if (
            not connection.reusable
            or connection.closed
            or self._closing
            or transport.is_closing()
            or transport.get_write_buffer_size()  # it answered without reading the whole request
            or len(idle) >= self._max_idle
            or (keep := connection.keep_alive_seconds()) <= 0
        ):
            connection.abort()
            return
        connection.rest(until=self.loop.time() + keep)
        idle.append(connection)

    def _tick(self) -> None:
        if not self._open:
            self._ticker = None
            return
        self._ticker = self.loop.call_later(self._tick_seconds, self._tick)
        now = self.loop.time()
        for connection in list(self._open):
            if connection.active:
                connection.check_time(now, self._first_byte_timeout, self._idle_timeout)
            elif now >= connection.keep_until:
                connection.abort()
