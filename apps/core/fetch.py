"""One guarded request to an address that somebody entered: key checks, webhooks. Blocking, for code off the loop.

It connects only where the outbound guard allows, to the very address that was vetted; follows no redirect; uses no
proxy of the environment; and ends within `seconds` however slowly the other side answers, name lookup included.
"""

import ssl
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LookupTimeout
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import httpcore
import httpx

from apps.core.outbound import AddressNotAllowed, LookupNow, check_url, look_up_now, resolve_now

USER_AGENT = "ModelFaucet"
# getaddrinfo takes no timeout, so it is waited for from outside; one that hangs keeps its thread until it returns.
_lookups = ThreadPoolExecutor(max_workers=8, thread_name_prefix="lookup")


class FetchFailed(Exception):
    """No answer: `reason` is timeout, unreachable, tls or broken. Holds nothing that was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: its status, the first bytes of its body, and milliseconds until these were read."""

    status: int
    body: bytes
    ms: int


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    seconds: float = 5.0,
    most: int = 100_000,
    allowed_private: Collection[str] | None = None,
    lookup: LookupNow = look_up_now,
) -> Fetched:
    """Send one request and return the answer, of whose body at most `most` bytes are read.

    `allowed_private` are the `host:port` pairs inside the network that are exempt; by default the operator's
    (OUTBOUND_PRIVATE_ENDPOINTS); `()` where somebody else entered the URL. Raises AddressNotAllowed and FetchFailed.
    """
    check_url(url, allowed_private=allowed_private)
    begun = time.monotonic()
    transport = _Transport(_Backend(begun + seconds, allowed_private, lookup))
    # Not compressed: the body is read as it comes, and a small one could unpack to anything.
    sent = {"user-agent": USER_AGENT, "accept-encoding": "identity", **(headers or {})}
    try:
        with (
            httpx.Client(transport=transport, timeout=seconds, trust_env=False, follow_redirects=False) as client,
            client.stream(method, url, headers=sent, content=content) as response,
        ):
            body = bytearray()
            for part in response.iter_raw():
                body += part
                if len(body) >= most:
                    break
            return Fetched(response.status_code, bytes(body[:most]), round((time.monotonic() - begun) * 1000))
    except httpx.TimeoutException as error:
        raise FetchFailed("timeout") from error
    except httpx.ConnectError as error:
        raise FetchFailed("tls" if _is_tls(error) else "unreachable") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchFailed("broken") from error


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


class _Transport(httpx.HTTPTransport):
    """httpx's own transport over a pool that connects through the guard: httpx has no argument for that."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        super().__init__(verify=_trusted(), trust_env=False)
        self._pool = httpcore.ConnectionPool(ssl_context=_trusted(), network_backend=backend, max_connections=1)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, deadline: float, allowed_private: Collection[str] | None, lookup: LookupNow) -> None:
        self._deadline = deadline
        self._allowed_private = allowed_private
        self._lookup = lookup
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address, at_port in self._addresses(host, port):
            try:
                left = _left(self._deadline, timeout, httpcore.ConnectTimeout)
                stream = self._sockets.connect_tcp(address, at_port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self._deadline)
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise AddressNotAllowed("A socket of this machine is not called.")

    def _addresses(self, host: str, port: int) -> list[tuple[str, int]]:
        ask = partial(resolve_now, host, port, allowed_private=self._allowed_private, lookup=self._lookup)
        try:
            return _lookups.submit(ask).result(_left(self._deadline, None, httpcore.ConnectTimeout))
        except LookupTimeout as error:
            raise httpcore.ConnectTimeout("the name took too long to resolve") from error
        except OSError as error:
            raise httpcore.ConnectError("the name does not resolve") from error


class _Stream(httpcore.NetworkStream):
    """A connection that ends at the deadline: a timeout for each read would let a byte a second go on for ever."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, timeout: float | None, late: type[Exception]) -> float:
    """Return the seconds that are left, `timeout` at most. Raises `late` where there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("the deadline has passed")
    return left if timeout is None else min(left, timeout)
