"""CPU of the gateway's process for limits: one admit and one finish, 32 calls in flight.

python -m benchmarks.limit_stores [redis://127.0.0.1:6379/3]
"""

import asyncio
import itertools
import os
import secrets
import sys
import time

import django
import uvloop

CALLS, IN_FLIGHT, ROUNDS, USERS = 20_000, 32, 5, 200
SCOPES = ("platform", "developer", "app", "feature", "end_user", "key", "credential", "session", "ip")
KINDS = {"rpm": {"rpm": 10**9}, "all three": {"rpm": 10**9, "tpm": 10**12, "concurrency": 10**6}}


async def measure(store, limits: dict[str, int], count: int) -> tuple[float, float]:
    """Return the CPU and the time of a call, in microseconds; the first three scopes are the same for all users."""
    from apps.usage.limits import Dimension

    await store.open()
    callers = [
        tuple(Dimension(scope, f"{scope}_{user if at > 2 else 0}", **limits) for at, scope in enumerate(SCOPES[:count]))
        for user in range(USERS)
    ]
    numbers = iter(range(CALLS))

    async def work() -> None:
        for number in numbers:
            dimensions, request_id = callers[number % USERS], f"req_{number:032x}"
            if (await store.admit(request_id, dimensions)).requests is None:
                raise SystemExit("a call passed uncounted")
            store.finish(request_id, dimensions, 1500)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    cpu, began = time.process_time() - cpu, time.perf_counter() - began
    await store.close()
    return cpu / CALLS * 1e6, began / CALLS * 1e6


def main(url: str) -> None:
    from apps.usage.limits.memory import MemoryLimits
    from apps.usage.limits.redis_store import RedisLimits

    def redis() -> RedisLimits:
        return RedisLimits(url, lease=60, prefix=f"bench:{{{secrets.token_hex(4)}}}", timeout=10)

    stores = {"process": lambda: MemoryLimits(lease=60), "redis": redis}
    cases = list(itertools.product(stores, KINDS, (1, 4, 9)))
    taken: dict[tuple, list[tuple[float, float]]] = {case: [] for case in cases}
    for _ in range(ROUNDS):  # interleaved, so that a busy minute falls on all of them
        for name, kind, count in cases:
            taken[name, kind, count].append(uvloop.run(measure(stores[name](), KINDS[kind], count)))
    print("store    limits     dimensions  CPU µs  time µs   (best of", ROUNDS, "rounds)")
    for (name, kind, count), values in taken.items():
        cpu, elapsed = (min(column) for column in zip(*values, strict=True))
        print(f"{name:8} {kind:10} {count:10d} {cpu:7.1f} {elapsed:8.1f}")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelfaucet.settings")
    django.setup()
    main(sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/3")
