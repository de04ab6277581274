"""Health of what calls are sent to: a circuit breaker and observed latency by credential and model.

Passive: every process learns from its own calls, and from the checks that one place makes for all (`disabled`). No I/O;
the clock is given.

    closed ── failures in a row reach the threshold, or the provider says when to come back ──► open
    open ── the cool-down is over ──► half open: one call goes through, others pass it over meanwhile
    half open ── it succeeds ──► closed;  it fails ──► open, for longer
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import NamedTuple

from django.conf import settings

from apps.gateway.bridges.errors import ABOUT_THE_CONNECTION
from apps.gateway.failures import Failure

# A credential's id with the model as the provider calls it; an empty model stands for the whole credential.
Key = tuple[str, str]

# The weight of the newest observation in a moving average: about the last ten count.
EWMA = 0.2
# How long others wait for the outcome of a half-open call, in seconds; one that is abandoned is made up for then.
PROBE_SECONDS = 30.0
# A rate limit without Retry-After is left sooner than an outage; one with it for at most this long.
RATE_LIMIT_COOLDOWN = 5.0
LONGEST_RETRY_AFTER = 300.0
JITTER = 0.2
MAX_KEYS = 20_000

AUTH_FAILED = "provider_auth_failed"
RATE_LIMITED = "provider_rate_limited"
# What is true of the credential, whatever the model.
_WHOLE_CREDENTIAL = frozenset({AUTH_FAILED, "provider_out_of_credit"})
# What says nothing about the provider's health: the request was at fault.
_NOT_ITS_FAULT = frozenset({"provider_rejected_request", "unsupported_by_provider"})


class HealthView(NamedTuple):
    """Health as it is now: what plans read. `down` says until when (clock time) something is left alone.

    `disabled` are credentials whose checks failed; `latency` the observed seconds to the first byte.
    """

    down: Mapping[Key, float]
    disabled: frozenset[str]
    latency: Mapping[Key, float]
    now: float


ALL_WELL = HealthView({}, frozenset(), {}, 0.0)


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    opened: int = 0
    probing: bool = False
    error_rate: float = 0.0
    code: str = ""


class Reading(NamedTuple):
    """One key's health for people: `state` is closed, open or half_open; `retry_in` in seconds."""

    key: Key
    state: str
    consecutive_failures: int
    error_rate: float
    latency: float | None
    retry_in: float
    code: str


class Health:
    """One process's knowledge. `cooldown` and `longest` are seconds; `threshold` failures in a row open a circuit."""

    def __init__(
        self,
        *,
        threshold: int,
        cooldown: float,
        longest: float,
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self._threshold = threshold
        self._cooldown = cooldown
        self._longest = longest
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311 (spreads retries, no secret)
        self._circuits: dict[Key, _Circuit] = {}
        self._down: dict[Key, float] = {}
        self._latency: dict[Key, float] = {}
        self._disabled: frozenset[str] = frozenset()

    def view(self) -> HealthView:
        """Return what plans read; it is not copied, so it is good for one plan."""
        return HealthView(self._down, self._disabled, self._latency, self._clock())

    def attempt(self, key: Key) -> None:
        """Note that a call is about to be sent: after a cool-down it is the one that finds out."""
        if not self._down:
            return
        now = self._clock()
        for each in (key, (key[0], "")):
            if self._down.get(each, now + 1) <= now:
                self._circuits[each].probing = True
                self._down[each] = now + PROBE_SECONDS

    def success(self, key: Key, seconds: float | None = None) -> None:
        """Note a call that was answered, its first byte after `seconds`."""
        if seconds is not None:
            known = self._latency.get(key)
            self._latency[key] = seconds if known is None else known + EWMA * (seconds - known)
            if len(self._latency) > MAX_KEYS:
                del self._latency[next(iter(self._latency))]
        for each in (key, (key[0], "")):
            circuit = self._circuits.get(each)
            if circuit is None:
                continue
            self._down.pop(each, None)
            circuit.failures = circuit.opened = 0
            circuit.probing = False
            circuit.error_rate *= 1 - EWMA
            if circuit.error_rate < 0.01:
                del self._circuits[each]

    def failure(self, key: Key, failure: Failure) -> None:
        """Note a call that failed. A key that is refused or without credit closes its credential to every model."""
        if failure.code in _NOT_ITS_FAULT:
            self.success(key)  # it answered, which is what health is about
            return
        if failure.code in ABOUT_THE_CONNECTION:
            return
        whole = failure.code in _WHOLE_CREDENTIAL
        self._fail((key[0], "") if whole else key, failure, at_once=whole)

    def apply(self, disabled: Collection[str]) -> None:
        """Take over which credentials the regular checks have found unusable; all others are usable again."""
        self._disabled = frozenset(disabled)

    def readings(self) -> list[Reading]:
        """Return what is known of every key that was called, for people."""
        now = self._clock()
        keys = sorted({*list(self._latency), *list(self._circuits)})
        return [self._reading(key, now) for key in keys]

    def _reading(self, key: Key, now: float) -> Reading:
        circuit = self._circuits.get(key) or _Circuit()
        until = self._down.get(key)
        state = "closed" if until is None else "half_open" if circuit.probing or until <= now else "open"
        wait = 0.0 if until is None or state == "half_open" else until - now
        rate = circuit.error_rate
        return Reading(key, state, circuit.failures, rate, self._latency.get(key), wait, circuit.code)

    def _fail(self, key: Key, failure: Failure, *, at_once: bool) -> None:
        now = self._clock()
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.error_rate += EWMA * (1 - circuit.error_rate)
        circuit.failures += 1
        circuit.code = failure.code
        until = self._down.get(key)
        if until is not None and until > now and not circuit.probing:
            return  # a call that was under way when it opened
        limited = failure.code == RATE_LIMITED
        told = failure.retry_after if limited else None
        if not (at_once or circuit.probing or until is not None or told or circuit.failures >= self._threshold):
            self._prune()
            return
        circuit.opened += 1
        circuit.probing = False
        base = min(RATE_LIMIT_COOLDOWN, self._cooldown) if limited else self._cooldown
        pause = min(base * 2.0 ** min(circuit.opened - 1, 20), self._longest)
        pause *= 1 + JITTER * self._rng.random()
        self._down[key] = now + (min(float(told), LONGEST_RETRY_AFTER) if told else pause)
        self._prune()

    def _prune(self) -> None:
        # Users' own keys come and go; the oldest is forgotten, which is to be tried again.
        if len(self._circuits) > MAX_KEYS:
            oldest = next(iter(self._circuits))
            del self._circuits[oldest]
            self._down.pop(oldest, None)


@cache
def process_health() -> Health:
    """Return this process's health, with the thresholds of the settings."""
    return Health(
        threshold=settings.BREAKER_FAILURES,
        cooldown=settings.BREAKER_COOLDOWN,
        longest=settings.BREAKER_MAX_COOLDOWN,
    )
