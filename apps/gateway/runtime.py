"""The gateway's process-wide state: provider connections, writers, snapshots, and the requests in flight."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg
from django.conf import settings
from psycopg_pool import AsyncConnectionPool

from apps.core.commit import answered_by
from apps.core.epoch import READ_CHANGES, ChangeFeed
from apps.gateway.bridges.hub import Bridges
from apps.gateway.cache.process import AnswerCache
from apps.gateway.health import process_health
from apps.gateway.http import Receive
from apps.gateway.prompt_logs import PromptLogs
from apps.gateway.snapshots import Snapshots
from apps.gateway.tokens import load_vocabulary
from apps.gateway.upstream import UpstreamPool
from apps.gateway.writers import connection_parameters, open_writers
from apps.ledger.statements import RENEW_HOLDS, VOID_HOLDS
from apps.usage.limits.stores import open_store
from apps.usage.services.idempotency import RELEASE
from apps.usage.services.idempotency import RENEW as RENEW_KEYS

logger = logging.getLogger(__name__)

# A request younger than this has no watcher for its client: most are answered before, and a task costs as much as
# settling does.
WATCH_AFTER = 0.1
BODY_TIMEOUT = "body timeout"
# Seconds to wait for a connection of a pool, and then for what is asked over it.
POOL_PATIENCE = 5.0


class Live:
    """A request in flight, for as long as its hold must live.

    `sending_since` is the loop time at which a send to the client began that has not returned, 0 otherwise.
    `gone`: the client has left. `cut`: its time for draining is over and the task was cancelled for it.
    `stopped`: nothing may cut the request short any more. `drains`: what the provider says is still read for a while
    once the client has left.
    """

    __slots__ = ("cut", "drains", "gone", "keyed", "receive", "request_id", "sending_since", "stopped", "task")

    def __init__(self, request_id: str, task: "asyncio.Task[Any] | None", receive: Receive, *, keyed: bool) -> None:
        self.request_id = request_id
        self.receive = receive
        self.task = task
        self.keyed = keyed
        self.drains = True
        self.gone = False
        self.cut = False
        self.stopped = False
        self.sending_since = 0.0

    def stop(self) -> None:
        """End the relay: the client is gone and the time for draining is over."""
        self.gone = True
        if not self.stopped and self.task is not None:
            self.stopped = self.cut = True
            self.task.cancel()


class Runtime:
    """Made once per process, inside its event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.upstream = UpstreamPool(
            connect_timeout=settings.CONNECT_TIMEOUT,
            first_byte_timeout=settings.FIRST_BYTE_TIMEOUT,
            idle_timeout=settings.IDLE_TIMEOUT,
        )
        self.bridges = Bridges(first_byte_timeout=settings.FIRST_BYTE_TIMEOUT, idle_timeout=settings.IDLE_TIMEOUT)
        self.snapshots = Snapshots()
        self.health = process_health()
        self.limits = open_store(settings.REDIS_URL)
        self.answers = AnswerCache(settings.REDIS_URL)
        self.random = random.Random()  # noqa: S311 (spreads load and retries, no secret)
        parameters = connection_parameters()
        self.holds, self.settlements = open_writers(parameters)
        # Two pools, so that callers who wait for their Idempotency-Keys delay neither kill switches nor leases.
        self.pool = _pool(parameters, most=4)
        self._watch_pool = _pool(parameters, most=2)
        self.prompt_logs = PromptLogs()
        self.live: dict[str, Live] = {}
        self._unwatched: list[Live] = []
        # Reading a request body, and the loop time until which that may take.
        self.reading: dict[asyncio.Task[Any], float] = {}
        self._feed = ChangeFeed()
        self._given_back: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Start what runs beside the requests."""
        await asyncio.to_thread(load_vocabulary)
        await self.limits.open()
        await self.answers.store.open()
        for pool in (self.pool, self._watch_pool):
            await pool.open(wait=False)
        for watch in (self._watch_epoch, self._renew_leases, self._watch_clients):
            self.spawn(watch())

    async def close(self) -> None:
        """Write what is queued and let go of every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.bridges.close()
        await self.settlements.close()  # they still have holds to shrink
        await self.holds.close()
        await self.prompt_logs.close()
        await self.limits.close()
        await self.answers.store.close()
        await self.upstream.close()
        for pool in (self.pool, self._watch_pool):
            await pool.close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run something beside the requests, kept until it ends."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """Lend a connection for what is rare, for a few seconds. Raises psycopg.OperationalError."""
        return _lend(self.pool)

    def give_back(self, request_id: str) -> None:
        """Void a hold that may have been taken, as soon as the database is in reach; nothing was sent for it."""
        self._given_back.add(request_id)

    async def release_key(self, request_id: str) -> None:
        """Free the Idempotency-Key of a request that cost nothing; the statement leaves a stored outcome alone."""
        try:
            async with self.connection() as connection:
                await connection.execute(RELEASE, (request_id,))
        except (psycopg.Error, OSError) as error:
            logger.warning("key left to its lease", extra={"request_id": request_id, "error": type(error).__name__})

    async def _watch_epoch(self) -> None:
        while True:
            try:
                async with _lend(self._watch_pool) as connection:
                    cursor = await connection.execute(READ_CHANGES, (self._feed.since,))
                    changes = self._feed.take(await cursor.fetchall(), at=self.loop.time())
                    if changes.everything:
                        self.snapshots.drop()
                        self.answers.store.forget_local()
                        self.bridges.recheck(None)
                    elif changes.callers:
                        self.snapshots.drop_callers(changes.callers)
                        self.bridges.recheck(changes.callers)
                    if self._given_back:
                        given_back = list(self._given_back)
                        await connection.execute(VOID_HOLDS, (given_back,))
                        self._given_back.difference_update(given_back)
            except (psycopg.Error, OSError) as error:
                # Without the database no hold is taken either, so nothing is served on stale policy for long.
                logger.warning("policy epoch out of reach", extra={"error": type(error).__name__})
            await asyncio.sleep(settings.EPOCH_POLL)

    async def _renew_leases(self) -> None:
        pause = settings.HOLD_LEASE / 3
        while True:
            await asyncio.sleep(pause)
            pause = settings.HOLD_LEASE / 3
            # A younger request still has most of its lease.
            held = list(self.live)
            self.limits.renew(held)
            keyed = [live.request_id for live in self.live.values() if live.keyed]
            try:
                async with _lend(self._watch_pool) as connection:
                    for start in range(0, len(held), 1000):
                        await connection.execute(RENEW_HOLDS, (held[start : start + 1000], settings.HOLD_LEASE))
                    if keyed:
                        await connection.execute(RENEW_KEYS, (settings.HOLD_LEASE, keyed))
            except (psycopg.Error, OSError) as error:
                pause = min(pause, 1.0)  # leases go on running out meanwhile
                logger.warning("leases not renewed", extra={"error": type(error).__name__, "held": len(held)})

    def enter(self, live: Live) -> None:
        """Count a request in: its lease is renewed and its client watched until it leaves."""
        self.live[live.request_id] = live
        self._unwatched.append(live)

    def leave(self, live: Live) -> None:
        """Count a request out."""
        live.stopped = True
        self.live.pop(live.request_id, None)

    async def _watch_clients(self) -> None:
        """Look after the clients ten times a second: one coarse ticker instead of timers for every request."""
        while True:
            await asyncio.sleep(WATCH_AFTER)
            now = self.loop.time()
            unwatched, self._unwatched = self._unwatched, []
            for live in unwatched:
                if not live.stopped:
                    self.spawn(self._watch_client(live))
            for task, deadline in list(self.reading.items()):
                if deadline < now:
                    task.cancel(BODY_TIMEOUT)
            stalled = now - settings.READER_TIMEOUT
            for live in list(self.live.values()):
                if live.sending_since and live.sending_since < stalled:
                    live.stop()

    async def _watch_client(self, live: Live) -> None:
        """Notice at once when the client leaves, and bound how long its answer is still read."""
        while (await live.receive())["type"] != "http.disconnect":
            pass
        if not live.stopped:
            live.gone = True
            self.loop.call_later(settings.DRAIN_SECONDS if live.drains else 0, live.stop)


def _pool(parameters: dict[str, Any], *, most: int) -> AsyncConnectionPool:
    return AsyncConnectionPool(
        kwargs={**parameters, "autocommit": True, "connect_timeout": 5},
        min_size=1,
        max_size=most,
        open=False,
        timeout=POOL_PATIENCE,
        # Without this the pauses between attempts double as long as an outage lasts, and leases run out after it.
        reconnect_timeout=2,
    )


@asynccontextmanager
async def _lend(pool: AsyncConnectionPool) -> AsyncIterator[psycopg.AsyncConnection]:
    async with pool.connection() as connection:
        with answered_by(connection, asyncio.get_running_loop().time() + POOL_PATIENCE):
            yield connection


def wall_clock() -> float:
    """Return POSIX time, for comparing with expiries."""
    return time.time()
