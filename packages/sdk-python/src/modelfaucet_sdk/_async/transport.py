"""Sending calls: connections, retries, and foreign exceptions as our own."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from modelfaucet_sdk._concurrency import async_sleep
from modelfaucet_sdk.calls import Call
from modelfaucet_sdk.errors import BridgeError, ConnectionFailedError, FaucetError, TimedOutError, error_of_answer
from modelfaucet_sdk.retries import RetryPolicy
from modelfaucet_sdk.version import AGENT

# What failed before anything of the request left.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True)
class Answer:
    """A whole answer of 200 to 299."""

    status: int
    headers: httpx.Headers
    body: bytes


class AsyncTransport:
    """One gateway, or one bridge, and the connections to it."""

    def __init__(
        self,
        base_url: str,
        client: httpx.AsyncClient,
        policy: RetryPolicy,
        lost: type[ConnectionFailedError] = ConnectionFailedError,
    ) -> None:
        self._base_url = base_url
        self._client = client
        self._policy = policy
        self._lost = lost  # what it is called here when there is no answer

    async def send(self, call: Call, token: str | None) -> Answer:
        """Return the answer to a call, tried again where that is safe. Raises FaucetError."""
        response = await self.open(call, token, read=True)
        return Answer(response.status_code, response.headers, response.content)

    async def open(self, call: Call, token: str | None, *, read: bool = False) -> httpx.Response:
        """Return an answer of 200 to 299 whose body is still to be read; the caller closes it. Raises FaucetError."""
        tries = 0
        while True:
            tries += 1
            found, unsent = await self._try(call, token, read)
            if isinstance(found, httpx.Response):
                return found
            pause = self._policy.wait(found, tries=tries, repeatable=call.repeatable, unsent=unsent)
            if pause is None:
                # Raised here, where no exception of httpx is at hand: that would show the request and its token.
                raise found
            await async_sleep(pause)

    async def _try(self, call: Call, token: str | None, read: bool) -> tuple[httpx.Response | FaucetError, bool]:
        try:
            response = await self._client.send(self._request(call, token), stream=True)
        except httpx.TransportError as error:
            return self._failure(error), isinstance(error, _UNSENT)
        try:
            if not response.is_success:
                body = await response.aread()
                await response.aclose()
                return error_of_answer(response.status_code, response.headers, body), False
            if read:
                await response.aread()
        except httpx.TransportError as error:
            await response.aclose()
            return self._failure(error), False
        except BaseException:
            await response.aclose()
            raise
        return response, False

    def _failure(self, error: httpx.TransportError) -> FaucetError:
        what = "The bridge" if self._lost is BridgeError else "The gateway"
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, _UNSENT):
            return TimedOutError(f"{what} did not answer in time ({reason_of(error)}).", code="timed_out")
        return self._lost(f"{what} could not be reached ({reason_of(error)}).", code="connection_failed")

    def _request(self, call: Call, token: str | None) -> httpx.Request:
        headers = {"accept": "application/json", "user-agent": AGENT, **call.headers}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if call.body is not None:
            headers.setdefault("content-type", "application/json")
        timeout = {} if call.timeout is None else {"timeout": call.timeout}
        return self._client.build_request(
            call.method,
            f"{self._base_url}/{call.path}",
            content=call.body,
            params=dict(call.query) or None,
            headers=headers,
            **timeout,  # type: ignore[arg-type]  # left out means the client's own, which None would switch off
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def reason_of(error: httpx.TransportError) -> str:
    """Return what one of httpx's errors says, without the request that it carries."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
