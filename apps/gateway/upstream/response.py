"""An answer as the relay reads it, whoever gives it: a provider, or a bridge (bridges.answer)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol, Self

from apps.gateway.upstream.connection import Connection
from apps.gateway.upstream.errors import UpstreamError, UpstreamTooLarge


class Source(Protocol):
    """Where an answer comes in: what has come and was not read, and the sink that takes what comes."""

    parts: list[bytes]
    complete: bool
    failure: Callable[[], UpstreamError] | None
    sink: Callable[[bytes], bool] | None
    sink_error: Exception | None

    async def wait(self) -> None:
        """Return when something has changed: bytes, the end, an error, or a sink that takes no more."""


class Response(ABC):
    """The answer to one request: `status`, `headers` (names in lower case), and the body, read once.

    Read it to its end, or `abort()`; as a context manager it aborts what was not read to its end.
    """

    __slots__ = ()
    status: int
    headers: Mapping[bytes, bytes]

    @property
    @abstractmethod
    def source(self) -> Source | None:
        """Return where it comes in, None once it has `ended`."""

    @property
    def ended(self) -> bool:
        """Tell whether the body was read to its end (or given up), so that nothing is left to do."""
        return self.source is None

    @abstractmethod
    async def next(self) -> bytes:
        """Return what has come of the body since the last call, at least one byte; b"" at the end.

        Raises an UpstreamError, after the bytes that came before it.
        """

    @abstractmethod
    def abort(self) -> None:
        """End the answer at once, unless its body was read to its end. May be called at any time."""

    async def pump(self, take: Callable[[bytes], bool]) -> bool:
        """Hand what comes of the body to `take`, until that returns False or the body ends; tell whether it ended.

        What comes meanwhile is handed over where it is received, without a task switch a chunk. Raises what `take`
        raises, and as `next` does.
        """
        while (source := self.source) is not None:
            if source.parts or source.complete or source.failure is not None:
                data = await self.next()  # it need not wait
                if data and not take(data):
                    return False
                continue
            source.sink = take
            try:
                await source.wait()
            finally:
                stopped = source.sink is None
                source.sink = None
            error, source.sink_error = source.sink_error, None
            if error is not None:
                raise error
            if stopped:
                return False
        return True

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises UpstreamTooLarge beyond `limit` bytes, and as `next` does."""
        declared = self.headers.get(b"content-length")
        if declared is not None and int(declared) > limit:
            self.abort()
            raise UpstreamTooLarge(limit)
        parts: list[bytes] = []
        size = 0
        while self.source is not None:
            data = await self.next()
            parts.append(data)
            size += len(data)
            if size > limit:
                self.abort()
                raise UpstreamTooLarge(limit)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self) -> Self:
        """Iterate over the body as it comes, the framing of its transfer removed: `async for data in …`."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self.next()
        if not data:
            raise StopAsyncIteration
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class UpstreamResponse(Response):
    """The answer of a provider, on the connection that it takes up until its end."""

    __slots__ = ("headers", "source", "status")

    def __init__(self, connection: Connection) -> None:
        self.source: Connection | None = connection
        self.status: int = connection.status
        self.headers: Mapping[bytes, bytes] = connection.headers

    async def next(self) -> bytes:
        """Return what has come of the body since the last call, at least one byte; b"" at the end.

        Raises UpstreamTimeout or UpstreamBroken, after the bytes that came before it.
        """
        connection = self.source
        if connection is None:
            return b""
        parts = connection.parts
        while True:
            if parts:
                data = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                connection.unread = 0
                if connection.complete:
                    self._release(connection)
                elif connection.paused:
                    connection.resume()
                return data
            if connection.complete:
                self._release(connection)
                return b""
            if connection.failure is not None:
                raise connection.failure()
            await connection.wait()

    def abort(self) -> None:
        """Close the connection at once, unless the body was read to its end. May be called at any time."""
        connection = self.source
        if connection is not None:
            self.source = None
            connection.abort()

    def _release(self, connection: Connection) -> None:
        self.source = None
        connection.pool.release(connection)
