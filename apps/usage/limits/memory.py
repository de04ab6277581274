"""The limit store of a single process."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

from apps.usage.limits.rules import Dimension
from apps.usage.limits.verdicts import CONCURRENCY, PASSED, RPM, TPM, Refused, Standing, Verdict

WINDOW = 60.0
# A window is counted in this many slots and the one that has begun. Nothing is forgotten before WINDOW seconds are
# over, so that no WINDOW seconds, wherever they begin, hold more than the limit; and all of it one slot later.
SLOTS = 60
# Seconds after which a call that found every place taken may try again: nobody knows when a place comes free.
PLACE_RETRY = 1.0

_Key = tuple[str, str]


class _Window:
    """Requests and tokens of the last SLOTS slots and the present one."""

    __slots__ = ("cells", "requests", "tokens")

    def __init__(self) -> None:
        self.cells: deque[list[int]] = deque()  # [slot, requests, tokens], oldest first, none of them empty
        self.requests = 0
        self.tokens = 0

    def roll(self, slot: int) -> None:
        """Forget what is too old in `slot`."""
        cells, oldest = self.cells, slot - SLOTS
        while cells and cells[0][0] < oldest:
            _, requests, tokens = cells.popleft()
            self.requests -= requests
            self.tokens -= tokens

    def add(self, slot: int, requests: int, tokens: int) -> None:
        cells = self.cells
        if not cells or cells[-1][0] != slot:
            cells.append([slot, 0, 0])
        cells[-1][1] += requests
        cells[-1][2] += tokens
        self.requests += requests
        self.tokens += tokens

    def below(self, limit: int, kind: int) -> int:
        """Return the slot in which the requests (kind 1) or tokens (2) will have fallen below `limit`."""
        total = self.requests if kind == 1 else self.tokens
        for cell in self.cells:
            total -= cell[kind]
            if total < limit:
                return cell[0] + SLOTS + 1
        raise AssertionError("a limit is at least 1")

    def empty(self, kind: int) -> int:
        """Return the slot in which nothing of `kind` will be left, 0 if nothing is."""
        return next((cell[0] + SLOTS + 1 for cell in reversed(self.cells) if cell[kind]), 0)


class MemoryLimits:
    """Counts in this process alone. `lease` and `window` are in seconds; `clock` must never go back."""

    degraded = False
    uncounted = 0

    def __init__(self, *, lease: float, window: float = WINDOW, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._slot = window / SLOTS
        self._clock = clock
        self._windows: OrderedDict[_Key, _Window] = OrderedDict()  # the longest untouched first
        self._places: dict[_Key, dict[str, float]] = {}
        self._held: dict[str, set[_Key]] = {}

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to send."""

    async def admit(self, request_id: str, dimensions: Sequence[Dimension]) -> Verdict:
        """Count one request in all dimensions, or in none."""
        if not dimensions:
            return PASSED
        now = self._clock()
        slot = int(now / self._slot)
        self._forget_idle(slot)
        windows = [self._rolled(dimension, slot) for dimension in dimensions]
        refused = self._check(dimensions, windows, now)
        if refused is None:
            self._count(request_id, dimensions, windows, now, slot)
        return Verdict(refused, *self._tightest(dimensions, windows, now))

    def finish(self, request_id: str, dimensions: Sequence[Dimension], tokens: int) -> None:
        """Give back the request's places and add its tokens."""
        slot = int(self._clock() / self._slot)
        held = self._held.get(request_id)
        for dimension in dimensions:
            key = dimension[:2]
            if dimension.tpm is not None and tokens:
                window = self._window(key)
                window.roll(slot)
                window.add(slot, 0, tokens)
            if dimension.concurrency is not None:
                places = self._places.get(key)
                if places is not None:
                    places.pop(request_id, None)
                    if not places:
                        del self._places[key]
                if held is not None:
                    held.discard(key)
        if held is not None and not held:
            del self._held[request_id]

    def renew(self, request_ids: Iterable[str]) -> None:
        """Extend the leases of requests that are still running."""
        until = self._clock() + self._lease
        for request_id in request_ids:
            for key in self._held.get(request_id, ()):
                self._places.setdefault(key, {})[request_id] = until

    def _rolled(self, dimension: Dimension, slot: int) -> _Window | None:
        if dimension.rpm is None and dimension.tpm is None:
            return None
        window = self._window(dimension[:2])
        window.roll(slot)
        return window

    def _check(self, dimensions: Sequence[Dimension], windows: Sequence[_Window | None], now: float) -> Refused | None:
        """Return the limit that stays reached for longest, or None if none is."""
        found: Refused | None = None
        for dimension, window in zip(dimensions, windows, strict=True):
            _, _, rpm, tpm, concurrency = dimension
            if window is not None:
                if rpm is not None and window.requests >= rpm:
                    found = _longer(found, dimension, RPM, window.below(rpm, 1) * self._slot - now)
                if tpm is not None and window.tokens >= tpm:
                    found = _longer(found, dimension, TPM, window.below(tpm, 2) * self._slot - now)
            if concurrency is not None and self._taken(dimension[:2], concurrency, now) >= concurrency:
                found = _longer(found, dimension, CONCURRENCY, PLACE_RETRY)
        return found

    def _taken(self, key: _Key, limit: int, now: float) -> int:
        places = self._places.get(key)
        if places is None:
            return 0
        if len(places) >= limit:
            for request_id in [request_id for request_id, until in places.items() if until <= now]:
                del places[request_id]
        return len(places)

    def _count(
        self,
        request_id: str,
        dimensions: Sequence[Dimension],
        windows: Sequence[_Window | None],
        now: float,
        slot: int,
    ) -> None:
        until = now + self._lease
        for dimension, window in zip(dimensions, windows, strict=True):
            if window is not None and dimension.rpm is not None:
                window.add(slot, 1, 0)
            if dimension.concurrency is not None:
                key = dimension[:2]
                self._places.setdefault(key, {})[request_id] = until
                self._held.setdefault(request_id, set()).add(key)

    def _tightest(
        self, dimensions: Sequence[Dimension], windows: Sequence[_Window | None], now: float
    ) -> tuple[Standing | None, Standing | None]:
        """Return how the limits stand of which the fewest requests and the fewest tokens are left."""
        requests: tuple[int, int, _Window] | None = None
        tokens: tuple[int, int, _Window] | None = None
        for (_, _, rpm, tpm, _), window in zip(dimensions, windows, strict=True):
            if window is None:
                continue
            if rpm is not None:
                left = max(rpm - window.requests, 0)
                if requests is None or left < requests[0] or (left == requests[0] and rpm < requests[1]):
                    requests = left, rpm, window
            if tpm is not None:
                left = max(tpm - window.tokens, 0)
                if tokens is None or left < tokens[0] or (left == tokens[0] and tpm < tokens[1]):
                    tokens = left, tpm, window
        return self._standing(requests, 1, now), self._standing(tokens, 2, now)

    def _standing(self, best: tuple[int, int, _Window] | None, column: int, now: float) -> Standing | None:
        if best is None:
            return None
        left, limit, window = best
        return Standing(limit, left, max(window.empty(column) * self._slot - now, 0.0))

    def _window(self, key: _Key) -> _Window:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window()
        else:
            self._windows.move_to_end(key)
        return window

    def _forget_idle(self, slot: int) -> None:
        """Drop a few windows that hold nothing any more: as many as a call can add, and never a long walk."""
        for _ in range(16):
            key = next(iter(self._windows), None)
            if key is None or ((cells := self._windows[key].cells) and cells[-1][0] >= slot - SLOTS):
                return
            del self._windows[key]


def _longer(found: Refused | None, dimension: Dimension, kind: str, wait: float) -> Refused:
    return found if found is not None and found.retry_after >= wait else Refused(dimension, kind, wait)
