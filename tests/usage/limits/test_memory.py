"""The window of the in-process store under any course of time, and what it keeps."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.usage.limits.memory import MemoryLimits
from apps.usage.limits.rules import Dimension


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(min_value=0, max_value=20), min_size=5, max_size=80), st.integers(1, 6))
def test_a_call_passes_exactly_when_the_window_has_room(pauses: list[float], limit: int) -> None:
    async def story() -> None:
        clock = Clock()
        store = MemoryLimits(lease=60, clock=clock)
        passed: list[float] = []
        for pause in pauses:
            clock.now += pause
            verdict = await store.admit("req_1", (Dimension("app", "a", rpm=limit),))
            if verdict.passed:
                passed.append(clock.now)
                assert sum(at > clock.now - 60 for at in passed) <= limit
            else:
                assert sum(at >= clock.now - 61 for at in passed) >= limit
                assert verdict.refused is not None
                assert 0 < verdict.refused.retry_after <= 61

    asyncio.run(story())


def test_what_is_idle_is_forgotten() -> None:
    async def story() -> None:
        clock = Clock()
        store = MemoryLimits(lease=60, clock=clock)
        for number in range(500):
            dimension = Dimension("ip", str(number), rpm=5, tpm=5, concurrency=1)
            await store.admit(f"req_{number}", (dimension,))
            store.finish(f"req_{number}", (dimension,), 3)
        assert len(store._windows) == 500
        assert not store._places
        assert not store._held
        clock.now += 62
        for number in range(40):
            await store.admit("req_1", (Dimension("ip", f"new {number}", rpm=5),))
        assert len(store._windows) == 40

    asyncio.run(story())
