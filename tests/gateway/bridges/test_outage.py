"""Redis out of reach: bridges stay, their own process serves them, others say so in time; back again, all is well."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from apps.core.clock import now
from apps.features.bridges import bridge_by_id
from apps.gateway.bridges.protocol import ACCEPT_SECONDS
from tests.crash.processes import House, WebServer
from tests.gateway.bridges.conftest import Bridges, connected
from tests.live import World, make_world, wait_until
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble
from tests.proxy import Proxy

pytestmark = pytest.mark.timeout(200)
# A call's own time on a machine that is busy with these tests.
SLACK = 3.0

Outage = Callable[[Proxy], None]


def refused(proxy: Proxy) -> None:
    proxy.go_away()


def silent(proxy: Proxy) -> None:
    proxy.silent = True


def deaf(proxy: Proxy) -> None:
    proxy.deaf = True


OUTAGES = (refused, silent, deaf)


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    split = urlsplit(redis_url)
    with Proxy((split.hostname or "127.0.0.1", split.port or 6379)) as way:
        yield way


@pytest.fixture
def house(
    process_environment: dict[str, str], redis_url: str, proxy: Proxy, double: ProviderDouble, tmp_path: Path
) -> Iterator[House]:
    environment = process_environment | {
        "REDIS_URL": urlunsplit(urlsplit(redis_url)._replace(netloc=f"127.0.0.1:{proxy.port}")),
        "OUTBOUND_PRIVATE_ENDPOINTS": f"127.0.0.1:{double.port}",
        "EPOCH_POLL": "0.1",
    }
    with House(environment, tmp_path / "house") as made:
        yield made
        proxy.heal()


@pytest.fixture
def near(pair: tuple[WebServer, WebServer], double: ProviderDouble, settings: Any) -> World:
    """Give a world that calls the process that bridges dial."""
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{double.port}",)
    world = make_world(pair[0].base_url, double.base_url)
    world.manifest(privacy={"mode": "local_only"})
    return world


@pytest.fixture
def far(near: World, pair: tuple[WebServer, WebServer]) -> World:
    """Give the same world by way of the other process."""
    return replace(near, base_url=pair[1].base_url)


def serves(world: World) -> bool:
    return world.chat().status_code == 200


def is_refused_in_time(world: World) -> None:
    """Fail unless a call ends in OpenAI's envelope, about as soon as a bridge that does not accept it is given up."""
    began = time.monotonic()
    answer = world.chat()
    took = time.monotonic() - began
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (502, "bridge_unavailable"), answer.text
    assert error["type"] and error["message"] and "param" in error
    assert took < ACCEPT_SECONDS + SLACK, f"{took:.2f} s"


@pytest.mark.parametrize("outage", OUTAGES)
def test_outage_concerns_only_calls_between_processes_and_passes_by_itself(
    near: World, far: World, bridges: Bridges, local: ProviderDouble, proxy: Proxy, outage: Outage
) -> None:
    running = bridges.start(near, local.base_url)
    wait_until(lambda: serves(far) and serves(near), 10)
    since = _connected_at(running.bridge_id)
    outage(proxy)
    for _ in range(2):
        is_refused_in_time(far)
        answer = near.chat()
        assert answer.json()["choices"][0]["message"]["content"] == TEXT
        assert near.event(answer).route_mode == "local"
    with near.stream() as response:
        assert b"[DONE]" in response.read()
    proxy.heal()
    wait_until(lambda: serves(far), 20)
    assert serves(near) and connected(running.bridge_id) and running.process.poll() is None
    assert _connected_at(running.bridge_id) == since, "the bridge was hung up on"


@pytest.mark.parametrize("outage", OUTAGES)
def test_answer_under_way_between_processes_ends_in_an_error(
    near: World, far: World, bridges: Bridges, local: ProviderDouble, proxy: Proxy, outage: Outage
) -> None:
    bridges.start(near, local.base_url)
    wait_until(lambda: serves(far), 10)
    local.requests.clear()
    local.default = Behaviour(chunks=4000, interval=0.02)
    with far.stream() as response:
        pieces = response.iter_bytes()
        said = next(pieces) + next(pieces)
        outage(proxy)
        began = time.monotonic()
        said += b"".join(pieces)
    assert time.monotonic() - began < 2 + SLACK
    assert b'"bridge_lost"' in said and b"[DONE]" not in said
    local.wait_for(lambda: local.requests[0].closed_by_peer_at is not None, 2 + SLACK)
    local.default = Behaviour()
    proxy.heal()
    wait_until(lambda: serves(far), 20)


@pytest.mark.parametrize("outage", OUTAGES)
def test_processes_that_start_without_redis_serve_their_own_bridges_and_find_each_other_later(
    near: World, far: World, bridges: Bridges, local: ProviderDouble, proxy: Proxy, outage: Outage
) -> None:
    # Neither has told the other anything so far: they listen from the first bridge or call on.
    outage(proxy)
    running = bridges.start(near, local.base_url)
    wait_until(lambda: serves(near), 10)
    is_refused_in_time(far)
    proxy.heal()
    wait_until(lambda: serves(far), 20)
    assert serves(near) and running.process.poll() is None


def test_bridge_that_moves_in_an_outage_is_hung_up_on_where_it_was(
    near: World, far: World, bridges: Bridges, local: ProviderDouble, proxy: Proxy
) -> None:
    first = bridges.start(near, local.base_url)
    wait_until(lambda: serves(far), 10)
    proxy.go_away()
    second = bridges.start(near, local.base_url, gateway=far.base_url, bridge=first)
    assert first.process.wait(5) == 1
    assert "Another program" in first.log.read_text()
    wait_until(lambda: serves(far), 5)
    assert second.process.poll() is None


def _connected_at(bridge_id: str) -> Any:
    found = bridge_by_id(bridge_id, now=now())
    assert found is not None
    return found.connected_at
