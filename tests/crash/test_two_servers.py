"""Two web processes over one database: what a wallet cannot pay for twice is not sent to a provider twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import cycle

import httpx
import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from pytest import MonkeyPatch

from modelfaucet import env
from tests.crash.processes import House, WebServer
from tests.live import World, make_world
from tests.provider_double import ProviderDouble

CALLS = 40


@pytest.fixture
def servers(house: House) -> Iterator[list[WebServer]]:
    started = [house.server(f"server-{number}", wait=False) for number in range(2)]
    for server in started:
        server.wait_until_ready()
    yield started


def worst_case(world: World, text: str) -> Decimal:
    """Return what the API itself says a call can cost at most, in USD."""
    answer = httpx.post(f"{world.base_url}/v1/estimate", json=world.body(text), headers=world.headers())
    assert answer.status_code == 200, answer.text
    return Decimal(answer.json()["max_price_usd"])


def call_all_at_once(world: World, servers: list[WebServer], text: str) -> list[httpx.Response]:
    """Send the calls at once, to each server in turn."""

    def call(base_url: str) -> httpx.Response:
        return httpx.post(f"{base_url}/v1/chat/completions", json=world.body(text), headers=world.headers(), timeout=60)

    with ThreadPoolExecutor(CALLS) as pool:
        urls = cycle(server.base_url for server in servers)
        return list(pool.map(call, [next(urls) for _ in range(CALLS)]))


def fund_one_worst_case(double: ProviderDouble, servers: list[WebServer], text: str) -> World:
    world = make_world(servers[0].base_url, double.base_url, usd="0", affordable_clamp=False)
    world.fund(str(worst_case(world, text)))
    return world


def check_refusals(answers: list[httpx.Response], double: ProviderDouble) -> None:
    assert double.max_in_flight == 1
    assert {answer.status_code for answer in answers} == {200, 402}
    refused = [answer for answer in answers if answer.status_code == 402]
    assert all(answer.json()["error"]["code"] == "insufficient_funds" for answer in refused)
    assert len(double.requests) + len(refused) == CALLS


def test_funds_for_one_worst_case_pay_for_one_call_at_a_time(
    house: House, servers: list[WebServer], double: ProviderDouble
) -> None:
    text = "[[delay=0.4]] Say hello"
    world = fund_one_worst_case(double, servers, text)
    answers = call_all_at_once(world, servers, text)
    check_refusals(answers, double)
    assert len(double.requests) == 1
    [(least,)] = house.rows("SELECT posted - held FROM wallets WHERE account_id = %s", world.account_id)
    assert least >= 0
    assert house.manage("sweep", "--once").returncode == 0
    balance = world.balance()
    [served] = [answer for answer in answers if answer.status_code == 200]
    price = Decimal(served.headers["x-modelfaucet-price-usd"])
    assert balance.held == 0
    assert balance.posted > 0
    assert Decimal(balance.posted) == worst_case(world, text) * 10**9 - price * 10**9
    house.verify_ledger()


def test_a_hold_that_comes_back_pays_for_the_next_call(
    house: House, servers: list[WebServer], double: ProviderDouble
) -> None:
    """An empty answer costs nothing, so a wallet can go on with the same funds, but never twice at the same time."""
    text = "[[empty delay=0.02]] Say nothing"
    world = fund_one_worst_case(double, servers, text)
    before = world.balance()
    for _ in range(3):
        double.requests.clear()
        check_refusals(call_all_at_once(world, servers, text), double)
    house.manage("sweep", "--once")
    assert world.balance() == before
    house.verify_ledger()


def test_several_web_processes_without_redis_are_refused(monkeypatch: MonkeyPatch) -> None:
    call_command("check")
    monkeypatch.setattr(env, "WEB_PROCESSES", 2)
    with pytest.raises(SystemCheckError, match=r"mf\.E002"):
        call_command("check")
    monkeypatch.setattr(env, "REDIS_URL", "redis://127.0.0.1:6379/0")
    call_command("check")
