"""The post between processes: order, batches, and what is noticed where something is missing."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from apps.gateway.bridges import post as module
from apps.gateway.bridges.post import Post


class Wire:
    """A channel layer that hands over what it is told to, for two offices in one event loop."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self.groups: dict[str, str] = {}
        self.loses = 0
        self.fails = False
        self.sent: list[dict[str, Any]] = []

    async def new_channel(self, prefix: str) -> str:
        name = f"{prefix}{len(self.queues)}"
        self.queues[name] = asyncio.Queue()
        return name

    async def group_add(self, group: str, channel: str) -> None:
        if self.fails:
            raise OSError
        self.groups[group] = channel

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.01)
        if self.fails:
            raise OSError
        self.sent.append(message)
        if self.loses:
            self.loses -= 1
        else:
            self.queues[self.groups[group]].put_nowait(message)

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self.queues[channel].get()

    async def flush(self) -> None:
        pass


class Office:
    def __init__(self) -> None:
        self.got: list[Any] = []
        self.lost: list[str] = []
        self.post = Post(lambda peer, item: self.got.append(tuple(item)), self.lost.append)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()
    monkeypatch.setattr(module, "get_channel_layer", lambda: made)
    return made


def run(story: Callable[[Office, Office], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        here, there = Office(), Office()
        await here.post.open()
        await there.post.open()
        try:
            await story(here, there)
        finally:
            await here.post.close()
            await there.post.close()

    asyncio.run(play())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_what_gathers_is_sent_together_and_in_order(wire: Wire) -> None:
    async def story(here: Office, there: Office) -> None:
        for number in range(100):
            here.post.send(there.post.channel, "chunk", "call", b"%d" % number)
            if number % 10 == 0:
                await asyncio.sleep(0.003)
        await until(lambda: len(there.got) == 100)
        assert there.got == [("chunk", "call", b"%d" % number) for number in range(100)]
        assert len(wire.sent) < 20 and not there.lost

    run(story)


def test_batch_is_bounded_in_bytes(wire: Wire) -> None:
    async def story(here: Office, there: Office) -> None:
        for _ in range(64):
            here.post.send(there.post.channel, "chunk", "call", bytes(65_536))
        await until(lambda: len(there.got) == 64)
        assert max(sum(len(item[2]) for item in each["items"]) for each in wire.sent) <= module.BATCH_BYTES + 65_536

    run(story)


def test_message_that_is_missing_is_noticed_by_the_next(wire: Wire) -> None:
    async def story(here: Office, there: Office) -> None:
        for number in range(3):
            wire.loses = int(number == 1)
            here.post.send(there.post.channel, "chunk", "call", b"%d" % number)
            await until(lambda number=number: len(wire.sent) > number)  # type: ignore[misc]
        await until(lambda: len(there.got) == 2)
        assert there.lost == [here.post.channel] and not here.lost

    run(story)


def test_process_that_cannot_be_reached_is_noticed(wire: Wire) -> None:
    async def story(here: Office, there: Office) -> None:
        wire.fails = True
        here.post.send(there.post.channel, "chunk", "call", b"1")
        await until(lambda: here.lost == [there.post.channel])
        wire.fails = False
        here.post.send(there.post.channel, "chunk", "call", b"2")
        await until(lambda: there.got == [("chunk", "call", b"2")])
        assert not there.lost

    run(story)


def test_silence_is_noticed_and_a_sign_of_life_is_given(wire: Wire) -> None:
    async def story(here: Office, there: Office) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        here.post.watch({there.post.channel}, now, 0.2)
        await until(lambda: there.got == [("alive",)])
        assert not here.lost
        here.post.watch({there.post.channel}, now + 0.3, 0.2)
        assert here.lost == [there.post.channel]

    run(story)
