"""Calls at the same time: a place is kept until the end of a call, whatever the end is, and then comes back."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis

from apps.usage.limits.memory import MemoryLimits
from apps.usage.limits.redis_store import RedisLimits
from apps.vault.models import ProviderCredential
from tests.live import Server, World, wait_until
from tests.provider_double import Behaviour, ProviderDouble
from tests.routes.conftest import Notice


@pytest.mark.parametrize("scope", ["end_user", "credential", "feature_user"])
def test_slow_stream_keeps_its_place_until_its_end(
    world: World, double: ProviderDouble, noticed: Notice, scope: str
) -> None:
    limit_to_one(world, scope)
    noticed()
    with world.stream("[[slow interval=0.2]] Count") as response:
        lines = response.iter_lines()
        next(lines)
        refused = world.chat()
        assert refused.status_code == 429
        assert len(double.requests) == 1
        for _ in lines:
            pass
    wait_until(lambda: world.chat().status_code == 200, 2)


def limit_to_one(world: World, scope: str) -> None:
    """Let one call at a time pass."""
    if scope == "feature_user":
        world.manifest(limits={"concurrency": 1})
    elif scope == "credential":
        world.limit(scope, ProviderCredential.objects.get().id, concurrency=1)
    else:
        world.limit(scope, world.end_user_id, concurrency=1)


def leave(world: World, *, stream: bool, wait: float = 0.15) -> None:
    """Hang up on a call that stalls."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{world.base_url}/v1/chat/completions",
            json=world.body("[[stall-within]] Stall", stream=stream),
            headers=world.headers(),
            timeout=wait,
        )


ENDINGS: dict[str, Callable[[World], object]] = {
    "finished": lambda world: world.chat(),
    "streamed": lambda world: world.chat(stream=True),
    "failed": lambda world: world.chat("[[status-500]]"),
    "broken off": lambda world: world.chat("[[reset-within]]", stream=True),
    "rejected": lambda world: world.chat("[[status-400]]"),
    "malformed": lambda world: world.chat(temperature=1, messages=[]),
    "left": lambda world: leave(world, stream=False),
    "left in mid-stream": lambda world: leave(world, stream=True),
    "too dear": lambda world: world.chat("x" * 4_000_000, headers={"x-modelfaucet-clamp": "off"}, max_tokens=1000),
    "ceiling": lambda world: world.chat(headers={"x-modelfaucet-max-price-usd": "0.0000001"}),
}


def count_in(server: Server, redis_url: str) -> RedisLimits:
    """Let the gateway count in another place from now on."""
    runtime = server.gateway._runtime
    assert runtime is not None
    before, runtime.limits = runtime.limits, RedisLimits(redis_url, lease=60)
    for step in (before.close(), runtime.limits.open()):
        asyncio.run_coroutine_threadsafe(step, runtime.loop).result(5)
    return runtime.limits


@pytest.fixture
def in_redis(server: Server, redis_url: str) -> Iterator[redis.Redis]:
    """Let the gateway count in Redis; give a client of the same database."""
    count_in(server, redis_url)
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_every_ending_gives_its_place_back_in_redis(
    in_redis: redis.Redis, world: World, double: ProviderDouble, noticed: Notice, settings: Any
) -> None:
    settings.IDLE_TIMEOUT, settings.BREAKER_FAILURES = 20, 100
    world.limit("end_user", world.end_user_id, concurrency=1)
    world.limit("credential", ProviderCredential.objects.get().id, concurrency=1)
    noticed()
    for act in ENDINGS.values():
        act(world)
        wait_until(lambda: world.chat("[[text=ok]]").status_code == 200, 5)
        wait_until(lambda: not in_redis.keys("*:p:*"), 5)
    double.release()


def test_calls_pass_uncounted_when_redis_is_gone(
    in_redis: redis.Redis, server: Server, world: World, double: ProviderDouble, noticed: Notice, free_url: str
) -> None:
    world.limit("app", world.app_id, rpm=1)
    noticed()
    assert [world.chat().status_code for _ in range(2)] == [200, 429]
    limits = count_in(server, free_url)
    answers = [world.chat() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "x-ratelimit-limit-requests" not in answers[0].headers
    assert (limits.degraded, limits.uncounted) == (True, 3)


@pytest.fixture
def free_url() -> str:
    """Give the URL of a Redis server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{probe.getsockname()[1]}"


def test_call_waits_for_a_place_of_its_key(
    world: World, double: ProviderDouble, noticed: Notice, settings: Any
) -> None:
    """The key is the platform's: that it is busy for a moment is not the caller's business."""
    settings.RETRIES = 1
    limit_to_one(world, "credential")
    noticed()
    double.script(Behaviour(delay=0.5))
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: world.chat(), range(2)))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert double.max_in_flight == 1
    attempts = [[a["code"] for a in world.event(answer).attempts] for answer in answers]
    assert sorted(attempts) == [[], ["credential_rate_limited"]]


@pytest.mark.parametrize("scope", ["end_user", "credential"])
def test_every_ending_gives_its_place_back(
    world: World, server: Server, double: ProviderDouble, noticed: Notice, settings: Any, scope: str
) -> None:
    settings.IDLE_TIMEOUT, settings.BREAKER_FAILURES = 20, 100
    runtime = server.gateway._runtime
    assert runtime is not None
    limits = runtime.limits
    assert isinstance(limits, MemoryLimits)
    limits._lease = 600  # a place that is lost stays lost
    limit_to_one(world, scope)
    noticed()
    for act in ENDINGS.values():
        act(world)
        wait_until(lambda: world.chat("[[text=ok]]").status_code == 200, 5)
        wait_until(lambda: not limits._places, 5)
    double.release()
    wait_until(lambda: not limits._held, 5)


def test_refused_call_takes_no_place_and_no_money(world: World, double: ProviderDouble, noticed: Notice) -> None:
    world.limit("app", world.app_id, rpm=1000, concurrency=2)
    world.limit("end_user", world.end_user_id, rpm=1)
    noticed()
    assert world.chat().status_code == 200
    before = world.balance()
    for _ in range(5):
        assert world.chat().status_code == 429
    assert world.balance() == before
    answer = world.new_session("bob", usd="1").chat()
    assert answer.status_code == 200
    assert len(double.requests) == 2


def test_concurrency_holds_while_many_call_at_once(world: World, double: ProviderDouble, noticed: Notice) -> None:
    world.limit("app", world.app_id, concurrency=3)
    noticed()
    barrier = threading.Barrier(12)

    def call(_: int) -> int:
        barrier.wait()
        return world.chat("[[delay=0.4]] Say hello").status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(pool.map(call, range(12)))
    assert statuses == [200] * 3 + [429] * 9
    assert double.max_in_flight == 3


def test_call_that_outlives_the_lease_of_its_place_keeps_it(
    world: World, double: ProviderDouble, noticed: Notice, settings: Any
) -> None:
    limit_to_one(world, "end_user")
    noticed()
    began = time.monotonic()
    double.script(Behaviour(chunks=20, interval=0.1))
    with world.stream() as response:
        lines = response.iter_lines()
        while time.monotonic() < began + 1.3 * settings.HOLD_LEASE:
            next(lines)
        assert world.chat().status_code == 429
        for _ in lines:
            pass
