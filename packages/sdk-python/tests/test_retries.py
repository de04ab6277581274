"""When a call is sent again."""

from typing import Any

import pytest

import modelfaucet_sdk as sdk
from modelfaucet_sdk.retries import RetryPolicy

POLICY = RetryPolicy()


def wait(error: sdk.FaucetError, policy: RetryPolicy = POLICY, **how: Any) -> float | None:
    values: dict[str, Any] = {"tries": 1, "repeatable": True, "unsent": False, "jitter": lambda: 1.0}
    return policy.wait(error, **{**values, **how})


def failed(status: int, **more: Any) -> sdk.FaucetError:
    return sdk.FaucetError("no", status=status, **more)


LOST = sdk.ConnectionFailedError("no")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_want_of_capacity_is_waited_for(status: int) -> None:
    assert wait(failed(status)) == 0.5


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 500])
def test_what_stays_as_it_is_is_not_tried_again(status: int) -> None:
    assert wait(failed(status)) is None


def test_pauses_double_up_to_the_longest_and_end() -> None:
    patient = RetryPolicy(retries=6, longest=3)
    waits = [wait(LOST, patient, tries=tries) for tries in range(1, 8)]
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0, None]
    assert wait(LOST, jitter=lambda: 0.0) == 0.25


def test_retry_after_is_honoured_and_too_long_a_one_is_the_callers_to_judge() -> None:
    assert wait(failed(429, retry_after=7), jitter=lambda: 0.0) == pytest.approx(7.125)
    assert wait(failed(429, retry_after=31)) is None


def test_call_that_may_not_arrive_twice_is_repeated_only_where_it_cannot_have_arrived() -> None:
    assert wait(LOST, repeatable=False) is None
    assert wait(LOST, repeatable=False, unsent=True) == 0.5
    assert wait(failed(503), repeatable=False) is None
    assert wait(failed(429), repeatable=False) == 0.5


def test_first_try_that_still_runs_is_waited_for() -> None:
    running = failed(409, code="idempotency_in_progress", retry_after=5)
    assert wait(running) == pytest.approx(5.25)
    assert wait(running, repeatable=False) is None
