"""Group commit: many requests, one writer, one statement a batch.

A batch is whatever gathered while the last one was committing; there is no timer, so a lone request waits for
nothing and a busy process pays one round trip and one flush for all. A submitter waits for its own result. What nobody
waits for may say that it has time: it is written with whatever comes next.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import psycopg

from apps.core.errors import Unavailable

logger = logging.getLogger(__name__)

# Seconds that a batch gets even if one of its items has waited for nearly all of its patience.
LEAST_WAIT = 0.5

T = TypeVar("T")
R = TypeVar("R")

Connect = Callable[[], Awaitable[psycopg.AsyncConnection]]
Run = Callable[[psycopg.AsyncConnection, Sequence[T]], Awaitable[Sequence[R]]]


class GroupCommitter(Generic[T, R]):
    """Collect items and write them in batches over one connection of its own.

    `run` writes a batch in one transaction and returns one result an item, in order; it must be idempotent by
    item, because a batch whose acknowledgement was lost is written again. `patience` is how long, in seconds,
    an item waits for a database that is out of reach before its submitter gets `Unavailable`.
    """

    def __init__(self, name: str, connect: Connect, run: Run[T, R], *, patience: float, max_batch: int = 256) -> None:
        self._name = name
        self._connect = connect
        self._run = run
        self._patience = patience
        self._max_batch = max_batch
        self._queue: list[tuple[T, asyncio.Future[R], float]] = []
        self._wake: asyncio.Future[None] | None = None
        self._connection: psycopg.AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._due = False  # what is queued is to be written now
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def submit(self, item: T, *, within: float = 0.0) -> "asyncio.Future[R]":
        """Queue `item` for the next batch, which begins at the latest `within` seconds, and return its result's future.

        The future raises `Unavailable` when the database stayed out of reach, and the database's own error when it
        refused this item. An item is written even if nobody waits for it any more.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._queue.append((item, future, loop.time() + self._patience))
        if not within:
            self._begin()
        elif not self._due and self._timer is None:
            self._timer = loop.call_later(within, self._begin)
        return future

    def _begin(self) -> None:
        """Have the queue written: at once, or when the batch under way is."""
        self._due = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write(), name=f"group-commit-{self._name}")
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def close(self) -> None:
        """Write what is queued, then close the connection."""
        self._closing = True
        if self._queue or self._task is not None:
            self._begin()
        if self._task is not None:
            await self._task
        await self._disconnect()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._queue and self._closing:
                return
            if not self._queue or not self._due:
                self._wake = loop.create_future()
                await self._wake
                self._wake = None
                # One turn of the loop, no timer: what arrived together is written together.
                await asyncio.sleep(0)
                continue
            batch = self._queue[: self._max_batch]
            del self._queue[: self._max_batch]
            self._due = bool(self._queue)
            try:
                await self._write_batch(batch)
            except Exception as error:
                # Whatever went wrong, every waiter learns it and the writer goes on.
                logger.exception("group commit failed", extra={"writer": self._name, "items": len(batch)})
                for _, future, _ in batch:
                    if not future.done():
                        future.set_exception(error)

    async def _write_batch(self, batch: list[tuple[T, "asyncio.Future[R]", float]]) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.05
        while True:
            try:
                results = await self._attempt([item for item, _, _ in batch], min(entry[2] for entry in batch))
                break
            except (psycopg.OperationalError, OSError) as error:
                # Lost connection, restarting server, deadlock, serialisation: the same batch again.
                await self._disconnect()
                now = loop.time()
                for _, future, deadline in batch:
                    if deadline <= now and not future.done():
                        future.set_exception(_out_of_reach())
                batch = [entry for entry in batch if entry[2] > now]
                if not batch:
                    logger.error("database out of reach", extra={"writer": self._name, "error": type(error).__name__})
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)
            except Exception as error:
                # One item is at fault; alone, each shows whether it is the one.
                await self._disconnect()
                if len(batch) > 1:
                    for entry in batch:
                        await self._write_batch([entry])
                    return
                logger.exception("item refused", extra={"writer": self._name})
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
        for (_, future, _), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _attempt(self, items: list[T], deadline: float) -> Sequence[R]:
        """Write a batch once. A database that does not answer until `deadline` (loop time) is out of reach."""
        loop = asyncio.get_running_loop()
        deadline = max(deadline, loop.time() + LEAST_WAIT)
        if self._connection is None:
            async with asyncio.timeout_at(deadline):
                self._connection = await self._connect()
        with answered_by(self._connection, deadline):
            return await self._run(self._connection, items)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except (psycopg.Error, OSError):
                pass


@contextmanager
def answered_by(connection: psycopg.AsyncConnection, deadline: float) -> Iterator[None]:
    """Hang up on a database that has not answered by `deadline` (loop time): the statement raises OperationalError."""
    cut = asyncio.get_running_loop().call_at(deadline, _cut, connection)
    try:
        yield
    finally:
        cut.cancel()


def _cut(connection: psycopg.AsyncConnection) -> None:
    """Hang up, so that who waits for an answer gets an error; psycopg's own cancelling would wait for the server."""
    try:
        with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as end:
            end.shutdown(socket.SHUT_RDWR)
    except (psycopg.Error, OSError):
        pass


def _out_of_reach() -> Unavailable:
    return Unavailable("The ledger is out of reach; nothing was charged. Try again shortly.", retry_after=2)
