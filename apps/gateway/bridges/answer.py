"""A bridge's answer: the same to its reader as a provider's.

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
from apps.gateway.upstream.errors import UpstreamError, UpstreamTimeout
from apps.gateway.upstream.response import Response

# Credit is given for a quarter of the window at a time.
GRANT = WINDOW // 4


class BridgeAnswer(Response):
    """The answer to one call. Made by the hub."""

    __slots__ = (
        *("_accepted", "_asked_at", "_first_byte_timeout", "_heard_at", "_idle_timeout", "_left", "_loop", "_owed"),
        *("_waiter", "call", "complete", "deadline", "ended", "failure", "headers", "line", "parts", "sink"),
        *("sink_error", "status"),
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
        self.ended: bool = False
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._asked_at = self._heard_at = self._loop.time()
        self._first_byte_timeout = first_byte_timeout
        self._idle_timeout = idle_timeout
        self._accepted = self.complete = False
        self.parts: list[bytes] = []
        self._owed = 0
        # How to make the error, not the error: that would hold the frames it was raised in.
        self.failure: Callable[[], UpstreamError] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.sink: Callable[[bytes], bool] | None = None
        self.sink_error: Exception | None = None

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
        elif self.sink is None:
            self.parts.append(data)
            self._wake()
        else:
            self._owed += 1
            try:
                more = self.sink(data)
            except Exception as error:
                self.sink_error = error
                more = False
            if more:
                self._grant()
            else:
                self.sink = None
                self._wake()

    def end(self) -> None:
        if self.status:
            self.complete = True
            self._wake()
        else:
            self.failed(FAILED)

    def failed(self, code: str) -> None:
        self.complete = False
        if self.failure is None:
            if code == LOST and not self._accepted:
                code = UNAVAILABLE
            self.failure = partial(BridgeError, code)
        self._wake()

    # From the hub.

    def fail(self, failure: Callable[[], UpstreamError]) -> None:
        """End the answer with an error, after what was received, and the call at the bridge."""
        if not self.ended and not self.complete and self.failure is None:
            self.failure = failure
            self.line.cancel(self.call)
            self._wake()

    def check_time(self, now: float) -> None:
        """Fail an answer that is late. Time in which nobody reads is not the bridge's silence."""
        if self.failure is not None or self.complete or self.ended:
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
            if self.failure is not None:
                raise self.failure()
            await self._wait()

    # From the relay.

    @property
    def source(self) -> "BridgeAnswer | None":
        return None if self.ended else self

    async def next(self) -> bytes:
        """Return what has come of the body since the last call, at least one byte; b"" at the end.

        Raises BridgeError or UpstreamTimeout, after the bytes that came before it.
        """
        while not self.ended:
            if self.parts:
                self._grant()
                data = b"".join(self.parts)
                self._owed += len(self.parts)
                self.parts.clear()
                if self.complete:
                    self._leave()
                if data:
                    return data
            elif self.complete:
                self._leave()
            elif self.failure is not None:
                raise self.failure()
            else:
                await self.wait()
        return b""

    async def wait(self) -> None:
        """Return when something has changed; what the reader has had is acknowledged before."""
        self._grant()
        self._heard_at = max(self._heard_at, self._loop.time())
        await self._wait()

    def abort(self) -> None:
        """End the call at the bridge at once, unless it has ended. May be called at any time."""
        if not self.ended:
            if not self.complete and self.failure is None:
                self.line.cancel(self.call)
            self.parts.clear()
            self._leave()

    def _leave(self) -> None:
        self.ended = True
        self._left(self)

    def _grant(self) -> None:
        if self._owed >= GRANT and not self.complete and self.failure is None:
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
