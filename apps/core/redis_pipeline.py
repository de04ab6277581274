"""One pipelined connection to Redis: what is sent in one turn of the loop is written together, answers come in order.

A client library's pool costs 40-60 µs a request, more than everything else that a limit needs; this costs about two.
It never waits for a server that is out of reach: a command sent meanwhile is answered with the error at once, and a
connection that stops answering is given up, with all that waits on it, and made again in the background.
"""

import asyncio
import logging
import random
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

logger = logging.getLogger(__name__)

# Commands that may wait for their answers; at more the server is not keeping up.
MAX_WAITING = 10_000
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
# A loop that was busy runs its timers before it reads what has arrived meanwhile; this lets it read first.
GRACE = 0.05
# Errors that concern the server and not the command: another connection may reach a server that can.
_UNFIT = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH")

Answered = Callable[[Any], None]


class RedisLost(Exception):
    """The server is out of reach, or became so before it answered: the command may have run."""


class RedisPipeline:
    """A connection that is kept open from `open()` to `close()`.

    `url` is redis://, rediss:// or unix://, as redis-py takes it; `timeout` is in seconds, for connecting and for an
    answer; `greeting` are packed commands sent first on each new connection (such as SCRIPT LOAD).
    """

    def __init__(self, url: str, *, timeout: float = 0.25, greeting: Sequence[bytes] = ()) -> None:
        from redis.connection import parse_url  # here: 6 MB that nobody needs without a Redis

        self._address: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        self._timeout = timeout
        self._greeting = tuple(greeting)
        self._link: _Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def connected(self) -> bool:
        """Tell whether a command sent now goes to a server."""
        return self._link is not None

    async def open(self) -> None:
        """Connect; a server that is out of reach is tried for in the background until it answers."""
        try:
            self._link = await self._connect()
        except RedisLost:
            self._reconnect()

    async def close(self) -> None:
        """Wait for the answers that are due, then hang up."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._link is not None:
            await self._link.drain()
            self._link.lose(RedisLost("closed"))

    def send(self, command: bytes, answered: Answered) -> None:
        """Queue a packed command; `answered` is called once with the reply.

        The reply is what hiredis makes of it: bytes, int, list, None, or a hiredis.ReplyError. It is a RedisLost
        where there is none, and then `answered` may be called before this returns.
        """
        if self._link is None:
            answered(RedisLost("not connected"))
        else:
            self._link.send(command, answered)

    def _lost(self, link: "_Link") -> None:
        if self._link is link:
            self._link = None
            if not self._closed:
                self._reconnect()

    def _reconnect(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._keep_connecting())

    async def _keep_connecting(self) -> None:
        pause = FIRST_PAUSE
        while True:
            # Unequal pauses, so that not all processes come back in the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                self._link = await self._connect()
                return
            except RedisLost:
                continue

    async def _connect(self) -> "_Link":
        """Return a connection that was greeted. Raises RedisLost."""
        loop = asyncio.get_running_loop()
        link: _Link | None = None
        try:
            async with asyncio.timeout(self._timeout):
                link = await self._dial(loop)
                replies = [link.ask(loop, command) for command in (*self._introduction(), *self._greeting)]
                for reply in await asyncio.gather(*replies):
                    if isinstance(reply, Exception):
                        raise RedisLost(str(reply))
        except (OSError, TimeoutError, RedisLost) as error:
            if link is not None:
                link.lose(RedisLost("not greeted"))
            raise error if isinstance(error, RedisLost) else RedisLost(type(error).__name__) from error
        return link

    async def _dial(self, loop: asyncio.AbstractEventLoop) -> "_Link":
        def make() -> _Link:
            return _Link(loop, self._timeout, self._lost)

        address = self._address
        if "path" in address:
            return (await loop.create_unix_connection(make, address["path"]))[1]
        secure = _tls(address) if "connection_class" in address else None
        host, port = address.get("host", "localhost"), address.get("port", 6379)
        return (await loop.create_connection(make, host, port, ssl=secure))[1]

    def _introduction(self) -> list[bytes]:
        address, commands = self._address, []
        if "password" in address:
            names = (address["username"],) if "username" in address else ()
            commands.append(pack("AUTH", *names, address["password"]))
        if address.get("db"):
            commands.append(pack("SELECT", address["db"]))
        return commands


def pack(*words: str | int | float | bytes | memoryview) -> bytes:
    """Return a command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub takes one word
    return packed


def _tls(address: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=address.get("ssl_ca_certs"))
    if address.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Link(asyncio.Protocol):
    """One connection, from connected to lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float, lost: "Callable[[_Link], None]") -> None:
        self._loop = loop
        self._timeout = timeout
        self._lost = lost
        self._reader = hiredis.Reader(notEnoughData=NOTHING)
        self._transport: asyncio.Transport | None = None
        self._unwritten: list[bytes] = []
        self._waiting: deque[tuple[Answered, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: tuple[Answered, float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes

    def connection_lost(self, exc: Exception | None) -> None:
        self.lose(RedisLost("connection lost"))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not NOTHING:
                self._waiting.popleft()[0](reply)
                if type(reply) is hiredis.ReplyError and str(reply).startswith(_UNFIT):
                    self.lose(RedisLost(str(reply)))
                    return
        except (hiredis.ProtocolError, IndexError) as error:
            self.lose(RedisLost(f"not Redis: {type(error).__name__}"))

    def send(self, command: bytes, answered: Answered) -> None:
        waiting = self._waiting
        if self._transport is None or len(waiting) >= MAX_WAITING:
            answered(RedisLost("too many commands wait"))
            return
        if not self._unwritten:
            self._loop.call_soon(self._write)
        self._unwritten.append(command)
        waiting.append((answered, self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)

    def ask(self, loop: asyncio.AbstractEventLoop, command: bytes) -> "asyncio.Future[Any]":
        """Send a command and return the future of its reply, of whatever kind."""
        future: asyncio.Future[Any] = loop.create_future()
        self.send(command, lambda reply: None if future.done() else future.set_result(reply))
        return future

    async def drain(self) -> None:
        """Wait until nothing is due any more: either answered, or given up."""
        while self._waiting:
            await asyncio.sleep(0.005)

    def lose(self, error: RedisLost) -> None:
        """Hang up and tell everyone who waits."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._lost(self)
        while self._waiting:
            self._waiting.popleft()[0](error)

    def _write(self) -> None:
        commands, self._unwritten = self._unwritten, []
        if self._transport is not None:
            self._transport.write(b"".join(commands))

    def _look(self) -> None:
        """Give up a server whose oldest answer is overdue; one timer for all commands."""
        self._timer = None
        if not self._waiting:
            return
        oldest = self._waiting[0]
        wait = oldest[1] + self._timeout - self._loop.time()
        if wait <= 0:
            if self._overdue is oldest:
                logger.warning("redis does not answer", extra={"waiting": len(self._waiting)})
                self.lose(RedisLost("timeout"))
                return
            self._overdue = oldest
            wait = GRACE
        self._timer = self._loop.call_later(wait, self._look)


NOTHING = object()
