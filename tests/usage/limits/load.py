"""A process of its own that asks one store for many calls at once; prints how many passed.

Arguments: Redis URL, key prefix, kind of limit, limit, calls. It says when it is ready and begins with a line of input.
"""

import asyncio
import os
import sys

import django


async def main(url: str, prefix: str, kind: str, limit: int, calls: int) -> None:
    from apps.usage.limits.redis_store import RedisLimits
    from apps.usage.limits.rules import Dimension

    store = RedisLimits(url, lease=30, prefix=prefix, timeout=10)
    await store.open()
    dimensions = (Dimension("platform", "", **{kind: limit}), Dimension("app", "app_1", **{kind: limit + 7}))
    print("ready", flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.readline)
    verdicts = await asyncio.gather(
        *(store.admit(f"req_{os.getpid()}_{number}", dimensions) for number in range(calls))
    )
    print(sum(verdict.passed for verdict in verdicts), store.uncounted, flush=True)  # noqa: T201
    # Its places stay taken until the test has counted.
    await asyncio.to_thread(sys.stdin.read)
    await store.close()


if __name__ == "__main__":
    django.setup()
    url, prefix, kind, limit, calls = sys.argv[1:]
    asyncio.run(main(url, prefix, kind, int(limit), int(calls)))
