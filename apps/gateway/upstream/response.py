"""The answer of a provider, as the relay reads it."""

from collections.abc import Callable, Mapping

from apps.gateway.upstream.connection import Connection
from apps.gateway.upstream.errors import UpstreamTooLarge


class UpstreamResponse:
    """The answer to one request: `status`, `headers` (names in lower case), and the body, read once.

    Read it to its end, or `abort()`; as a context manager it aborts what was not read to its end.
    """

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self.status: int = connection.status
        self.headers: Mapping[bytes, bytes] = connection.headers

    @property
    def ended(self) -> bool:
        """Tell whether the body was read to its end (or given up), so that nothing is left to do."""
        return self._connection is None

    async def next(self) -> bytes:
        """Return what has come of the body since the last call, at least one byte; b"" at the end.

        Raises UpstreamTimeout or UpstreamBroken, after the bytes that came before it.
        """
        connection = self._connection
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

    async def pump(self, take: Callable[[bytes], bool]) -> bool:
        """Hand what comes of the body to `take`, until that returns False or the body ends; tell whether it ended.

        What comes meanwhile is handed over where it is received, without a task switch a chunk. Raises what `take`
        raises, and as `next` does.
        """
        while (connection := self._connection) is not None:
            if connection.parts or connection.complete or connection.failure is not None:
                data = await self.next()  # it need not wait
                if data and not take(data):
                    return False
                continue
            connection.sink = take
            try:
                await connection.wait()
            finally:
                stopped = connection.sink is None
                connection.sink = None
            error, connection.sink_error = connection.sink_error, None
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
        data = await self.next()
        parts = [data]
        size = len(data)
        while self._connection is not None:
            if size > limit:
                break
            data = await self.next()
            parts.append(data)
            size += len(data)
        if size > limit:
            self.abort()
            raise UpstreamTooLarge(limit)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunks(self) -> "UpstreamResponse":
        """Iterate over the body as it comes off the socket, chunk framing removed: `async for data in …`."""
        return self

    def __aiter__(self) -> "UpstreamResponse":
        return self

    async def __anext__(self) -> bytes:
        data = await self.next()
        if not data:
            raise StopAsyncIteration
        return data

    def abort(self) -> None:
        """Close the connection at once, unless the body was read to its end. May be called at any time."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            connection.abort()

    def __enter__(self) -> "UpstreamResponse":
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def _release(self, connection: Connection) -> None:
        self._connection = None
        connection.pool.release(connection)
