"""Whatever a test of this folder did, its money must add up afterwards."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apps.gateway.health import process_health
from tests.live import Server, notice
from tests.provider_double import ProviderDouble
from tests.settlement.proof import prove

Notice = Callable[[], None]


@pytest.fixture(autouse=True)
def short_waits(settings: Any) -> Iterator[None]:
    """Make patience short, and breakers that open after two failures and close after a second."""
    settings.DRAIN_SECONDS = 0.2
    settings.HOLD_LEASE = 1.2  # renewed at a third of it
    settings.CONNECT_TIMEOUT = 2
    settings.FIRST_BYTE_TIMEOUT = 0.8
    settings.IDLE_TIMEOUT = 1
    settings.BREAKER_FAILURES = 2
    settings.BREAKER_COOLDOWN = 1
    settings.BREAKER_MAX_COOLDOWN = 1
    process_health.cache_clear()
    yield
    process_health.cache_clear()


@pytest.fixture(autouse=True)
def proven(short_waits: None, request: pytest.FixtureRequest) -> Iterator[None]:
    if "server" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("server")
    yield
    prove(server)


@pytest.fixture
def noticed(server: Server, settings: Any) -> Notice:
    """Give a function that returns once the gateway has seen what was changed until now."""
    settings.EPOCH_POLL = 0.02
    return lambda: notice(server)


@pytest.fixture
def second(server: Server, settings: Any) -> Iterator[ProviderDouble]:
    """Give another provider, which the gateway may reach."""
    with ProviderDouble() as provider:
        settings.OUTBOUND_PRIVATE_ENDPOINTS += (f"127.0.0.1:{provider.port}",)
        yield provider


@pytest.fixture
def third(server: Server, settings: Any) -> Iterator[ProviderDouble]:
    """Give one more provider."""
    with ProviderDouble() as provider:
        settings.OUTBOUND_PRIVATE_ENDPOINTS += (f"127.0.0.1:{provider.port}",)
        yield provider
