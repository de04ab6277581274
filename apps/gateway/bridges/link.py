"""One connected bridge whose socket is in this process: its calls, their credit, and whether it still lives."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from apps.features.bridges import BridgeIdentity
from apps.gateway.bridges.errors import BUSY, FAILED, LOST, TOLD
from apps.gateway.bridges.lines import Reply
from apps.gateway.bridges.protocol import (
    LOST_SECONDS,
    MAX_CALLS,
    PING_SECONDS,
    PROBE_SECONDS,
    PROTOCOL_ERROR,
    SLOW_LINE_SECONDS,
    Accepted,
    Answering,
    Chunk,
    End,
    Failed,
    Head,
    Opening,
    ProtocolProblem,
    call_frame,
    frame,
)

# Parts of a request's body wait while this much waits to be written to the socket.
OUTBOX_BYTES = 524_288
# More waits only where a bridge that does not read goes on asking.
MOST_OUTBOX_BYTES = 33_554_432


class _Entry(msgspec.Struct):
    """A call under way; `sent` counts the chunks for which the bridge has no credit back yet."""

    reply: Reply
    window: int
    sent: int = 0


class Link:
    """The socket of a bridge, as calls see it (a lines.Line). Used from one event loop.

    `hang_up` closes the socket with a code, once what waits in `outbox` is not waited for.
    """

    def __init__(self, identity: BridgeIdentity, hang_up: Callable[[int], None]) -> None:
        self.identity = identity
        self.connection_id = ""
        self.closed = False
        self.calls: dict[str, _Entry] = {}
        self._loop = asyncio.get_running_loop()
        self._hang_up = hang_up
        self._outbox: deque[str] = deque()
        self._outbox_size = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._heard_at = self._pinged_at = self._loop.time()
        self._probed = (
            False  # asked within a call, and not heard since: it is owed an answer when the call is over, too
        )

    # From calls, of this process or another.

    def open(self, opening: Opening, reply: Reply) -> None:
        """Begin a call."""
        if self.closed:
            reply.failed(LOST)
        elif len(self.calls) >= MAX_CALLS:
            reply.failed(BUSY)
        else:
            if not self.calls:  # it was not asked since
                self._heard_at = self._loop.time()
            self.calls[opening.call] = _Entry(reply, opening.window)
            self.post(call_frame(opening))

    async def body(self, call: str, parts: Sequence[bytes]) -> None:
        """Send the parts of a request's body, as fast as the socket takes them."""
        for part in parts:
            await self._room.wait()
            self.part(call, part)

    def part(self, call: str, data: bytes) -> None:
        """Send one part of a request's body."""
        if call in self.calls:
            self.post(frame("body", call=call, data=data))

    def credit(self, call: str, chunks: int) -> None:
        """Let the bridge send so many chunks more."""
        entry = self.calls.get(call)
        if entry is not None:
            entry.sent -= chunks
            self.post(frame("credit", call=call, chunks=chunks))

    def cancel(self, call: str) -> None:
        """End a call whose answer nobody wants any more."""
        if self.calls.pop(call, None) is not None:
            self.post(frame("cancel", call=call))

    # From the socket.

    def heard(self) -> None:
        """Note that the bridge lives."""
        self._probed = False
        self._heard_at = self._loop.time()

    def take(self, said: Answering) -> None:
        """Take what the bridge says of a call; of one that is over it may go on for a moment.

        Raises ProtocolProblem for more than its credit allows.
        """
        entry = self.calls.get(said.call)
        if entry is None:
            return
        if isinstance(said, Chunk):
            entry.sent += 1
            if entry.sent > entry.window:
                raise ProtocolProblem("a bridge sent more chunks than it had credit for", code=PROTOCOL_ERROR)
            entry.reply.chunk(said.data)
        elif isinstance(said, Accepted):
            entry.reply.accepted()
        elif isinstance(said, Head):
            entry.reply.head(said.status, said.content_type)
        elif isinstance(said, End):
            del self.calls[said.call]
            entry.reply.end()
        elif isinstance(said, Failed):
            del self.calls[said.call]
            entry.reply.failed(TOLD.get(said.code, FAILED))

    def post(self, text: str) -> None:
        """Send a frame as soon as the socket takes it."""
        if self.closed:
            return
        self._outbox.append(text)
        self._outbox_size += len(text)
        self._filled.set()
        if self._outbox_size > OUTBOX_BYTES:
            self._room.clear()
        if self._outbox_size > MOST_OUTBOX_BYTES:
            self.close(PROTOCOL_ERROR)

    async def next_frame(self) -> str:
        """Return what is to be sent next."""
        while not self._outbox:
            self._filled.clear()
            await self._filled.wait()
        text = self._outbox.popleft()
        self._outbox_size -= len(text)
        if self._outbox_size <= OUTBOX_BYTES:
            self._room.set()
        return text

    # From the hub.

    def close(self, code: int | None = None) -> None:
        """End every call as lost, and close the socket with this code unless it is closed already."""
        if self.closed:
            return
        self.closed = True
        entries, self.calls = self.calls, {}
        for entry in entries.values():
            entry.reply.failed(LOST)
        self._outbox.clear()
        self._room.set()
        if code is not None:
            self._hang_up(code)

    def check_time(self, now: float) -> bool:
        """Ask whether the bridge lives where it was silent; return whether it is lost."""
        silent = now - self._heard_at
        if silent > self._patience:
            return True
        pause = PROBE_SECONDS if self.calls and silent > PROBE_SECONDS else PING_SECONDS
        if now - self._pinged_at >= pause:
            self._pinged_at = now
            self._probed = self._probed or bool(self.calls)
            self.post(frame("ping"))
        return False

    @property
    def _patience(self) -> float:
        if not self.calls and not self._probed:
            return 2 * PING_SECONDS + PROBE_SECONDS
        return SLOW_LINE_SECONDS if self._outbox else LOST_SECONDS

    def forgive(self, seconds: float) -> None:
        """Leave out time in which this process itself did not run."""
        self._heard_at += seconds
