"""Whatever a test of this folder did, its money must add up afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.live import Server
from tests.settlement.proof import prove


@pytest.fixture(autouse=True)
def short_waits(settings: Any) -> None:
    settings.DRAIN_SECONDS = 0.3
    settings.READER_TIMEOUT = 1
    settings.CONNECT_TIMEOUT = 2
    settings.FIRST_BYTE_TIMEOUT = 1.5
    settings.IDLE_TIMEOUT = 1.5


@pytest.fixture(autouse=True)
def proven(short_waits: None, server: Server) -> Iterator[None]:
    yield
    prove(server)
