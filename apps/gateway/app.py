"""Door 1: the raw ASGI application that serves the model endpoints and hands the rest to Django."""

import asyncio
import gc
import logging
from typing import Any

import psycopg
from django.conf import settings
from django.db import InterfaceError, OperationalError

from apps.core.errors import BadRequest, FaucetError, TooLarge, Unavailable
from apps.core.ids import new_id
from apps.gateway.endpoints import find
from apps.gateway.http import (
    ClientGone,
    Exchange,
    Message,
    Receive,
    Scope,
    Send,
    header,
    preflight_headers,
    read_body,
    send_bytes,
)
from apps.gateway.runtime import Runtime

logger = logging.getLogger(__name__)

# Nearly all that a request allocates is freed by its reference count; young collections rarely find anything.
GC_THRESHOLDS = (20_000, 20, 20)

# The JSON resources' own limit is lower and better worded; this one keeps what is larger off the disk.
MAX_RESOURCE_BYTES = 1_000_000

# The databases' ways to be out of reach, seen through psycopg and through Django.
OUT_OF_REACH = (psycopg.OperationalError, OperationalError, InterfaceError)


class MethodNotAllowed(FaucetError):
    status, type, default_code = 405, "invalid_request_error", "method_not_allowed"


class Gateway:
    """Serve the model endpoints; everything else goes to `fallback`."""

    def __init__(self, fallback: Any) -> None:
        self._fallback = fallback
        self._runtime: Runtime | None = None
        self._opening: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if not path.startswith("/v1/"):
            await self._serve_by_django(Exchange(scope, receive, send, new_id("req")))
            return
        method: str = scope["method"]
        if method == "OPTIONS":
            await self._preflight(scope, send)
            return
        found = find(path)
        exchange = Exchange(scope, receive, send, new_id("req"), asyncio.get_running_loop().time())
        if found is None:
            await self._serve_by_django(exchange)
            return
        handler = found.get(method)
        if handler is None:
            takes = ", ".join(found)
            await exchange.send_error(MethodNotAllowed(f"{path} takes {takes}."), [(b"allow", takes.encode())])
            return
        try:
            await handler(self._runtime or await self._open(), exchange)
        except ClientGone:
            return
        except FaucetError as error:
            await exchange.send_error(error)
        except OUT_OF_REACH as error:
            logger.error("database out of reach", extra={"request_id": exchange.request_id, "error": str(error)})
            await exchange.send_error(Unavailable("The database is out of reach; nothing was charged.", retry_after=2))
        except Exception:
            # A bug of ours. Where the answer has begun already, this raises and the server cuts the connection.
            logger.exception("gateway failed", extra={"request_id": exchange.request_id, "path": path})
            await exchange.send_error(FaucetError("Something went wrong on our side; this call was not charged."))

    async def _serve_by_django(self, exchange: Exchange) -> None:
        """Hand a request to Django with its body, for which Django would wait forever and keep any size on disk."""
        body: bytes | None = None
        try:
            async with asyncio.timeout(settings.BODY_TIMEOUT):
                body = await read_body(exchange.scope, exchange.receive, limit=MAX_RESOURCE_BYTES)
        except ClientGone:
            return
        except TooLarge as error:
            await exchange.send_error(error)
            return
        except TimeoutError:
            await exchange.send_error(BadRequest("The request body did not arrive in time.", code="body_timeout"))
            return

        async def receive() -> Message:
            nonlocal body
            if body is None:  # from here on only the client's leaving is waited for
                return await exchange.receive()
            message: Message = {"type": "http.request", "body": body, "more_body": False}
            body = None
            return message

        await self._fallback(exchange.scope, receive, exchange.send)

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the server's lifespan protocol: open before the first request, write what is queued at the end."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._open()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._runtime is not None:
                    await self._runtime.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def runtime(self) -> Runtime:
        """Return the state of this process, which the first who asks makes."""
        return self._runtime or await self._open()

    async def _open(self) -> Runtime:
        # Also on the first request: not every server speaks lifespan.
        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if self._runtime is None:
                runtime = Runtime()
                await runtime.open()
                self._runtime = runtime
                # What is loaded by now stays: full collections need not walk it while requests wait.
                gc.collect()
                gc.freeze()
                gc.set_threshold(*GC_THRESHOLDS)
        return self._runtime

    async def _preflight(self, scope: Scope, send: Send) -> None:
        runtime = self._runtime or await self._open()
        origin = header(scope, b"origin")
        allowed = origin is not None and origin.decode("latin-1") in (await runtime.snapshots.policy()).origins
        await send_bytes(send, 204, b"", preflight_headers(origin) if allowed and origin is not None else [])
