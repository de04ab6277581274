"""ASGI by hand, for the endpoints that carry model traffic: reading bodies, answering, errors, CORS."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from django.conf import settings

from apps.core.addresses import seen_address
from apps.core.errors import FaucetError, TooLarge, Unauthorized, Unavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode

EXPOSED = b"x-request-id, x-modelfaucet-route-mode, x-modelfaucet-served-model, x-modelfaucet-price-usd, \
x-modelfaucet-estimated, x-modelfaucet-output-cap, x-modelfaucet-ignored, \
x-modelfaucet-degraded, x-modelfaucet-provider, x-modelfaucet-cache, \
x-modelfaucet-embedding-price-usd, idempotent-replayed, retry-after, \
x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"


# The name of an ASGI extension of our own server: a Writer in the scope.
DIRECT = "modelfaucet.direct"


class Writer(Protocol):
    """A way to send the body of an answer that has begun, chunk by chunk."""

    def write(self, data: bytes) -> bool:
        """Send one chunk. Return whether there may be more at once; else `drain` first."""

    async def drain(self) -> None:
        """Return when the client has read enough, or is gone."""


class AsgiWriter:
    """The same over plain ASGI messages, for servers without the extension: every chunk is drained."""

    __slots__ = ("_pending", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._pending: list[bytes] = []

    def write(self, data: bytes) -> bool:
        self._pending.append(data)
        return False

    async def drain(self) -> None:
        pending, self._pending = self._pending, []
        if pending:
            await self._send({"type": "http.response.body", "body": b"".join(pending), "more_body": True})


def writer_of(scope: Scope, send: Send) -> Writer:
    """Return the shortest way to the client."""
    direct: Writer | None = scope.get("extensions", {}).get(DIRECT)
    return AsgiWriter(send) if direct is None else direct


class ClientGone(Exception):
    """The client closed the connection before its request was read."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return a request header's value; of several with one name the first."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def address_of(scope: Scope) -> str:
    """Return the client's address as the outermost trusted proxy saw it."""
    client = scope.get("client")
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    return seen_address(client[0] if client else "", forwarded.decode("latin-1"))


def bearer(scope: Scope) -> str:
    """Return the token of a request, as OpenAI's clients send it or as Anthropic's do.

    Raises Unauthorized where there is none.
    """
    value = header(scope, b"authorization")
    if value is None:
        key = header(scope, b"x-api-key")
        if key is None:
            raise Unauthorized(
                "Send a session token or virtual key as 'Authorization: Bearer …'.", code="missing_token"
            )
        value = b"Bearer " + key
    scheme, _, token = value.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or len(token) > 512 or not token.isascii():
        raise Unauthorized("The Authorization header takes 'Bearer' and a token.", code="invalid_token")
    return token.decode()


class _BodyBudget:
    """The memory that request bodies take in this process while they arrive: slow clients share one allowance."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self, size: int) -> None:
        if self.taken + size > settings.BODY_MEMORY_BYTES:
            raise Unavailable(
                "Too many large requests are being received; try again shortly.", code="too_many_bodies", retry_after=2
            )
        self.taken += size


_budget = _BodyBudget()


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """Return the request body.

    Raises TooLarge beyond `limit` bytes, Unavailable (too_many_bodies), ClientGone when the client hung up.
    """
    length = header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            if size + len(part) > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return b"".join(parts) + part if parts else part
            _budget.take(len(part))
            size += len(part)
            parts.append(part)
    finally:
        _budget.taken -= size


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {limit} bytes.")


async def send_bytes(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send a whole answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


def error_headers(error: FaucetError) -> Headers:
    """Return the headers that belong to an error."""
    headers: Headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="modelfaucet"'))
    return headers


def _envelope(error: FaucetError, request_id: str | None) -> dict[str, Any]:
    return error.envelope(request_id)


@dataclass(slots=True)
class Exchange:
    """One request and the answer to it.

    `started` is loop time. `headers` are added to whatever is answered (CORS, limits); `envelope` makes the body of
    an error.
    """

    scope: Scope
    receive: Receive
    send: Send
    request_id: str
    started: float = 0.0
    headers: Headers = field(default_factory=list)
    envelope: Callable[[FaucetError, str | None], dict[str, Any]] = _envelope

    async def send_json(self, status: int, content: object, headers: Headers | None = None) -> None:
        """Answer with JSON."""
        own = (b"x-request-id", self.request_id.encode())
        await send_bytes(self.send, status, _encode(content), [JSON, own, *(headers or []), *self.headers])

    async def send_error(self, error: FaucetError, headers: Headers | None = None) -> None:
        """Answer with an error in OpenAI's envelope."""
        await self.send_json(
            error.status, self.envelope(error, self.request_id), error_headers(error) + (headers or [])
        )


def cors_headers(origin: bytes) -> Headers:
    """Return what lets a page of an allowed origin read the answer."""
    return [
        (b"access-control-allow-origin", origin),
        (b"vary", b"Origin"),
        (b"access-control-expose-headers", EXPOSED),
    ]


def preflight_headers(origin: bytes) -> Headers:
    """Return the answer to a preflight from an allowed origin."""
    return [
        (b"access-control-allow-origin", origin),
        (b"vary", b"Origin"),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (
            b"access-control-allow-headers",
            b"authorization, content-type, idempotency-key, x-api-key, anthropic-version, anthropic-beta, "
            b"x-modelfaucet-clamp, x-modelfaucet-cache, x-modelfaucet-policy, x-modelfaucet-max-price-usd, "
            b"x-modelfaucet-min-quality, x-modelfaucet-prefer, x-modelfaucet-require, cache-control, x-request-id",
        ),
        (b"access-control-max-age", b"600"),
    ]
