"""The contract of a store of answers, for the one in memory and the one in Redis."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from apps.gateway.cache.stores import AnswerStore, MemoryAnswers, RedisAnswers

Story = Callable[[AnswerStore, Callable[[float], None]], Awaitable[None]]


@pytest.fixture(params=["memory", "redis"])
def tell(request: pytest.FixtureRequest) -> Callable[[Story], None]:
    """Give what runs a story with a store and what lets seconds pass: by a clock of our own, or really."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None

    @asynccontextmanager
    async def opened() -> AsyncIterator[tuple[AnswerStore, Callable[[float], None]]]:
        clock = [100.0]

        def later(seconds: float) -> None:
            clock[0] += seconds

        store: AnswerStore
        if url is None:
            store = MemoryAnswers(clock=lambda: clock[0])
        else:
            store, later = RedisAnswers(url, prefix=f"test:{{{secrets.token_hex(4)}}}", timeout=5), time.sleep
        await store.open()
        try:
            yield store, later
        finally:
            await store.close()

    def tell(story: Story) -> None:
        async def run() -> None:
            async with opened() as (store, later):
                await story(store, later)

        asyncio.run(run())

    return tell


def test_what_was_put_is_got_and_nothing_else(tell: Any) -> None:
    async def story(store: AnswerStore, later: Any) -> None:
        assert await store.get("app_1", "k") is None
        await store.put("app_1", "k", b"\x00one", ttl=60)
        await store.put("app_2", "k", b"two", ttl=60)
        assert [await store.get(app, "k") for app in ("app_1", "app_2", "app_3")] == [b"\x00one", b"two", None]
        await store.put("app_1", "k", b"newer", ttl=60)
        assert await store.get("app_1", "k") == b"newer"

    tell(story)


def test_answers_are_kept_for_their_time(tell: Any) -> None:
    async def story(store: AnswerStore, later: Any) -> None:
        await store.put("app_1", "short", b"a", ttl=0.4)
        await store.put("app_1", "long", b"b", ttl=60)
        assert await store.get("app_1", "short") == b"a"
        later(0.5)
        assert await store.get("app_1", "short") is None
        assert await store.get("app_1", "long") == b"b"

    tell(story)


def test_clearing_forgets_one_apps_answers(tell: Any) -> None:
    async def story(store: AnswerStore, later: Any) -> None:
        for number in range(1_200):
            await store.put("app_1", f"k{number}", b"a", ttl=60)
        await store.put("app_2", "k0", b"b", ttl=60)
        assert await store.clear("app_1") == 1_200
        assert await store.get("app_1", "k0") is None
        assert await store.get("app_2", "k0") == b"b"
        assert await store.clear("app_1") == 0

    tell(story)


def test_memory_is_bounded_and_forgets_what_is_used_least() -> None:
    async def story() -> None:
        store = MemoryAnswers(most=300)
        for key in ("a", "b", "c"):
            await store.put("app_1", key, b"x" * 100, ttl=60)
        assert await store.get("app_1", "a")
        await store.put("app_1", "d", b"x" * 100, ttl=60)
        assert [await store.get("app_1", key) is not None for key in "abcd"] == [True, False, True, True]
        await store.put("app_1", "e", b"x" * 301, ttl=60)
        assert [await store.get("app_1", key) for key in "acde"] == [None] * 4
        await store.put("app_1", "f", b"x" * 300, ttl=60)  # nothing forgotten counts any more
        assert await store.get("app_1", "f")

    asyncio.run(story())


def test_redis_holds_nothing_that_can_be_read_or_moved(redis_url: str) -> None:
    async def story() -> None:
        store = RedisAnswers(redis_url, timeout=5)
        await store.open()
        await store.put("app_secret", "k1", b"a plain answer", ttl=60)
        assert await store.get("app_secret", "k1") == b"a plain answer"
        with redis.Redis.from_url(redis_url) as client:
            (name,) = client.keys("*")
            value: Any = client.get(name)
            assert b"plain" not in value and b"app_secret" not in name
            client.set(name.replace(b"k1", b"k2"), value)  # another request's place
            client.set(name.replace(b"k1", b"k3"), value[:-1] + bytes([value[-1] ^ 1]))
            client.set(name.replace(b"k1", b"k4"), b"short")
            client.hset(name.replace(b"k1", b"k5"), "no", "string")
        assert [await store.get("app_secret", key) for key in ("k2", "k3", "k4", "k5")] == [None] * 4
        assert await store.get("app_secret", "k1") == b"a plain answer"
        await store.close()

    asyncio.run(story())


def test_store_out_of_reach_has_nothing_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        store = RedisAnswers("redis://127.0.0.1:1")
        await store.open()
        await store.put("app_1", "k", b"a", ttl=60)
        assert await store.get("app_1", "k") is None
        assert await store.clear("app_1") == 0
        await store.close()

    asyncio.run(story())
    assert [record.message for record in caplog.records] == ["answers are not cached"]
