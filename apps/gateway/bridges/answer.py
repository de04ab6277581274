"""A bridge's answer, as the relay reads it: the same to its reader as a provider's (upstream.UpstreamResponse).

What the bridge may send is bounded by credit. A chunk is acknowledged when its reader asks for more, which a relay
does once its client has taken what came before: so a slow client stops the local model, and at most a window of chunks
is kept here.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from apps.gateway.bridges.errors import FAILED, LOST, UNAVAILABLE, BridgeError
from apps.gateway.bridges.lines import Line
from apps.gateway.bridges.protocol import ACCEPT_SECONDS, WINDOW
from apps.gateway.upstream.errors import UpstreamError, UpstreamTimeout, UpstreamTooLarge

# Credit is given for a quarter of the window at a time.
GRANT = WINDOW // 4


class BridgeAnswer:
    """The answer to one call: `status`, `headers` and the body, read once. Made by the hub.

    Read it to its end, or `abort()`; as a context manager it aborts what was not read to its end.
    """

    __slots__ = (
        *("_accepted", "_asked_at", "_complete", "_failure", "_first_byte_timeout", "_heard_at", "_idle_timeout"),
        *("_left", "_loop", "_owed", "_parts", "_sink", "_sink_error", "_waiter"),
        *("call", "deadline", "ended", "headers", "line", "status"),
    )

    def __init__(
        self,
        call: str,
        line: Line,
        left: Callable[["BridgeAnswer"], None],
        *,
        deadline: float,
        first_byte_timeout: float,
        idle_timeout: float,
    ) -> None:
        self.call = call
        self.line = line
        self.deadline = deadline
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.ended = False
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._asked_at = self._heard_at = self._loop.time()
        self._first_byte_timeout = first_byte_timeout
        self._idle_timeout = idle_timeout
        self._accepted = self._complete = False
        self._parts: list[bytes] = []
        self._owed = 0
        # How to make the error, not the error: that would hold the frames it was raised in.
        self._failure: Callable[[], UpstreamError] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], bool] | None = None
        self._sink_error: Exception | None = None

    # What comes from the bridge.

    def accepted(self) -> None:
        self._accepted = True
        self._heard_at = self._loop.time()

    def head(self, status: int, content_type: str) -> None:
        self._heard_at = self._loop.time()
        self._accepted = True
        if not self.status:
            self.status = status
            self.headers = {b"content-type": content_type.encode("latin-1", "replace")}
            self._wake()

    def chunk(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        if not self.status:
            self.fail(partial(BridgeError, FAILED))
        elif self._sink is None:
            self._parts.append(data)
            self._wake()
        else:
            self._owed += 1
            try:
                more = self._sink(data)
            except Exception as error:
                self._sink_error = error
                more = False
            if more:
                self._grant()
            else:
                self._sink = None
                self._wake()

    def end(self) -> None:
        if self.status:
            self._complete = True
            self._wake()
        else:
            self.failed(FAILED)

    def failed(self, code: str) -> None:
        self._complete = False
        if self._failure is None:
            if code == LOST and not self._accepted:
                code = UNAVAILABLE
            self._failure = partial(BridgeError, code)
        self._wake()

    # From the hub.

    def fail(self, failure: Callable[[], UpstreamError]) -> None:
        """End the answer with an error, after what was received, and the call at the bridge."""
        if not self.ended and not self._complete and self._failure is None:
            self._failure = failure
            self.line.cancel(self.call)
            self._wake()

    def check_time(self, now: float) -> None:
        """Fail an answer that is late. Time in which nobody reads is not the bridge's silence."""
        if self._failure is not None or self._complete or self.ended:
            return
        if now >= self.deadline:
            self.fail(partial(UpstreamTimeout, "deadline"))
        elif not self._accepted:
            if now - self._asked_at >= ACCEPT_SECONDS:
                self.fail(partial(BridgeError, UNAVAILABLE))
        elif self._waiter is not None:
            limit = self._idle_timeout if self.status else self._first_byte_timeout
            if now - self._heard_at >= limit:
                self.fail(partial(UpstreamTimeout, "idle" if self.status else "first_byte"))

    def forgive(self, seconds: float) -> None:
        """Leave out time in which this process itself did not run."""
        self._asked_at += seconds
        self._heard_at += seconds

    async def opened(self) -> None:
        """Return once the head has come. Raises as `next` does."""
        while not self.status:
            if self._failure is not None:
                raise self._failure()
            await self._wait()

    # From the relay.

    async def next(self) -> bytes:
        """Return what has come of the body since the last call, at least one byte; b"" at the end.

        Raises BridgeError or UpstreamTimeout, after the bytes that came before it.
        """
        while not self.ended:
            self._grant()
            if self._parts:
                data = b"".join(self._parts)
                self._owed += len(self._parts)
                self._parts.clear()
                if self._complete:
                    self._leave()
                if data:
                    return data
            elif self._complete:
                self._leave()
            elif self._failure is not None:
                raise self._failure()
            else:
                self._heard_at = max(self._heard_at, self._loop.time())
                await self._wait()
        return b""

    async def pump(self, take: Callable[[bytes], bool]) -> bool:
        """Hand what comes of the body to `take`, until that returns False or the body ends; tell whether it ended.

        Raises what `take` raises, and as `next` does.
        """
        while not self.ended:
            if self._parts or self._complete or self._failure is not None:
                data = await self.next()  # it need not wait
                if data and not take(data):
                    return False
                continue
            self._grant()
            self._heard_at = max(self._heard_at, self._loop.time())
            self._sink = take
            try:
                await self._wait()
            finally:
                stopped = self._sink is None
                self._sink = None
            error, self._sink_error = self._sink_error, None
            if error is not None:
                raise error
            if stopped:
                return False
        return True

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises UpstreamTooLarge beyond `limit` bytes, and as `next` does."""
        parts: list[bytes] = []
        size = 0
        while data := await self.next():
            parts.append(data)
            size += len(data)
            if size > limit:
                self.abort()
                raise UpstreamTooLarge(limit)
        return b"".join(parts)

    def chunks(self) -> "BridgeAnswer":
        """Iterate over the body: `async for data in …`."""
        return self

    def __aiter__(self) -> "BridgeAnswer":
        return self

    async def __anext__(self) -> bytes:
        data = await self.next()
        if not data:
            raise StopAsyncIteration
        return data

    def abort(self) -> None:
        """End the call at the bridge at once, unless it has ended. May be called at any time."""
        if not self.ended:
            if not self._complete and self._failure is None:
                self.line.cancel(self.call)
            self._parts.clear()
            self._leave()

    def __enter__(self) -> "BridgeAnswer":
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def _leave(self) -> None:
        self.ended = True
        self._left(self)

    def _grant(self) -> None:
        if self._owed >= GRANT and not self._complete and self._failure is None:
            owed, self._owed = self._owed, 0
            self.line.credit(self.call, owed)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
