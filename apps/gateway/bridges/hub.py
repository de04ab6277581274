"""The bridges as one web process knows them: the sockets that it holds, and the calls that it has under way."""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from channels.db import database_sync_to_async
from django.db import DatabaseError, InterfaceError

from apps.core.clock import now
from apps.core.errors import FaucetError, Unauthorized
from apps.features.bridges import CONNECTION_PATIENCE, ConnectedBridge, bridge_still_welcome, last_connections
from apps.features.queries import Principal
from apps.features.services.bridges import see_connections
from apps.gateway.bridges.answer import BridgeAnswer
from apps.gateway.bridges.errors import LOST, UNAVAILABLE, BridgeError
from apps.gateway.bridges.far import FarLine, FarReply
from apps.gateway.bridges.lines import Line
from apps.gateway.bridges.link import Link
from apps.gateway.bridges.post import Post
from apps.gateway.bridges.protocol import (
    GOING_AWAY,
    LOST_SECONDS,
    REPLACED,
    SUSPENDED,
    UNKNOWN_TOKEN,
    WINDOW,
    Opening,
    body_parts,
)
from apps.gateway.bridges.targets import Load, LocalModel, stand_ins
from apps.gateway.routing import Target, Wish

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.1
SEEN_SECONDS = CONNECTION_PATIENCE.total_seconds() / 3
# A tick that comes so late was held up by this process, which nobody else is blamed for.
LATE_SECONDS = 0.3
MAX_TURNS = 10_000


