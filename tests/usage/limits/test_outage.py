"""Redis out of reach: calls pass, with an alarm; back again, they are counted, without a restart."""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from apps.usage.limits.redis_store import RedisLimits
from apps.usage.limits.verdicts import PASSED, limit_headers
from tests.proxy import Proxy
from tests.usage.limits.stores import app, passes, run

ALARM = "limits out of reach: calls pass uncounted"
LEASE = 1.0


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    split = urlsplit(redis_url)
    with Proxy((split.hostname or "127.0.0.1", split.port or 6379)) as way:
        yield way


@pytest.fixture
def store(redis_url: str, proxy: Proxy) -> RedisLimits:
    """Give a store that reaches Redis through the proxy; not open yet."""
    url = urlunsplit(urlsplit(redis_url)._replace(netloc=f"127.0.0.1:{proxy.port}"))
    return RedisLimits(url, lease=LEASE, prefix=f"test:{{{secrets.token_hex(8)}}}")


async def recovered(store: RedisLimits) -> None:
    async with asyncio.timeout(10):
        while store.degraded:
            await asyncio.sleep(0.02)


def alarms(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.getMessage() == ALARM and record.levelno == logging.ERROR for record in caplog.records)


def test_calls_pass_uncounted_while_redis_is_away(
    store: RedisLimits, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        await store.open()
        assert await passes(store, app(rpm=3), 5) == 3
        proxy.go_away()
        await asyncio.sleep(0.05)
        assert store.degraded
        began = time.monotonic()
        assert await passes(store, app(rpm=3), 50) == 50
        assert time.monotonic() - began < 2  # nobody waits for what is known to be away
        assert store.uncounted == 50
        assert alarms(caplog) == 1
        verdict = await store.admit("req_1", (app(rpm=3),))
        assert verdict == PASSED
        assert limit_headers(verdict) == []
        proxy.refusing = False
        await recovered(store)
        assert await passes(store, app(rpm=3), 5) == 0
        assert "limits count again" in caplog.messages
        await store.close()

    run(story)


def test_a_redis_that_is_silent_is_given_up_in_time(store: RedisLimits, proxy: Proxy) -> None:
    async def story() -> None:
        await store.open()
        assert await passes(store, app(rpm=3), 1) == 1
        proxy.silent = True
        began = time.monotonic()
        verdicts = await asyncio.gather(*(store.admit(f"req_{number}", (app(rpm=3),)) for number in range(20)))
        assert 0.2 < time.monotonic() - began < 3  # one after the other they would take four
        assert all(verdict == PASSED for verdict in verdicts)
        assert store.degraded
        proxy.silent = False
        await recovered(store)
        assert await passes(store, app(rpm=3), 5) == 2
        await store.close()

    run(story)


def test_a_process_starts_without_redis_and_counts_when_it_comes(
    store: RedisLimits, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        proxy.refusing = True
        await store.open()
        assert store.degraded
        assert alarms(caplog) == 1
        assert await passes(store, app(rpm=1), 3) == 3
        proxy.refusing = False
        await recovered(store)
        assert await passes(store, app(rpm=1), 3) == 1
        await store.close()

    run(story)


def test_a_place_whose_release_was_lost_comes_back_with_its_lease(store: RedisLimits, proxy: Proxy) -> None:
    async def story() -> None:
        await store.open()
        limited = app(concurrency=1)
        assert await passes(store, limited, 2) == 1
        proxy.go_away()
        await asyncio.sleep(0.05)
        store.finish("req_0", (limited,), 10)
        proxy.refusing = False
        await recovered(store)
        store.renew(["req_0"])
        assert await passes(store, limited, 1, first=10) == 0
        await asyncio.sleep(LEASE + 0.1)
        assert await passes(store, limited, 2, first=20) == 1
        await store.close()

    run(story)


def test_a_call_that_began_in_an_outage_takes_its_place_after_it(store: RedisLimits, proxy: Proxy) -> None:
    async def story() -> None:
        proxy.refusing = True
        await store.open()
        limited = app(concurrency=1)
        assert await passes(store, limited, 1) == 1
        proxy.refusing = False
        await recovered(store)
        store.renew(["req_0"])
        assert await passes(store, limited, 1, first=10) == 0
        store.finish("req_0", (limited,), 0)
        assert await passes(store, limited, 1, first=20) == 1
        await store.close()

    run(story)


def test_scripts_that_redis_has_lost_are_sent_again(redis_url: str, store: RedisLimits) -> None:
    async def story() -> None:
        await store.open()
        limited = app(rpm=9, tpm=100, concurrency=1)
        with redis.Redis.from_url(redis_url) as client:
            client.script_flush()
            assert (await store.admit("req_1", (limited,))).passed
            client.script_flush()
            store.finish("req_1", (limited,), 30)
            verdict = await store.admit("req_2", (limited,))
            assert verdict.passed
            assert verdict.tokens is not None
            assert verdict.tokens.remaining == 70
            client.script_flush()
            store.renew(["req_2"])
            assert not (await store.admit("req_3", (limited,))).passed
        assert store.uncounted == 0
        await store.close()

    run(story)


def test_an_error_of_redis_lets_calls_pass_with_an_alarm(
    redis_url: str, store: RedisLimits, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        await store.open()
        assert await passes(store, app(concurrency=1), 1) == 1
        with redis.Redis.from_url(redis_url) as client:
            (key,) = client.keys("test:*")
            client.set(key, "of another type")
            assert await passes(store, app(concurrency=1), 3) == 3
            assert store.degraded
            assert alarms(caplog) == 1
            assert "WRONGTYPE" in str(caplog.records[-1].__dict__["error"])
            client.delete(key)
        assert await passes(store, app(concurrency=1), 3) == 1
        assert not store.degraded
        await store.close()

    run(story)


def test_nothing_in_redis_names_anybody_or_stays_for_good(redis_url: str, store: RedisLimits) -> None:
    async def story() -> None:
        await store.open()
        limited = (app(rpm=5, tpm=5, concurrency=1),)
        await store.admit("req_1", limited)
        store.finish("req_1", limited, 3)
        await store.admit("req_2", limited)
        with redis.Redis.from_url(redis_url) as client:
            keys = [key.decode() for key in client.keys("*")]
            assert len(keys) == 2
            assert not any("app_1" in key for key in keys)
            assert all(key.startswith("test:{") for key in keys)
            assert sorted(round(client.pttl(key) / 1000) for key in keys) == [2, 63]
        await store.close()

    run(story)
