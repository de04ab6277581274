"""Stores to test, each with windows short enough to wait for."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from apps.usage.limits.memory import MemoryLimits
from apps.usage.limits.redis_store import RedisLimits
from apps.usage.limits.rules import Dimension
from apps.usage.limits.stores import LimitStore
from apps.usage.limits.verdicts import Verdict
from tests.gateway import upstream_helpers

Stores = Callable[..., Any]


def maker(kind: str, redis_url: str | None) -> Stores:
    """Return `stores(window=, lease=)`, whose stores of one test count together."""
    prefix = f"test:{{{secrets.token_hex(8)}}}"

    @asynccontextmanager
    async def stores(*, window: float = 60.0, lease: float = 60.0) -> AsyncIterator[LimitStore]:
        store: LimitStore
        if kind == "memory":
            store = MemoryLimits(lease=lease, window=window)
        else:
            assert redis_url is not None
            # Patient: the tests' machine may be busy, and an answer that is given up would pass every call.
            store = RedisLimits(redis_url, lease=lease, window=window, prefix=prefix, timeout=5)
        await store.open()
        try:
            yield store
            assert not store.degraded
            assert store.uncounted == 0
        finally:
            await store.close()

    return stores


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run an asynchronous test in the loop that servers have."""
    upstream_helpers.run("uvloop", story)


def app(**limits: int) -> Dimension:
    return Dimension("app", "app_1", **limits)


async def passes(store: LimitStore, dimension: Dimension, calls: int, *, first: int = 0) -> int:
    """Return how many of so many calls pass."""
    verdicts = [await store.admit(f"req_{first + number}", (dimension,)) for number in range(calls)]
    return sum(verdict.passed for verdict in verdicts)


def refused(verdict: Verdict) -> tuple[str, str, int]:
    """Return the scope, kind and limit that refused."""
    assert verdict.refused is not None
    return verdict.refused.dimension.scope, verdict.refused.kind, verdict.refused.limit
