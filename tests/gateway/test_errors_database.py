"""The database goes away: calls wait and succeed, or are refused in time; nothing is lost, nothing charged twice."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from apps.core.clock import now
from apps.gateway import runtime as runtime_module
from apps.gateway.writers import connection_parameters
from apps.ledger.models import Hold
from apps.usage.models import UsageEvent
from apps.usage.services.sweeping import sweep_holds
from tests.live import Server, World, rate_all, wait_until
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble
from tests.proxy import Proxy
from tests.settlement.asking import Answered, ask
from tests.settlement.proof import prove


@pytest.fixture
def proxy(transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Proxy]:
    """Put a proxy between the gateway and its database."""
    settings.HOLD_PATIENCE = 1
    settings.SETTLE_TIMEOUT = 1
    with Proxy() as made:
        parameters = {**connection_parameters(), "host": "127.0.0.1", "port": made.port}
        monkeypatch.setattr(runtime_module, "connection_parameters", lambda: parameters)
        yield made


@pytest.fixture
def away(proxy: Proxy, server: Server, world: World) -> Proxy:
    """Give the proxy of a gateway that has served a call."""
    assert ask(world, stream=False).status == 200
    return proxy


def nothing_is_held() -> bool:
    """Tell whether every hold is given back, after a round of rating: it meters what an outage kept from metering."""
    rate_all()
    return not Hold.objects.filter(state="open", stage="dispatched").exists()


@pytest.mark.parametrize("stream", [False, True])
def test_call_waits_for_a_database_that_comes_back(
    away: Proxy, server: Server, world: World, double: ProviderDouble, stream: bool
) -> None:
    away.go_away()
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(lambda: ask(world, stream=stream)) for _ in range(5)]
        time.sleep(0.3)
        assert len(double.requests) == 1
        away.refusing = False
        assert [call.result().text for call in calls] == [TEXT] * 5
    prove(server)
    assert UsageEvent.objects.count() == 6


def test_call_is_refused_in_time_when_the_database_stays_away(
    away: Proxy, server: Server, world: World, double: ProviderDouble
) -> None:
    for how in ("refusing", "silent"):
        setattr(away, how, True)
        if how == "refusing":
            away.cut()
        started = time.monotonic()
        answered = ask(world, stream=True)
        assert time.monotonic() - started < 8
        assert (answered.status, answered.error["code"]) == (503, "unavailable")
        assert answered.headers["retry-after"]
        setattr(away, how, False)
        away.cut()
        wait_until(lambda: ask(world, stream=False).status == 200, 10)
    wait_until(nothing_is_held, 20)
    prove(server)


@pytest.mark.parametrize("stream", [False, True])
def test_event_waits_for_a_database_that_comes_back(
    away: Proxy, server: Server, world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script(Behaviour(delay=0.2))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lambda: ask(world, stream=stream))
        wait_until(lambda: len(double.requests) == 2)
        away.go_away()
        time.sleep(0.5)
        assert not call.done()
        away.refusing = False
        answered = call.result()
    assert (answered.status, answered.text) == (200, TEXT)
    assert answered.event().charged
    prove(server)


@pytest.mark.parametrize("stream", [False, True])
def test_answer_whose_event_cannot_be_stored_is_not_completed_and_not_charged(
    away: Proxy, server: Server, world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script(Behaviour(delay=0.2))
    with ThreadPoolExecutor(1) as pool:
        call: Future[Answered] = pool.submit(lambda: ask(world, stream=stream))
        wait_until(lambda: len(double.requests) == 2)
        away.go_away()
        answered = call.result()
    assert answered.error["code"] == "settlement_unknown"
    assert (answered.status, answered.done) == (200 if stream else 503, False)
    away.refusing = False
    assert UsageEvent.objects.count() == 1
    assert sweep_holds(now=now() + timedelta(seconds=300)) == 1
    event = answered.event()
    assert (event.outcome, event.charged) == ("abandoned", False)
    prove(server)


def test_idempotency_key_out_of_reach_is_a_503(
    away: Proxy, server: Server, world: World, double: ProviderDouble
) -> None:
    away.go_away()
    answered = ask(world, stream=False, headers={"idempotency_key": "k1"})
    assert (answered.status, answered.error["code"]) == (503, "unavailable")
    assert len(double.requests) == 1
    away.refusing = False
    wait_until(lambda: ask(world, stream=False, headers={"idempotency_key": "k1"}).status == 200, 10)
    prove(server)


def test_backends_terminated_under_load_lose_and_double_nothing(
    server: Server, world: World, double: ProviderDouble
) -> None:
    double.default = Behaviour(chunks=3, interval=0.01)
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(lambda n=n: ask(world, stream=bool(n % 2))) for n in range(200)]
        terminated = 0
        for _ in range(6):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT %%'"
                )
                terminated += cursor.fetchone()[0]
            time.sleep(0.2)
        answers = [call.result() for call in calls]
    assert terminated > 3
    assert {a.status for a in answers} <= {200, 503}
    delivered = [a for a in answers if a.status == 200 and (a.done or not a.headers.get("transfer-encoding"))]
    assert len(delivered) > 100
    for answered in delivered:
        assert answered.event().charged
    # A hold whose acknowledgement was lost with the refusal is given back by its lease at the latest.
    sweep_holds(now=now() + timedelta(seconds=300))
    prove(server)
    assert UsageEvent.objects.filter(charged=True).count() == len(delivered)
