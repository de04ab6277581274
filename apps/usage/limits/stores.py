"""The contract of a limit store, and which one this instance has."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from django.conf import settings

from apps.usage.limits.memory import MemoryLimits
from apps.usage.limits.redis_store import RedisLimits
from apps.usage.limits.rules import Dimension
from apps.usage.limits.verdicts import Verdict


class LimitStore(Protocol):
    """Counts calls, tokens and calls at once. Requests and tokens count for 60 seconds after they were counted.

    Nothing here raises when the store is out of reach: calls pass uncounted, with an alarm, until it is back.
    """

    @property
    def degraded(self) -> bool:
        """Tell whether calls pass uncounted at present."""

    @property
    def uncounted(self) -> int:
        """Return how many calls have passed uncounted since the process began."""

    async def open(self) -> None:
        """Connect; does not fail when there is nothing to connect to yet."""

    async def close(self) -> None:
        """Send what is queued and hang up."""

    async def admit(self, request_id: str, dimensions: Sequence[Dimension]) -> Verdict:
        """Count one request in all dimensions, or in none if any limit is reached.

        It takes one place of each concurrency limit until `finish`, or until its lease runs out unrenewed. A request
        may be admitted again, to further dimensions. Cancelled, it gives back its places.
        """

    def finish(self, request_id: str, dimensions: Sequence[Dimension], tokens: int) -> None:
        """Give back a request's places and add its tokens; once for what was admitted, waiting for nothing."""

    def renew(self, request_ids: Iterable[str]) -> None:
        """Extend the leases of requests that are still running; at least every third of a lease."""


def open_store(redis_url: str | None) -> LimitStore:
    """Return the store that `redis_url` names, or one in this process where there is none; `open` it before use."""
    if redis_url:
        return RedisLimits(redis_url, lease=settings.HOLD_LEASE)
    return MemoryLimits(lease=settings.HOLD_LEASE)
