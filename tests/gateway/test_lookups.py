"""Callers who are not cached: each looked up once, addresses in turn, and whoever floods waits behind themselves."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from apps.core.errors import Unauthorized, Unavailable
from apps.gateway import snapshots as snapshots_module
from apps.gateway.lookups import Lookups
from tests.live import Server, World, wait_until

FLOOD = 400


class Desk:
    """Looks up what it is asked, once it is open, and notes in which order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.open = threading.Event()

    def load(self, word: str) -> list[str]:
        self.order.append(word)
        assert self.open.wait(10)
        if word.startswith("unknown"):
            raise Unauthorized("Not known.")
        return [word]


async def settled(*asked: "asyncio.Task[Any]") -> list[Any]:
    return await asyncio.gather(*asked, return_exceptions=True)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def ask(lookups: Lookups[list[str]], word: str, address: str) -> "asyncio.Task[list[str]]":
    return asyncio.get_running_loop().create_task(lookups.get(word, word, address=address))


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(20):
            await story()

    asyncio.run(within())


def test_addresses_take_turns() -> None:
    desk = Desk()

    async def story() -> None:
        lookups = Lookups(desk.load, lanes=2)
        flood = [ask(lookups, f"unknown-{n}", "1.1.1.1") for n in range(FLOOD)]
        await turns()
        others = [ask(lookups, f"known-{n}", f"2.2.2.{n}") for n in range(3)]
        await turns()
        desk.open.set()
        assert await settled(*others) == [["known-0"], ["known-1"], ["known-2"]]
        assert all(isinstance(error, Unauthorized) for error in await settled(*flood))

    play(story)
    assert len(desk.order) == FLOOD + 3
    # Two were running, one of the flood was next, and two threads may change places.
    assert max(desk.order.index(f"known-{n}") for n in range(3)) <= 7


def test_many_who_ask_for_the_same_share_one_look_up() -> None:
    desk = Desk()

    async def story() -> None:
        lookups = Lookups(desk.load, lanes=2)
        known = [ask(lookups, "known", f"1.1.1.{n}") for n in range(20)]
        unknown = [ask(lookups, "unknown", f"1.1.1.{n}") for n in range(20)]
        await turns()
        desk.open.set()
        found = await settled(*known)
        assert all(one is found[0] for one in found)
        assert all(isinstance(error, Unauthorized) for error in await settled(*unknown))
        assert sorted(desk.order) == ["known", "unknown"]
        assert await ask(lookups, "known", "1.1.1.1") is not found[0]  # nothing is kept here

    play(story)


def test_too_many_are_refused_at_once() -> None:
    desk = Desk()

    async def story() -> None:
        lookups = Lookups(desk.load, lanes=1, most=5, most_of_address=3)
        one = [ask(lookups, "a0", "1.1.1.1")]
        await turns()
        one += [ask(lookups, f"a{n}", "1.1.1.1") for n in range(1, 5)]  # the first runs, three wait
        await turns()
        other = [ask(lookups, f"b{n}", "2.2.2.2") for n in range(3)]  # two wait: five in all
        await turns()
        refused = [task for task in (*one, *other) if task.done()]
        assert refused == [one[4], other[2]]
        for task in refused:
            error = task.exception()
            assert isinstance(error, Unavailable)
            assert error.code == "too_many_lookups"
            assert error.retry_after
        joined = ask(lookups, "a3", "3.3.3.3")  # waits already: no further one
        await turns()
        assert not joined.done()
        desk.open.set()
        assert await joined == ["a3"]
        await settled(*one, *other)

    play(story)
    assert sorted(desk.order) == ["a0", "a1", "a2", "a3", "b0", "b1"]


def test_what_nobody_waits_for_any_more_is_not_looked_up() -> None:
    desk = Desk()

    async def story() -> None:
        lookups = Lookups(desk.load, lanes=1, most_of_address=3)
        asked = [ask(lookups, f"a{n}", "1.1.1.1") for n in range(4)]
        twice = ask(lookups, "a2", "1.1.1.1")
        await turns()
        for task in asked:
            task.cancel()
        await turns()
        later = [ask(lookups, f"b{n}", "1.1.1.1") for n in range(2)]  # there is room again
        await turns()
        desk.open.set()
        assert await twice == ["a2"]
        assert await settled(*later) == [["b0"], ["b1"]]

    play(story)
    assert desk.order == ["a0", "a2", "b0", "b1"]


def test_flood_of_unknown_tokens_delays_nobody_elsewhere(world: World, server: Server) -> None:
    runtime = server.gateway._runtime
    assert runtime is not None
    assert world.chat().status_code == 200
    order: list[str] = []

    async def caller(token: str, address: str) -> None:
        try:
            await runtime.snapshots.caller(token, at=0.0, address=lambda: address)
        finally:
            order.append(address)

    async def story() -> None:
        runtime.snapshots.drop()
        asked = [asyncio.create_task(caller(f"mf_key_{n}", "flood")) for n in range(FLOOD)]
        await turns()
        asked.append(asyncio.create_task(caller(world.token, "elsewhere")))
        errors = await settled(*asked)
        assert [type(error) for error in errors] == [Unauthorized] * FLOOD + [type(None)]

    asyncio.run_coroutine_threadsafe(story(), runtime.loop).result(60)
    # The other lanes go on with the flood meanwhile: a caller takes some queries, an unknown token one.
    assert order.index("elsewhere") < FLOOD / 4


def test_flood_is_told_from_others_by_the_clients_address(
    world: World, server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TRUSTED_PROXIES = 1
    runtime = server.gateway._runtime
    assert runtime is not None
    opened, started = threading.Event(), threading.Semaphore(0)

    def load(token: str, feature_key: str | None) -> Any:
        started.release()
        assert opened.wait(10)
        return snapshots_module._load_caller(token, feature_key)

    lookups = Lookups(load, lanes=1, most_of_address=1)
    monkeypatch.setattr(runtime.snapshots, "_lookups", lookups)

    def models(token: str, address: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}", "x-forwarded-for": address}
        return httpx.get(f"{world.base_url}/v1/models", headers=headers, timeout=20)

    with ThreadPoolExecutor(3) as pool:
        try:
            running = pool.submit(models, "mf_key_0", "2001:db8::1")
            assert started.acquire(timeout=10)
            waiting = pool.submit(models, "mf_key_1", "2001:db8::2")
            wait_until(lambda: lookups._waiting_count == 1)
            refused = models("mf_key_2", "2001:db8::3")  # of the same /64
            elsewhere = pool.submit(models, world.token, "2001:db8:1::1")
            wait_until(lambda: lookups._waiting_count == 2)
        finally:
            opened.set()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_lookups")
        assert int(refused.headers["retry-after"]) > 0
        assert (running.result().status_code, waiting.result().status_code) == (401, 401)
        assert elsewhere.result().status_code == 200
