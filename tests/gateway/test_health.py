"""Circuits by a clock of their own: when they open, for how long, who probes, and what closes them."""

from random import Random

import pytest

from apps.gateway.failures import Failure
from apps.gateway.health import Health, process_health

KEY, OTHER = ("cred_1", "m"), ("cred_1", "m2")
WHOLE = ("cred_1", "")
ERROR = Failure("provider_error", 500)
LIMITED = Failure("provider_rate_limited", 429)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(threshold=3, cooldown=10, longest=60, clock=clock, rng=Random(1))


def fail(health: Health, times: int = 1, failure: Failure = ERROR, key: tuple[str, str] = KEY) -> None:
    for _ in range(times):
        health.attempt(key)
        health.failure(key, failure)


def pause(health: Health, clock: Clock, key: tuple[str, str] = KEY) -> float:
    return health.view().down[key] - clock.now


def is_down(health: Health, key: tuple[str, str] = KEY) -> bool:
    view = health.view()
    return view.down.get(key, 0.0) > view.now


def test_circuit_opens_at_the_third_failure_in_a_row(health: Health) -> None:
    fail(health, 2)
    health.success(KEY, 0.1)
    fail(health, 2)
    assert not is_down(health)
    fail(health)
    assert is_down(health)
    assert not is_down(health, OTHER)


@pytest.mark.parametrize(
    "code",
    ["provider_error", "provider_timeout_first_byte", "provider_unreachable_refused", "provider_broke_off"],
)
def test_what_the_provider_is_to_blame_for_counts(health: Health, code: str) -> None:
    fail(health, 3, Failure(code, 0))
    assert is_down(health)


def test_refused_request_shows_that_the_provider_answers(health: Health) -> None:
    fail(health, 2)
    fail(health, 1, Failure("provider_rejected_request", 400, final=True))
    fail(health, 2)
    assert not is_down(health)


def test_refused_key_opens_its_credential_at_once(health: Health, clock: Clock) -> None:
    fail(health, 1, Failure("provider_auth_failed", 401))
    assert is_down(health, WHOLE)
    clock.now += 13
    assert not is_down(health, WHOLE)
    health.attempt(OTHER)
    assert is_down(health, WHOLE)  # while that call is under way
    health.success(OTHER)
    assert not health.view().down


def test_one_call_probes_after_the_cool_down_and_its_success_closes(health: Health, clock: Clock) -> None:
    fail(health, 3)
    assert 10 <= pause(health, clock) <= 12
    clock.now += 12
    assert not is_down(health)
    health.attempt(KEY)
    assert is_down(health)
    assert [reading.state for reading in health.readings()] == ["half_open"]
    health.success(KEY, 0.2)
    assert not health.view().down
    fail(health, 2)
    assert not is_down(health)


def test_pause_grows_with_each_failed_probe_up_to_a_limit(health: Health, clock: Clock) -> None:
    fail(health, 3)
    pauses = [pause(health, clock)]
    for _ in range(5):
        clock.now += pauses[-1]
        fail(health)
        pauses.append(pause(health, clock))
    for found, plain in zip(pauses, (10, 20, 40, 60, 60, 60), strict=True):
        assert plain <= found <= plain * 1.2
    assert len({round(found / plain, 3) for found, plain in zip(pauses[3:], (60, 60, 60), strict=True)}) == 3


def test_calls_that_were_under_way_do_not_prolong_the_pause(health: Health, clock: Clock) -> None:
    fail(health, 3)
    until = health.view().down[KEY]
    for _ in range(5):
        health.failure(KEY, ERROR)
    assert health.view().down[KEY] == until


def test_abandoned_probe_is_made_up_for(health: Health, clock: Clock) -> None:
    fail(health, 3)
    clock.now += 12
    health.attempt(KEY)
    clock.now += 29
    assert is_down(health)
    clock.now += 1
    assert not is_down(health)


def test_rate_limit_is_left_for_as_long_as_the_provider_says(health: Health, clock: Clock) -> None:
    fail(health, 1, Failure("provider_rate_limited", 429, retry_after=7))
    assert pause(health, clock) == 7
    clock.now += 7
    fail(health, 1, Failure("provider_rate_limited", 429, retry_after=86_400))
    assert pause(health, clock) == 300


def test_rate_limit_without_a_word_is_left_for_less_long(health: Health, clock: Clock) -> None:
    fail(health, 2, LIMITED)
    assert not is_down(health)
    fail(health, 1, LIMITED)
    assert 5 <= pause(health, clock) <= 6


def test_latency_and_error_rate_are_moving_averages(health: Health) -> None:
    health.success(KEY, 1.0)
    health.success(KEY, 2.0)
    assert health.view().latency[KEY] == pytest.approx(1.2)
    health.success(KEY)
    assert health.view().latency[KEY] == pytest.approx(1.2)
    fail(health)
    (reading,) = health.readings()
    assert (reading.error_rate, reading.consecutive_failures, reading.code) == (0.2, 1, "provider_error")


def test_checks_put_out_and_bring_back(health: Health) -> None:
    health.apply(["cred_1"])
    assert health.view().disabled == {"cred_1"}
    health.apply([])
    assert not health.view().disabled


def test_what_is_known_does_not_grow_without_end(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.gateway.health.MAX_KEYS", 10)
    for number in range(50):
        fail(health, 3, key=(f"c{number}", "m"))
        health.success((f"d{number}", "m"), 1.0)
    view = health.view()
    assert len(view.down) == 10
    assert len(view.latency) == 10
    assert ("c49", "m") in view.down


def test_process_has_one_health() -> None:
    assert process_health() is process_health()