class Bridges:
    """Send calls to connected bridges, of this process or another; used from one event loop.

    Nothing runs before the first bridge or call. Timeouts are in seconds, as those of providers.
    """

    def __init__(self, *, first_byte_timeout: float, idle_timeout: float) -> None:
        self.links: dict[str, Link] = {}
        self.calls: dict[str, BridgeAnswer] = {}
        self.post = Post(self._take, self._lost)
        self._loop = asyncio.get_running_loop()
        self._first_byte_timeout = first_byte_timeout
        self._idle_timeout = idle_timeout
        self._under_way: Counter[str] = Counter()  # calls of this process by connection
        self._connections: dict[str, str] = {}  # of the calls
        self._guests: dict[str, tuple[Link, FarReply]] = {}  # calls of other processes over bridges of this one
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._seen_at = self._loop.time()
        self._turns: dict[str, int] = {}  # by bridge
        self._turn = 0

    async def close(self) -> None:
        """Hang up on every bridge and stop."""
        for link in list(self.links.values()):
            link.close(GOING_AWAY)
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.post.close()

    # Calls.

    def stand_ins(self, models: Sequence[LocalModel], principal: Principal, wish: Wish) -> tuple[Target, ...]:
        """Return the targets among an end user's own models; of bridges with as many calls, each in turn."""
        targets = stand_ins(models, principal, wish, self.load)
        if len(targets) > 1:
            first = targets[0].credential.id
            self._turns.pop(first, None)
            self._turns[first] = self._turn = self._turn + 1
            if len(self._turns) > MAX_TURNS:
                del self._turns[next(iter(self._turns))]
        return targets

    def load(self, bridge: ConnectedBridge) -> Load | None:
        """Return what a bridge has under way, as far as this process knows; None where it is gone."""
        link = self.links.get(bridge.connection_id)
        if link is None and not self._is_elsewhere(bridge):
            return None
        calls = self._under_way[bridge.connection_id] if link is None else len(link.calls)
        return Load(calls, self._turns.get(bridge.bridge_id, 0))

    async def send(
        self,
        bridge: ConnectedBridge,
        call: str,
        *,
        model: str,
        operation: str,
        body: bytes,
        stream: bool,
        deadline: float,
    ) -> BridgeAnswer:
        """Send a request in canonical form and return the answer once its head has come.

        `deadline` is a time of the event loop's clock. Raises BridgeError and UpstreamTimeout.
        """
        line: Line = self.links.get(bridge.connection_id) or await self._far_line(bridge)
        self._wind()
        answer = BridgeAnswer(
            call,
            line,
            self._left,
            deadline=deadline,
            first_byte_timeout=self._first_byte_timeout,
            idle_timeout=self._idle_timeout,
        )
        parts = body_parts(body)
        self.calls[call] = answer
        self._connections[call] = bridge.connection_id
        self._under_way[bridge.connection_id] += 1
        try:
            line.open(Opening(call, model, operation, stream, WINDOW, b"" if parts else body, len(parts)), answer)
            if parts:
                self._spawn(line.body(call, parts))
            await answer.opened()
        except BaseException:
            answer.abort()
            raise
        return answer

    def _is_elsewhere(self, bridge: ConnectedBridge) -> bool:
        return self.post.reaches_others and bridge.channel != self.post.channel

    async def _far_line(self, bridge: ConnectedBridge) -> FarLine:
        if not self._is_elsewhere(bridge):
            raise BridgeError(UNAVAILABLE)
        await self.post.open()
        if not self.post.listens:
            raise BridgeError(UNAVAILABLE)
        return FarLine(self.post, bridge.channel, bridge.connection_id)

    def _left(self, answer: BridgeAnswer) -> None:
        if isinstance(answer.line, FarLine):
            answer.line.end()
        if self.calls.pop(answer.call, None) is not None:
            connection = self._connections.pop(answer.call)
            self._under_way[connection] -= 1
            if not self._under_way[connection]:
                del self._under_way[connection]

    # Sockets.

    def enter(self, link: Link, connection_id: str) -> None:
        """Take a bridge in that said hello, and end its former connection; another process rechecks its own."""
        link.connection_id = connection_id
        self.links[connection_id] = link
        for former in list(self.links.values()):
            if former.identity.id == link.identity.id and former is not link:
                former.close(REPLACED)
        self._wind()

    def leave(self, link: Link) -> None:
        """Let a bridge go whose socket is closed; its calls are lost."""
        link.close()
        if self.links.get(link.connection_id) is link:
            del self.links[link.connection_id]

    def recheck(self, ids: Collection[str] | None) -> None:
        """Look again whether bridges of these end users or developers, of all if None, are welcome; end the others."""
        links = [
            link
            for link in self.links.values()
            if ids is None or link.identity.end_user_id in ids or link.identity.developer_id in ids
        ]
        if links:
            self._spawn(self._recheck(links))

    async def _recheck(self, links: list[Link]) -> None:
        while True:
            try:
                unwelcome = await database_sync_to_async(_unwelcome)(links)
                break
            except (DatabaseError, InterfaceError) as error:  # one that was revoked is not to stay for that
                logger.warning("bridges not looked after", extra={"error": type(error).__name__})
                await asyncio.sleep(1)
        for link in links:
            if link.connection_id in unwelcome:
                link.close(unwelcome[link.connection_id])

    # Other processes.

    def _take(self, peer: str, item: Any) -> None:
        kind = item[0]
        if kind == "open":
            self._open_guest(peer, item[1], Opening(*item[2:]))
        elif kind in ("body", "credit", "cancel"):
            guest = self._guests.get(item[1])
            if guest is not None and guest[1].peer == peer:
                self._serve_guest(kind, *guest, item)
        elif kind in _REPLIES:
            answer = self.calls.get(item[1])
            if answer is not None and isinstance(answer.line, FarLine) and answer.line.peer == peer:
                if kind == "taken":
                    answer.line.taken()
                else:
                    getattr(answer, kind)(*item[2:])

    def _open_guest(self, peer: str, connection_id: str, opening: Opening) -> None:
        reply = FarReply(self.post, peer, opening.call)
        link = self.links.get(connection_id)
        if link is None:
            reply.failed(UNAVAILABLE)
            return
        self._guests[opening.call] = link, reply
        link.open(opening, reply)

    def _serve_guest(self, kind: str, link: Link, reply: FarReply, item: Any) -> None:
        call = item[1]
        if kind == "body":
            self._spawn(self._take_part(link, reply, call, item[2]))
        elif kind == "credit":
            link.credit(call, item[2])
        else:
            link.cancel(call)
            self._guests.pop(call, None)

    async def _take_part(self, link: Link, reply: FarReply, call: str, part: bytes) -> None:
        """Send a part of a body on; its process sends the next one once this one is on its way."""
        await link.body(call, (part,))
        reply.taken()

    def _lost(self, peer: str) -> None:
        """Give up what is under way with another process."""
        for answer in list(self.calls.values()):
            if isinstance(answer.line, FarLine) and answer.line.peer == peer:
                answer.line.cancel(answer.call)
                answer.failed(LOST)
        for call, (link, reply) in list(self._guests.items()):
            if reply.peer == peer:
                del self._guests[call]
                link.cancel(call)
                reply.failed(LOST)

    # Time.

    def _wind(self) -> None:
        if self._ticker is None:
            self._ticker = self._loop.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            due = self._loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            now_at = self._loop.time()
            if now_at - due > LATE_SECONDS:
                self._forgive(now_at - due)
                continue
            for link in list(self.links.values()):
                if link.check_time(now_at):
                    link.close(GOING_AWAY)
            for answer in list(self.calls.values()):
                answer.check_time(now_at)
            self._guests = {call: guest for call, guest in self._guests.items() if call in guest[0].calls}
            if self.post.reaches_others:
                self.post.watch(self._peers(), now_at, LOST_SECONDS)
            if now_at - self._seen_at >= SEEN_SECONDS:
                self._seen_at = now_at
                self._spawn(self._see())

    def _forgive(self, seconds: float) -> None:
        for answer in self.calls.values():
            answer.forgive(seconds)
        for link in self.links.values():
            link.forgive(seconds)
        self.post.forgive(seconds)

    def _peers(self) -> set[str]:
        peers = {answer.line.peer for answer in self.calls.values() if isinstance(answer.line, FarLine)}
        return peers.union(reply.peer for _, reply in self._guests.values())

    async def _see(self) -> None:
        if self.links:
            await database_sync_to_async(see_connections)(list(self.links), now=now())

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("bridges not looked after", extra={"error": type(error).__name__})


_REPLIES = frozenset(("accepted", "head", "chunk", "end", "failed", "taken"))


def _unwelcome(links: Sequence[Link]) -> dict[str, int]:
    """Return those of these connections that are not served any more, each with the code to close with."""
    found = {}
    last = last_connections({link.connection_id for link in links})
    for link in links:
        try:
            bridge_still_welcome(link.identity.id)
        except Unauthorized:
            found[link.connection_id] = UNKNOWN_TOKEN
        except FaucetError:
            found[link.connection_id] = SUSPENDED
        else:
            if link.connection_id not in last:
                found[link.connection_id] = REPLACED
    return found
