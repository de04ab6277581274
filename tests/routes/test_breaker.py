"""Providers that fail, die and come back; what is tried again, how long for, and what never is."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import update_provider
from apps.core.clock import now
from tests.live import ACTOR, MODEL, World, wait_until
from tests.provider_double import Behaviour, ProviderDouble
from tests.routes.conftest import Notice
from tests.routes.doors import serve

COOLDOWN = 1 * 1.2  # with its jitter


@pytest.fixture
def reserve(world: World, second: ProviderDouble, noticed: Notice) -> ProviderDouble:
    """Give a second provider of the model, which is tried after the first."""
    serve(world, MODEL, "reserve", second.base_url, priority=50)
    noticed()
    return second


def calls(*doubles: ProviderDouble) -> list[int]:
    return [len(double.requests) for double in doubles]


@pytest.mark.parametrize("death", ["refuses", "5xx", "stalls"])
def test_dead_provider_is_left_and_used_again_when_it_is_back(
    world: World, double: ProviderDouble, reserve: ProviderDouble, death: str
) -> None:
    assert world.chat().status_code == 200
    assert calls(double, reserve) == [1, 0]
    if death == "refuses":
        double.refuse_connections()
    else:
        double.default = Behaviour(status=503) if death == "5xx" else Behaviour(fail="stall-before")
    failed = []
    for _ in range(4):  # the threshold is two
        answer = world.chat()
        assert answer.status_code == 200
        failed.append(len(world.event(answer).attempts))
    assert failed[:2] == [1, 1]
    assert failed[3] == 0
    found = world.event(answer)
    assert {"candidate": f"double-0/{MODEL}", "mode": "platform", "reason": "circuit_open"} in found.routing["rejected"]
    if death == "refuses":
        double.accept_connections()
    double.default = Behaviour()
    double.release()

    def back() -> bool:
        return world.event(world.chat()).provider == "double-0"

    wait_until(back)
    assert back()  # and it stays


def test_provider_that_dies_in_mid_stream_is_left_too(
    world: World, double: ProviderDouble, reserve: ProviderDouble
) -> None:
    double.default = Behaviour(fail="reset-within")
    for _ in range(2):
        with world.stream() as response:
            assert "provider_broke_off" in response.read().decode()
    assert calls(double, reserve) == [2, 0]
    with world.stream() as response:
        assert "[DONE]" in response.read().decode()
    assert calls(double, reserve) == [2, 1]


def test_one_call_finds_out_whether_it_is_back(
    world: World, double: ProviderDouble, reserve: ProviderDouble, settings: Any
) -> None:
    settings.FIRST_BYTE_TIMEOUT = 10
    double.default = Behaviour(status=500)
    for _ in range(2):
        world.chat()
    before = calls(double)[0]
    double.default = Behaviour(delay=0.3)
    time.sleep(COOLDOWN)
    with ThreadPoolExecutor(5) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: world.chat(), range(5))} == {200}
    assert calls(double)[0] == before + 1


def test_retry_after_is_honoured(world: World, double: ProviderDouble, reserve: ProviderDouble) -> None:
    double.script(Behaviour(status=429, retry_after="2"))
    began = time.monotonic()
    assert world.chat().status_code == 200
    while time.monotonic() < began + 0.8:
        assert world.chat().status_code == 200
        time.sleep(0.05)
    assert calls(double) == [1]  # one rate limit is enough where it says for how long
    wait_until(lambda: world.event(world.chat()).provider == "double-0")
    assert double.requests[1].started_at - double.requests[0].started_at >= 1


def test_last_provider_is_tried_though_its_circuit_is_open(world: World, double: ProviderDouble) -> None:
    double.default = Behaviour(status=500)
    for _ in range(3):
        assert world.chat().status_code == 502
    double.default = Behaviour()
    assert world.chat().status_code == 200


def test_failed_round_is_repeated_after_a_pause(
    world: World, double: ProviderDouble, reserve: ProviderDouble, settings: Any
) -> None:
    settings.RETRIES = 1
    double.script("status-500", "normal")
    reserve.script("status-500")
    answer = world.chat()
    assert answer.status_code == 200
    assert calls(double, reserve) == [2, 1]
    attempts = world.event(answer).attempts
    assert [attempt["provider"] for attempt in attempts] == ["double-0", "reserve"]


@pytest.mark.parametrize("failure", ["status-401", "status-404", "stall-before", "close-before", "wrong-json"])
def test_what_does_not_pass_is_not_asked_for_again(
    world: World, double: ProviderDouble, settings: Any, failure: str
) -> None:
    """What may have been worked on, and what will be the same in a moment."""
    settings.RETRIES = 3
    double.script(failure)
    assert world.chat().status_code == 502
    assert calls(double) == [1]


def test_pause_is_at_least_what_retry_after_says_and_at_most_the_patience(
    world: World, double: ProviderDouble, settings: Any
) -> None:
    settings.RETRIES, settings.RETRY_PATIENCE = 1, 5
    double.script(Behaviour(status=429, retry_after="1"))
    answer = world.chat()
    assert answer.status_code == 200
    assert double.requests[1].started_at - double.requests[0].started_at >= 1
    settings.RETRY_PATIENCE = 0.5
    double.script(Behaviour(status=429, retry_after="10"))
    began = time.monotonic()
    refused = world.chat()
    assert time.monotonic() - began < 5
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    assert refused.json()["error"]["code"] == "provider_rate_limited"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_one_deadline_holds_over_all_attempts(
    world: World, double: ProviderDouble, reserve: ProviderDouble, settings: Any, stream: bool
) -> None:
    settings.RETRIES, settings.REQUEST_DEADLINE, settings.FIRST_BYTE_TIMEOUT = 5, 0.6, 5
    double.default = Behaviour(status=500, delay=0.25)
    reserve.default = Behaviour(delay=8)
    began = time.monotonic()
    answer = world.chat(stream=stream)
    assert answer.status_code == 502
    assert 0.5 < time.monotonic() - began < 6
    assert calls(double, reserve) == [1, 1]
    assert world.event(answer).outcome == "not_served"


@pytest.mark.parametrize("failure", ["close-within", "reset-within", "error-event"])
def test_nothing_is_tried_again_after_the_first_byte(
    world: World, double: ProviderDouble, reserve: ProviderDouble, settings: Any, failure: str
) -> None:
    settings.RETRIES = 2
    double.script(failure)
    with world.stream() as response:
        assert response.status_code == 200
        assert '"error"' in response.read().decode()
    assert calls(double, reserve) == [1, 0]
    found = world.wait_for_event()
    assert (found.outcome, found.price_nano, found.attempts) == ("provider_failed", 0, [])


def test_client_that_leaves_in_the_pause_ends_the_call(world: World, double: ProviderDouble, settings: Any) -> None:
    settings.RETRIES, settings.RETRY_PATIENCE = 1, 30
    double.script(Behaviour(status=429, retry_after="2"))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{world.base_url}/v1/chat/completions", json=world.body("Say hello"), headers=world.headers(), timeout=0.3
        )
    found = world.wait_for_event(1.5)
    assert (found.outcome, found.error_code, found.price_nano) == ("not_served", "client_left", 0)
    assert calls(double) == [1]
    assert world.balance().held == 0


@pytest.mark.parametrize(
    ("wrong", "code"), [({"logprobs": True, "n": 2}, "unsupported_by_provider"), ({"stop": 5}, "invalid_type")]
)
def test_request_that_a_provider_cannot_be_asked_says_nothing_of_its_health(
    world: World, double: ProviderDouble, reserve: ProviderDouble, noticed: Notice, wrong: dict[str, Any], code: str
) -> None:
    """Two such requests would open its circuit for everybody."""
    for provider in ("double-0", "reserve"):
        update_provider(provider, adapter="anthropic", now=now(), actor=ACTOR)
    noticed()
    for _ in range(3):
        refused = world.chat(**wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
    assert calls(double, reserve) == [0, 0]
    assert world.event(world.chat()).provider == "double-0"
