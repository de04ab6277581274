"""Two web processes with one Redis: a limit is one limit."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.crash.conftest import fast_environment
from tests.crash.processes import House
from tests.live import World, make_world
from tests.provider_double import ProviderDouble

CALLS, RPM = 40, 10


@pytest.fixture
def settings_of_servers(settings: Any, double: ProviderDouble) -> None:
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{double.port}",)


def test_limit_holds_over_two_processes(
    settings_of_servers: None,
    process_environment: dict[str, str],
    redis_url: str,
    double: ProviderDouble,
    tmp_path: Path,
) -> None:
    environment = {**fast_environment(process_environment, double), "REDIS_URL": redis_url, "WEB_PROCESSES": "2"}
    with House(environment, tmp_path) as house:
        servers = [house.server(f"server-{number}", wait=False) for number in range(2)]
        for server in servers:
            server.wait_until_ready()
        world = make_world(servers[0].base_url, double.base_url)
        world.limit("app", world.app_id, rpm=RPM)
        for server in servers:
            _wait_until_limited(world, server.base_url)

        def call(base_url: str) -> httpx.Response:
            return httpx.post(
                f"{base_url}/v1/chat/completions", json=world.body("hello"), headers=world.headers(), timeout=60
            )

        urls = cycle(server.base_url for server in servers)
        with ThreadPoolExecutor(CALLS) as pool:
            answers = list(pool.map(call, [next(urls) for _ in range(CALLS)]))
        uncounted = [answer for answer in answers if "x-ratelimit-limit-requests" not in answer.headers]
        assert not uncounted, f"{len(uncounted)} of {CALLS} calls passed uncounted"
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {200: RPM, 429: CALLS - RPM}
        assert len(double.requests) == RPM
        left = sorted(
            int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers if answer.status_code == 200
        )
        assert left == list(range(RPM))  # each saw a count of its own
        assert house.manage("sweep", "--once").returncode == 0
        house.verify_ledger()


def _wait_until_limited(world: World, base_url: str) -> None:
    """Return once a process knows the rule, which it looks for every 0.2 s."""
    time.sleep(0.6)
    assert httpx.get(f"{base_url}/v1/models", headers=world.headers(), timeout=10).status_code == 200
