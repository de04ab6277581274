"""The group committer: batches without a timer, no item lost or doubled, and one bad item harms nobody else."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from django.db import connection as django_connection

from apps.core.commit import GroupCommitter
from apps.core.errors import Unavailable
from apps.gateway.writers import connection_parameters
from tests.proxy import Proxy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    with django_connection.cursor() as cursor:
        cursor.execute("CREATE TABLE commit_test (item int PRIMARY KEY CHECK (item >= 0), batch int)")
    yield
    with django_connection.cursor() as cursor:
        cursor.execute("DROP TABLE commit_test")


def stored() -> list[int]:
    with django_connection.cursor() as cursor:
        cursor.execute("SELECT item FROM commit_test ORDER BY item")
        return [item for (item,) in cursor.fetchall()]


class Writer:
    """Stores numbers; notes how they were batched."""

    def __init__(self, **changed: Any) -> None:
        self.given = connection_parameters() | changed
        self.batches: list[list[int]] = []
        self.pause = 0.0

    async def connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(**self.given, autocommit=True, application_name="committer")

    async def run(self, connection: psycopg.AsyncConnection, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        if self.pause:
            await asyncio.sleep(self.pause)
        numbers = [int(item) for item in items]
        await connection.execute(
            "INSERT INTO commit_test SELECT unnest(%s::int[]), %s ON CONFLICT DO NOTHING", (numbers, len(self.batches))
        )
        return [number * 10 for number in numbers]

    def committer(self, *, patience: float = 3, max_batch: int = 256) -> GroupCommitter[Any, Any]:
        return GroupCommitter("test", self.connect, self.run, patience=patience, max_batch=max_batch)


def play(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


def test_result_is_each_items_own() -> None:
    writer = Writer()

    async def story() -> None:
        committer = writer.committer()
        assert await asyncio.gather(*[committer.submit(n) for n in range(500)]) == [n * 10 for n in range(500)]
        await committer.close()

    play(story)
    assert stored() == list(range(500))
    assert max(map(len, writer.batches)) == 256


def test_batch_is_what_gathered_while_the_last_one_was_written() -> None:
    writer = Writer()
    writer.pause = 0.05

    async def story() -> None:
        committer = writer.committer()
        first = committer.submit(0)
        await asyncio.sleep(0.02)
        others = [committer.submit(n) for n in range(1, 30)]
        await asyncio.gather(first, *others)
        await committer.close()

    play(story)
    assert [len(batch) for batch in writer.batches] == [1, 29]


def test_item_that_has_time_goes_with_the_next() -> None:
    writer = Writer()

    async def story() -> None:
        committer = writer.committer()
        patient = committer.submit(1, within=20)
        await asyncio.sleep(0.05)
        assert writer.batches == []
        await asyncio.gather(committer.submit(2), patient)
        await committer.close()

    play(story)
    assert writer.batches == [[1, 2]]


def test_item_that_has_time_is_written_alone_where_nothing_comes() -> None:
    writer = Writer()

    async def story() -> None:
        committer = writer.committer()
        assert await asyncio.gather(committer.submit(1, within=0.01), committer.submit(2, within=20)) == [10, 20]
        writer.pause = 0.05
        first = committer.submit(3)
        await asyncio.sleep(0.02)
        assert await committer.submit(4, within=0.01) == 40  # its time is up while another batch is written
        assert first.done()
        last = committer.submit(5, within=20)
        await committer.close()
        assert last.done()

    play(story)
    assert writer.batches == [[1, 2], [3], [4], [5]]


def test_closing_writes_what_is_queued() -> None:
    writer = Writer()

    async def story() -> None:
        committer = writer.committer(max_batch=10)
        futures = [committer.submit(n) for n in range(95)]
        await committer.close()
        assert all(future.done() for future in futures)

    play(story)
    assert stored() == list(range(95))


def test_item_nobody_waits_for_any_more_is_written() -> None:
    writer = Writer()

    async def story() -> None:
        committer = writer.committer()
        waiting = asyncio.ensure_future(committer.submit(7))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        await committer.submit(8)
        await committer.close()

    play(story)
    assert stored() == [7, 8]


@pytest.mark.parametrize("poison", [-1, "not a number", None, 10**30], ids=["database", "value", "type", "overflow"])
def test_poisoned_item_does_not_fail_its_batch(poison: Any) -> None:
    writer = Writer()

    async def story() -> None:
        committer = writer.committer()
        results = await asyncio.gather(
            *[committer.submit(item) for item in [0, 1, poison, 3, 4]], return_exceptions=True
        )
        assert [r for r in results if not isinstance(r, BaseException)] == [0, 10, 30, 40]
        assert isinstance(results[2], Exception)
        assert await committer.submit(5) == 50
        await committer.close()

    play(story)
    assert stored() == [0, 1, 3, 4, 5]


def test_run_that_answers_too_little_fails_its_batch_and_the_writer_goes_on() -> None:
    writer = Writer()
    run = writer.run

    async def forgetful(connection: psycopg.AsyncConnection, items: Sequence[Any]) -> list[Any]:
        return (await run(connection, items))[1:]

    async def story() -> None:
        writer.run = forgetful  # type: ignore[method-assign]
        committer = writer.committer()
        with pytest.raises(ValueError, match="argument"):
            await committer.submit(1)
        committer._run = run
        assert await committer.submit(2) == 20
        await committer.close()

    play(story)


def _terminate() -> int:
    try:
        with django_connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'committer'"
            )
            return len(cursor.fetchall())
    finally:
        django_connection.close()  # of this thread


def test_connections_that_are_cut_lose_and_double_nothing() -> None:
    writer = Writer()

    async def story() -> None:
        committer = writer.committer(max_batch=20)
        results: list[int] = []
        cut = 0
        for start in range(0, 2_000, 100):
            futures = [committer.submit(n) for n in range(start, start + 100)]
            await asyncio.sleep(0)
            cut += await asyncio.to_thread(_terminate)
            results += await asyncio.gather(*futures)
        assert results == [n * 10 for n in range(2_000)]
        assert cut > 5
        await committer.close()

    play(story)
    assert stored() == list(range(2_000))


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as made:
        yield made


def test_database_away_for_a_while_is_waited_for(proxy: Proxy) -> None:
    writer = Writer(host="127.0.0.1", port=proxy.port)

    async def story() -> None:
        committer = writer.committer(patience=3)
        await committer.submit(0)
        proxy.go_away()
        waiting = [committer.submit(n) for n in range(1, 50)]
        await asyncio.sleep(0.4)
        assert not any(future.done() for future in waiting)
        waiting += [committer.submit(n) for n in range(50, 60)]
        proxy.refusing = False
        assert await asyncio.gather(*waiting) == [n * 10 for n in range(1, 60)]
        await committer.close()

    play(story)
    assert stored() == list(range(60))


@pytest.mark.parametrize("how", ["refusing", "silent"])
def test_database_away_for_too_long_is_said_in_time(proxy: Proxy, how: str) -> None:
    writer = Writer(host="127.0.0.1", port=proxy.port)

    async def story() -> None:
        committer = writer.committer(patience=0.6)
        await committer.submit(0)
        setattr(proxy, how, True)
        if how == "refusing":
            proxy.cut()
        started = time.monotonic()

        async def ask(number: int, after: float) -> float:
            await asyncio.sleep(after)
            asked = time.monotonic()
            with pytest.raises(Unavailable) as refused:
                await committer.submit(number)
            assert refused.value.retry_after
            return time.monotonic() - asked

        waits = await asyncio.gather(*[ask(n, n * 0.02) for n in range(1, 30)])
        assert max(waits) < 5
        assert time.monotonic() - started < 8  # one after the other they would take 17
        setattr(proxy, how, False)
        if how == "silent":
            proxy.cut()
        assert await committer.submit(99) == 990
        await committer.close()

    play(story)
    assert stored()[0] == 0
    assert stored()[-1] == 99


def test_silent_connection_does_not_hold_up_closing(proxy: Proxy) -> None:
    writer = Writer(host="127.0.0.1", port=proxy.port)

    async def story() -> None:
        committer = writer.committer(patience=0.4)
        await committer.submit(0)
        proxy.silent = True
        lost = committer.submit(1)
        started = time.monotonic()
        await committer.close()
        assert time.monotonic() - started < 10
        with pytest.raises(Unavailable):
            await lost

    play(story)
