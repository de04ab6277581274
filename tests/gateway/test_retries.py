from random import Random

import pytest

from apps.gateway.retries import FIRST, LONGEST, backoff


def waits(attempt: int, retry_after: float | None = None, remaining: float = 1e9) -> list[float]:
    rng = Random(1)
    found = [backoff(attempt, retry_after, remaining, rng) for _ in range(500)]
    assert None not in found
    return [wait for wait in found if wait is not None]


@pytest.mark.parametrize(("attempt", "limit"), [(1, FIRST), (2, 2 * FIRST), (4, 8 * FIRST), (50, LONGEST)])
def test_wait_is_anything_up_to_a_limit_that_doubles(attempt: int, limit: float) -> None:
    found = waits(attempt)
    assert 0 <= min(found) < 0.1 * limit
    assert 0.9 * limit < max(found) <= limit
    assert 0.45 * limit < sum(found) / len(found) < 0.55 * limit


def test_wait_is_never_shorter_than_the_provider_asks_for_and_still_spread() -> None:
    found = waits(1, retry_after=3)
    assert min(found) >= 3
    assert max(found) <= 3 + FIRST
    assert len(set(found)) > 400


def test_wait_that_would_outlast_the_deadline_is_not_begun() -> None:
    assert backoff(1, 5, 5.0, Random(1)) is None
    assert backoff(1, None, 0.0, Random(1)) is None
    assert backoff(1, 5, 6.0, Random(1)) is not None
