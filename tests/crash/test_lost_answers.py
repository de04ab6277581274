"""PostgreSQL did what it was asked, and its acknowledgement was lost: nothing is done twice, nobody is told wrong."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from apps.core.clock import now
from apps.features.services.apps import disable_app
from apps.gateway.runtime import POOL_PATIENCE
from tests.crash.processes import House
from tests.live import ACTOR, World, make_world, wait_until
from tests.provider_double import ProviderDouble
from tests.proxy import Proxy

SETTLE_TIMEOUT = 2


@pytest.fixture
def proxy(house: House) -> Iterator[Proxy]:
    with Proxy.before_database(house.environment["DATABASE_URL"]) as proxy:
        yield proxy


@pytest.fixture
def proxied_world(house: House, proxy: Proxy, double: ProviderDouble) -> Iterator[World]:
    """Give a world whose gateway reaches the database by way of the proxy; we, the sweeper too, go there directly."""
    direct = house.environment
    house.environment = direct | {
        "DATABASE_URL": proxy.database_url(direct["DATABASE_URL"]),
        "SETTLE_TIMEOUT": str(SETTLE_TIMEOUT),
        "HOLD_PATIENCE": "1",
        "HOLD_LEASE": "30",
    }
    server = house.server()
    house.environment = direct
    world = make_world(server.base_url, double.base_url)
    time.sleep(1)  # the watcher has seen that it was made: nothing is dropped after the first call
    assert world.chat().status_code == 200  # everything is loaded and connected
    world.balance()  # and its hold is shrunk: what is lost from now on is of later calls
    yield world
    assert house.manage("sweep", "--once").returncode == 0
    assert world.balance().held == 0
    house.verify_ledger()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def events(house: House) -> int:
    return int(house.value("SELECT count(*) FROM usage_events"))


def lose_the_settlement(
    house: House,
    proxy: Proxy,
    double: ProviderDouble,
    world: World,
    pool: ThreadPoolExecutor,
    *,
    cut: bool = True,
) -> "Future[httpx.Response]":
    """Begin a call and return it when its usage is stored and the gateway does not know."""
    before = events(house)
    answer = pool.submit(world.chat, "[[delay=0.5]] hello", headers={"idempotency_key": "order-1"})
    double.wait_for(lambda: double.in_flight)
    proxy.deaf = True
    wait_until(lambda: events(house) == before + 1)
    assert not answer.done()
    if cut:
        proxy.go_away()
    return answer


def test_settlement_that_was_stored_unheard_is_not_stored_again(
    house: House, proxy: Proxy, double: ProviderDouble, proxied_world: World, pool: ThreadPoolExecutor
) -> None:
    call = lose_the_settlement(house, proxy, double, proxied_world, pool)
    proxy.heal()
    answer = call.result()
    assert answer.status_code == 200
    assert events(house) == 2
    assert proxied_world.event(answer).outcome == "finished"


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "silent"])
def test_call_whose_settlement_is_unknown_is_not_told_that_it_is_free(
    house: House,
    proxy: Proxy,
    double: ProviderDouble,
    proxied_world: World,
    pool: ThreadPoolExecutor,
    cut: bool,
) -> None:
    answer = lose_the_settlement(house, proxy, double, proxied_world, pool, cut=cut).result()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "settlement_unknown"
    assert proxied_world.event(answer).charged  # as it happens
    if not cut:
        proxy.go_away()
    proxy.heal()

    def repeat() -> bool:
        return proxied_world.chat("[[delay=0.5]] hello", headers={"idempotency_key": "order-1"}).status_code == 200

    wait_until(repeat)  # with its key, the client gets what it has paid for
    assert len(double.requests) == 2
    assert events(house) == 2


def test_hold_that_was_taken_unheard_is_the_caller_s_own(
    house: House, proxy: Proxy, double: ProviderDouble, proxied_world: World, pool: ThreadPoolExecutor
) -> None:
    proxy.deaf = True
    call = pool.submit(proxied_world.chat, "hello again")
    wait_until(lambda: house.value("SELECT count(*) FROM holds") == 2)
    proxy.go_away()
    proxy.heal()
    assert call.result().status_code == 200
    assert house.value("SELECT count(*) FROM holds") == 2


def test_hold_that_was_taken_unheard_and_given_up_is_given_back(
    house: House, proxy: Proxy, double: ProviderDouble, proxied_world: World, pool: ThreadPoolExecutor
) -> None:
    proxy.deaf = True
    call = pool.submit(proxied_world.chat, "hello again")
    wait_until(lambda: house.value("SELECT count(*) FROM holds") == 2)
    proxy.go_away()
    answer = call.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "nothing was charged" in answer.json()["error"]["message"]
    proxy.heal()
    wait_until(lambda: house.value("SELECT count(*) FROM holds WHERE state = 'open' AND stage = 'dispatched'") == 0)
    assert house.value("SELECT state FROM holds WHERE request_id = %s", answer.headers["x-request-id"]) == "voided"
    assert len(double.requests) == 1


def test_kill_switch_acts_after_a_silence(house: House, proxy: Proxy, proxied_world: World) -> None:
    """The watcher's question was lost and nobody hung up: it asks again, or nothing would be switched off any more."""
    proxy.deaf = True
    time.sleep(1)
    proxy.heal()
    disable_app(app_id=proxied_world.app_id, now=now(), actor=ACTOR)
    wait_until(lambda: proxied_world.chat().status_code == 403, POOL_PATIENCE + 5)


def test_processes_started_in_an_outage_serve_when_it_is_over(
    house: House, proxy: Proxy, double: ProviderDouble
) -> None:
    proxy.go_away()
    direct = house.environment["DATABASE_URL"]
    house.environment["DATABASE_URL"] = proxy.database_url(direct)
    server, sweeper = house.server(), house.sweeper()
    house.environment["DATABASE_URL"] = direct
    world = make_world(server.base_url, double.base_url)
    assert world.chat().status_code == 503
    proxy.heal()
    wait_until(lambda: world.chat().status_code == 200)
    house.wait_until_rated()
    assert server.running()
    assert sweeper.running()
    house.verify_ledger()
