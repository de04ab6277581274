"""Who rates, and how often: sweepers and Celery workers that come late, are many, or are killed."""

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx
import pytest

from tests.crash.load import Load
from tests.crash.processes import Child, House
from tests.live import World, make_world
from tests.provider_double import ProviderDouble

SECONDS = 4.0


@pytest.fixture
def busy_world(house: House, double: ProviderDouble) -> World:
    """Give a world whose gateway is a process of its own."""
    return make_world(house.server().base_url, double.base_url, usd="100")


def tokens(world: World, users: int = 4) -> list[str]:
    return [world.token, *(world.new_session(f"user-{number}", usd="100").token for number in range(1, users))]


def celery(house: House, name: str, *options: str) -> Child:
    return house.start(name, "-m", "celery", "-A", "modelfaucet", "worker", "--loglevel", "WARNING", *options)


def check_rated_once(house: House) -> int:
    """Return how many events there are, each with its one charge and one transaction."""
    house.verify_ledger()
    [(events, charges, transactions)] = house.rows(
        "SELECT (SELECT count(*) FROM usage_events), (SELECT count(*) FROM usage_charges),"
        " (SELECT count(DISTINCT memo ->> 'request_id') FROM ledger_transactions WHERE kind = 'usage')"
    )
    [(posted,)] = house.rows("SELECT count(*) FROM ledger_transactions WHERE kind = 'usage'")
    with_money = house.value("SELECT count(*) FROM usage_charges WHERE transaction_id IS NOT NULL")
    assert (charges, posted, transactions) == (events, with_money, with_money)
    assert house.value("SELECT count(*) FROM holds WHERE state = 'open'") == 0
    assert house.value("SELECT count(*) FROM wallets WHERE held <> 0") == 0
    return int(events)


def test_calls_made_without_a_sweeper_are_rated_once_it_comes(house: House, busy_world: World) -> None:
    prices = []
    for number in range(12):
        answer = busy_world.chat(f"Number {number}")
        prices.append(Decimal(answer.headers["x-modelfaucet-price-usd"]))
    with busy_world.stream() as response:
        response.read()
    assert house.value("SELECT count(*) FROM usage_charges") == 0
    assert busy_world.balance().held >= sum(prices) * 10**9  # spent is kept back, rated or not
    house.sweeper()
    house.wait_until_rated()
    assert check_rated_once(house) == 13
    assert house.manage("sweep", "--once").returncode == 0
    assert check_rated_once(house) == 13


@pytest.mark.timeout(300)
def test_two_sweepers_and_celery_rate_everything_once(
    house: House, busy_world: World, redis_url: str, double: ProviderDouble
) -> None:
    house.environment |= {"REDIS_URL": redis_url, "RATING_INTERVAL": "0.1"}
    beat = ["--beat", "--schedule", str(house.directory / "beat"), "--concurrency", "2"]
    worker = celery(house, "celery", *beat)
    busy_world.chat()
    house.wait_until_rated()  # by Celery: there is nobody else
    sweepers = [house.sweeper(f"sweeper-{number}") for number in range(2)]
    with Load(busy_world.base_url, tokens(busy_world), clients=16) as load:
        time.sleep(SECONDS)
        house.verify_ledger()  # while everything moves: what is being written is no difference
        worker.kill()  # in the middle of it; its messages stay where they are
        worker = celery(house, "celery", *beat)
        time.sleep(SECONDS)
    house.wait_until_rated()
    assert all(child.running() for child in (worker, *sweepers))
    assert check_rated_once(house) > len(load.told) / 2 > 50
    for child in (worker, *sweepers):
        child.terminate()
    assert [child.wait() for child in (worker, *sweepers)] == [0, 0, 0]


def test_sigterm_lets_requests_finish(house: House, busy_world: World, double: ProviderDouble) -> None:
    server = next(child for child in house.children if child.name == "server")

    def call(text: str, stream: bool) -> httpx.Response:
        body = busy_world.body(text, stream=stream)
        return httpx.post(
            f"{busy_world.base_url}/v1/chat/completions", json=body, headers=busy_world.headers(), timeout=30
        )

    asked = [("[[delay=1.5]] hello", False), ("[[chunks=20 interval=0.1]] hello", True)] * 4
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = [pool.submit(call, text, stream) for text, stream in asked]
        double.wait_for(lambda: double.in_flight == len(asked))
        server.terminate()
        time.sleep(0.3)
        with pytest.raises(httpx.TransportError):
            call("too late", False)
        for future, (_, stream) in zip(answers, asked, strict=True):
            answer = future.result()
            assert answer.status_code == 200
            assert not stream or answer.text.endswith("data: [DONE]\n\n")
    server.wait()
    assert "Traceback" not in server.output()
    house.manage("sweep", "--once")
    assert check_rated_once(house) == len(asked)
    assert house.rows("SELECT DISTINCT outcome FROM usage_events") == [("finished",)]
