"""A streamed answer: parts as they come, the whole result at the end, and an end at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

import httpx

from modelfaucet_sdk._async.transport import reason_of
from modelfaucet_sdk.answers import Assembler
from modelfaucet_sdk.errors import ConnectionFailedError, FaucetError
from modelfaucet_sdk.results import StreamPart, TextPart
from modelfaucet_sdk.sse import EventDecoder, EventTooLarge

R = TypeVar("R")


class AsyncStream(Generic[R]):
    """Iterate over it for its parts; leaving its `with` block closes the connection, and the gateway stops.

    A stream that was left early is charged for what was delivered. It is opened by the `with` block, or else by the
    first part that is asked for; what refuses the call is raised there.
    """

    def __init__(
        self, opening: Callable[[], Awaitable[httpx.Response]], assembling: Callable[[httpx.Headers], Assembler[R]]
    ) -> None:
        self._opening = opening
        self._assembling = assembling
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._assembler: Assembler[R] | None = None
        self._decoder = EventDecoder()
        self._parts: deque[StreamPart] = deque()
        self._is_closed = False

    @property
    def result(self) -> R:
        """The whole answer, once the stream has come to its end. Raises RuntimeError before."""
        if self._assembler is None or not self._assembler.is_done:
            raise RuntimeError("The stream has not come to its end; use until_done().")
        return self._assembler.result()

    @property
    def request_id(self) -> str | None:
        """The id of the call, as soon as the stream is open."""
        return None if self._response is None else self._response.headers.get("x-request-id")

    async def until_done(self) -> R:
        """Read whatever is left and return the whole answer."""
        async with self:
            async for _ in self:
                pass
        return self.result

    async def texts(self) -> AsyncIterator[str]:
        """Yield the pieces of text alone."""
        async for part in self:
            if isinstance(part, TextPart):
                yield part.text

    async def close(self) -> None:
        """Close the connection. What was not read is lost; the gateway and the provider stop."""
        self._is_closed = True
        if self._response is not None:
            await self._response.aclose()

    async def __aenter__(self) -> AsyncStream[R]:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncStream[R]:
        return self

    async def __anext__(self) -> StreamPart:
        while not self._parts:
            if self._is_closed:
                raise StopAsyncIteration
            await self._open()
            failure = await self._read()
            if failure is not None:
                await self.close()
                raise failure
        return self._parts.popleft()

    async def _open(self) -> None:
        if self._response is None and not self._is_closed:
            self._response = await self._opening()
            self._assembler = self._assembling(self._response.headers)
            self._pieces = self._response.aiter_bytes()

    async def _read(self) -> FaucetError | None:
        """Take the next piece; return what went wrong, if something did."""
        assert self._pieces is not None and self._assembler is not None
        try:
            piece = await anext(self._pieces, None)
            if piece is None:
                await self.close()
                return None if self._assembler.is_done else _broken("it ended before its end")
            for event in self._decoder.feed(piece):
                self._parts.extend(self._assembler.take(event))
        except httpx.StreamError:
            return None if self._is_closed else _broken("it was closed")
        except httpx.TransportError as error:
            return _broken(reason_of(error))
        except EventTooLarge as error:
            return _broken(str(error))
        except FaucetError as error:
            return error
        return None


def _broken(why: str) -> ConnectionFailedError:
    return ConnectionFailedError(f"The stream broke off: {why}", code="stream_broken")
