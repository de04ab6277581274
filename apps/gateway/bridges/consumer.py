"""The WebSocket that a bridge holds open: who it is, what it offers, and its frames to and from its Link."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from channels.consumer import await_many_dispatch
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from apps.core.addresses import network_of
from apps.core.clock import now
from apps.core.errors import FaucetError, Unauthorized
from apps.features.bridges import authenticate_bridge
from apps.features.services.bridges import change_offer, close_connection, open_connection
from apps.gateway.bridges.link import Link
from apps.gateway.bridges.protocol import (
    GOING_AWAY,
    HELLO_SECONDS,
    PATH,
    PING_SECONDS,
    PROTOCOL_ERROR,
    REPLACED,
    SUBPROTOCOL,
    SUSPENDED,
    UNKNOWN_TOKEN,
    Hello,
    Ping,
    Pong,
    ProtocolProblem,
    frame,
    read_frame,
)
from apps.gateway.http import Receive, Scope, Send, address_of, bearer
from apps.gateway.lookups import Lookups
from apps.gateway.runtime import Runtime

logger = logging.getLogger(__name__)

# An offer is a row that every process reads again.
TELL_SECONDS = 1.0

GetRuntime = Callable[[], Awaitable[Runtime]]


class BridgeSocket(AsyncWebsocketConsumer):
    """One connection of a bridge. It has no channel of its own: a process has one post for all (bridges.post)."""

    def __init__(self, get_runtime: GetRuntime, lookups: Lookups[Any]) -> None:
        super().__init__()
        self._get_runtime = get_runtime
        self._lookups = lookups
        self._link: Link | None = None
        self._runtime: Runtime | None = None
        self._connection_id = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._said: Hello | None = None
        self._telling: asyncio.Task[None] | None = None
        self._noting = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.base_send, self.channel_layer = scope, send, None
        try:
            await await_many_dispatch([receive], self.dispatch)
        except StopConsumer:
            pass

    async def dispatch(self, message: Any) -> None:
        if message["type"] == "websocket.receive":  # nothing of the database, so no connection to look after
            await self.websocket_receive(message)
        else:
            await super().dispatch(message)

    async def connect(self) -> None:
        if self.scope["path"] != PATH:
            await self.close()
            return
        try:
            token = bearer(self.scope)
            address = network_of(address_of(self.scope))
            self._runtime = await self._get_runtime()
            identity = await self._lookups.get(token, token, address=address)
        except FaucetError as error:
            await self._refuse(error)
            return
        if SUBPROTOCOL not in self.scope["subprotocols"]:
            await self.accept()
            await self.close(PROTOCOL_ERROR)
            return
        await self.accept(SUBPROTOCOL)
        self._link = Link(identity, self._hang_up)
        self._tasks += [asyncio.create_task(self._write(self._link)), asyncio.create_task(self._await_hello())]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        link = self._link
        if link is None or link.closed:
            return
        link.heard()
        try:
            if text_data is None:
                raise ProtocolProblem("frames are text")
            said = read_frame(text_data)
            if isinstance(said, Hello):
                self._said = said
                if self._telling is None or self._telling.done():
                    self._telling = asyncio.create_task(self._tell(link))
                    self._tasks = [each for each in (*self._tasks, self._telling) if not each.done()]
            elif isinstance(said, Ping):
                link.post(frame("pong"))
            elif not isinstance(said, Pong):
                link.take(said)
        except ProtocolProblem as problem:
            logger.info("bridge hung up on", extra={"bridge_id": link.identity.id, "reason": str(problem)})
            link.close(problem.code)

    async def disconnect(self, code: int) -> None:
        link = self._link
        if link is not None and self._runtime is not None:
            self._runtime.bridges.leave(link)
        async with self._noting:  # what is being written down is not cut short, but taken back
            for task in self._tasks:
                task.cancel()
        if self._connection_id:
            try:
                await database_sync_to_async(close_connection)(self._connection_id, now=now())
            except Exception as error:
                # Its row says so by its age before long.
                logger.warning("end of a connection not noted", extra={"error": type(error).__name__})

    async def _refuse(self, error: FaucetError) -> None:
        """Close with a code, which a WebSocket can only be told once it is accepted."""
        await self.accept(SUBPROTOCOL if SUBPROTOCOL in self.scope["subprotocols"] else None)
        if isinstance(error, Unauthorized):
            await self.close(UNKNOWN_TOKEN)
        else:
            await self.close(SUSPENDED if error.status == 403 else GOING_AWAY)

    async def _tell(self, link: Link) -> None:
        """Note what the bridge said last of what it offers, beside its frames and at most once a second."""
        while (hello := self._said) is not None:
            self._said = None
            async with self._noting:
                if not link.closed:
                    await self._hello(link, hello)
            await asyncio.sleep(TELL_SECONDS)

    async def _hello(self, link: Link, hello: Hello) -> None:
        offer = {
            "version": hello.version,
            "models": [msgspec.to_builtins(model) for model in hello.models],
            "max_concurrency": hello.max_concurrency,
            "now": now(),
        }
        assert self._runtime is not None
        bridges = self._runtime.bridges
        try:
            if self._connection_id:
                if not await database_sync_to_async(change_offer)(self._connection_id, **offer):
                    link.close(REPLACED)
                return
            channel = await bridges.post.open()
            self._connection_id = await database_sync_to_async(open_connection)(
                bridge_id=link.identity.id, channel=channel, **offer
            )
        except Unauthorized:
            link.close(UNKNOWN_TOKEN)
            return
        except Exception:
            logger.exception("a bridge's hello was not noted")
            link.close(GOING_AWAY)
            return
        if link.closed:
            return
        bridges.enter(link, self._connection_id)
        link.post(frame("welcome", bridge_id=link.identity.id, ping_seconds=PING_SECONDS))

    async def _await_hello(self) -> None:
        await asyncio.sleep(HELLO_SECONDS)
        if self._link is not None and not self._connection_id:
            self._link.close(PROTOCOL_ERROR)

    async def _write(self, link: Link) -> None:
        while True:
            await self.base_send({"type": "websocket.send", "text": await link.next_frame()})

    def _hang_up(self, code: int) -> None:
        self._tasks.append(asyncio.create_task(self._close(code)))

    async def _close(self, code: int) -> None:
        # The peer may read no more, and then the close is not read either: the server has its own patience for that.
        await self.close(code)


def bridge_socket(get_runtime: GetRuntime) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return the ASGI application for the sockets of bridges, which serves no other path."""
    lookups: list[Lookups[Any]] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if not lookups:  # made inside the event loop
            lookups.append(Lookups(authenticate_bridge, lanes=2))
        await BridgeSocket(get_runtime, lookups[0])(scope, receive, send)

    return application
