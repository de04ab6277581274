"""Bodies that arrive slowly share one allowance of memory."""

import asyncio
from typing import Any

import pytest

from apps.core.errors import Unavailable
from apps.gateway import http


def test_bodies_beyond_the_allowance_are_refused_and_give_theirs_back(settings: Any) -> None:
    settings.BODY_MEMORY_BYTES = 1_000
    scope = {"headers": []}

    async def read_twice() -> None:
        held = asyncio.Event()

        async def stalls() -> dict[str, Any]:
            if not held.is_set():
                held.set()
                return {"type": "http.request", "body": b"x" * 900, "more_body": True}
            await asyncio.sleep(3600)
            raise AssertionError

        async def comes() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x" * 200, "more_body": True}

        first = asyncio.create_task(http.read_body(scope, stalls, limit=10_000))
        await held.wait()
        with pytest.raises(Unavailable) as refused:
            await http.read_body(scope, comes, limit=10_000)
        assert refused.value.code == "too_many_bodies"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    asyncio.run(read_twice())
    assert http._budget.taken == 0
