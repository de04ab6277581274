"""The two ends of a call whose bridge is connected to another web process."""

import asyncio
from collections.abc import Sequence

from apps.gateway.bridges.lines import Reply
from apps.gateway.bridges.post import Post
from apps.gateway.bridges.protocol import Opening


class FarLine:
    """The way of one call to a bridge whose socket is in the process `peer` (a lines.Line)."""

    __slots__ = ("_connection_id", "_over", "_post", "_taken", "peer")

    def __init__(self, post: Post, peer: str, connection_id: str) -> None:
        self.peer = peer
        self._post = post
        self._connection_id = connection_id
        self._over = False
        self._taken = asyncio.Event()

    def open(self, opening: Opening, reply: Reply) -> None:
        self._post.send(
            self.peer,
            "open",
            self._connection_id,
            opening.call,
            opening.model,
            opening.operation,
            opening.stream,
            opening.window,
            opening.body,
            opening.parts,
        )

    async def body(self, call: str, parts: Sequence[bytes]) -> None:
        for part in parts:
            if self._over:
                return
            self._taken.clear()
            self._post.send(self.peer, "body", call, part)
            await self._taken.wait()

    def taken(self) -> None:
        """Note that the socket has room for the next part."""
        self._taken.set()

    def end(self) -> None:
        """Note that the call is over."""
        self._over = True
        self._taken.set()

    def credit(self, call: str, chunks: int) -> None:
        self._post.send(self.peer, "credit", call, chunks)

    def cancel(self, call: str) -> None:
        self._post.send(self.peer, "cancel", call)


class FarReply:
    """Passes the answer to a call on to the process that it came from (a lines.Reply)."""

    __slots__ = ("_call", "_post", "peer")

    def __init__(self, post: Post, peer: str, call: str) -> None:
        self.peer = peer
        self._post = post
        self._call = call

    def accepted(self) -> None:
        self._post.send(self.peer, "accepted", self._call)

    def head(self, status: int, content_type: str) -> None:
        self._post.send(self.peer, "head", self._call, status, content_type)

    def chunk(self, data: bytes) -> None:
        self._post.send(self.peer, "chunk", self._call, data)

    def end(self) -> None:
        self._post.send(self.peer, "end", self._call)

    def failed(self, code: str) -> None:
        self._post.send(self.peer, "failed", self._call, code)

    def taken(self) -> None:
        self._post.send(self.peer, "taken", self._call)
