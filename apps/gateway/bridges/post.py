"""What web processes tell each other of calls over bridges: in order, in batches, encrypted, and never stored.

It runs over Channels' layer: Redis's publish and subscribe. Whatever gathered while the last batch was being sent is
the next one. A batch that is missing is noticed by its number, a process that is gone by its silence. A process has its
name whether or not Redis is in reach, and listens as soon as it is.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from apps.gateway.bridges.protocol import ACCEPT_SECONDS

logger = logging.getLogger(__name__)

Item = Sequence[Any]
# A batch holds at most so many bytes of bodies and chunks, its last item aside.
BATCH_BYTES = 1_048_576
BEAT_SECONDS = 0.5
LISTEN_SECONDS = 0.5
_ALIVE: Item = ("alive",)


class _Outbox:
    """What waits for one other process."""

    __slots__ = ("items", "number", "run", "sent_at", "series")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.series = secrets.token_hex(8)
        self.number = 0
        self.run: asyncio.Task[None] | None = None
        self.sent_at = 0.0


class Post:
    """The post office of one process. `take(peer, item)` gets what comes, `lost(peer)` hears that something did not."""

    def __init__(self, take: Callable[[str, Item], None], lost: Callable[[str], None]) -> None:
        self.channel = ""
        self._loop = asyncio.get_running_loop()
        self._take = take
        self._lost = lost
        layer = get_channel_layer()
        # In memory nobody else is there.
        self._layer: Any = None if isinstance(layer, InMemoryChannelLayer) else layer
        self._listening = asyncio.Event()
        self._receiving: asyncio.Task[None] | None = None
        self._outboxes: dict[str, _Outbox] = {}
        self._expected: dict[str, tuple[str, int]] = {}
        self.heard_at: dict[str, float] = {}

    async def open(self) -> str:
        """Return the name under which other processes reach this one; begins to listen with the first call.

        While Redis is out of reach it returns late, after ACCEPT_SECONDS, and `listens` is False.
        """
        if not self.channel:
            self.channel = f"bridges.{secrets.token_hex(16)}"
            if self._layer is not None:
                self._receiving = self._loop.create_task(self._receive())
        if self._layer is not None and not self.listens:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ACCEPT_SECONDS):
                    await self._listening.wait()
        return self.channel

    @property
    def listens(self) -> bool:
        """Tell whether other processes reach this one, unless Redis went out of reach since."""
        return self._listening.is_set()

    @property
    def reaches_others(self) -> bool:
        """Tell whether there can be other processes."""
        return self._layer is not None

    async def close(self) -> None:
        """Stop listening and sending."""
        tasks = [box.run for box in self._outboxes.values() if box.run is not None]
        if self._receiving is not None:
            tasks.append(self._receiving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._receiving is not None:
            await self._layer.flush()

    def send(self, peer: str, *item: Any) -> None:
        """Tell another process something, after what it was told before."""
        if self._layer is None:
            return
        box = self._outboxes.get(peer)
        if box is None:
            box = self._outboxes[peer] = _Outbox()
        box.items.append(item)
        box.sent_at = self._loop.time()
        if box.run is None:
            box.run = self._loop.create_task(self._run(peer, box))

    def watch(self, peers: set[str], now: float, patience: float) -> None:
        """Tell these processes that this one lives, and report those that did not for `patience` seconds."""
        for peer in set(self.heard_at) - peers:
            del self.heard_at[peer]
            self._expected.pop(peer, None)
            box = self._outboxes.get(peer)
            if box is not None and box.run is None:
                del self._outboxes[peer]
        for peer in peers:
            box = self._outboxes.get(peer)
            if box is None or now - box.sent_at >= BEAT_SECONDS:
                self.send(peer, *_ALIVE)
            if now - self.heard_at.setdefault(peer, now) > patience:
                self._give_up(peer)

    def forgive(self, seconds: float) -> None:
        """Leave out time in which this process itself did not run."""
        for peer in self.heard_at:
            self.heard_at[peer] += seconds

    def _give_up(self, peer: str) -> None:
        self.heard_at.pop(peer, None)
        self._lost(peer)

    async def _run(self, peer: str, box: _Outbox) -> None:
        try:
            while box.items:
                batch = _batch(box.items)
                del box.items[: len(batch)]
                message = {"from": self.channel, "series": box.series, "number": box.number, "items": batch}
                box.number += 1
                await self._layer.group_send(peer, {"type": "bridges.post", **message})
        except Exception as error:
            logger.warning("another web process is out of reach", extra={"error": type(error).__name__})
            if self._outboxes.get(peer) is box:
                del self._outboxes[peer]  # the next begins a series of its own
            self._give_up(peer)
        finally:
            box.run = None

    async def _receive(self) -> None:
        inbox = await self._listen()
        while True:
            try:
                message = await self._layer.receive(inbox)
                self._open_letter(message)
            except Exception as error:
                # A message that cannot be read is missed by its number.
                logger.warning("channel layer", extra={"error": type(error).__name__})
                await asyncio.sleep(0.2)

    async def _listen(self) -> str:
        """Return the channel of what comes for this process, a group by its name, once Redis is in reach."""
        while True:
            try:
                inbox: str = await self._layer.new_channel("bridges.")
                await self._layer.group_add(self.channel, inbox)
            except Exception as error:
                logger.warning("channel layer out of reach", extra={"error": type(error).__name__})
                with contextlib.suppress(Exception):  # it keeps what it could not subscribe to
                    await asyncio.shield(self._layer.flush())  # which takes being cancelled for its own doing
                await asyncio.sleep(LISTEN_SECONDS)
            else:
                self._listening.set()
                return inbox

    def _open_letter(self, message: dict[str, Any]) -> None:
        peer, series, number = message["from"], message["series"], message["number"]
        self.heard_at[peer] = self._loop.time()
        known, expected = self._expected.get(peer, ("", 0))
        self._expected[peer] = series, number + 1
        if known and number != (expected if series == known else 0):
            self._lost(peer)
        for item in message["items"]:
            self._take(peer, item)


def _batch(items: list[Item]) -> list[Item]:
    size = 0
    for count, item in enumerate(items, 1):
        size += sum(len(part) for part in item if isinstance(part, bytes))
        if size > BATCH_BYTES:
            return items[:count]
    return items[:]
