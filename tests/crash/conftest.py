import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.processes import House
from tests.provider_double import ProviderDouble

# How many times longer than in CI the tests with random moments run: CRASH_ROUNDS=20 pytest tests/crash
SOAK = int(os.environ.get("CRASH_ROUNDS", "1"))
HOLD_LEASE = 2


def fast_environment(environment: dict[str, str], double: ProviderDouble) -> dict[str, str]:
    """Return an environment in which leases are short and the double may be reached."""
    return {
        **environment,
        "OUTBOUND_PRIVATE_ENDPOINTS": f"127.0.0.1:{double.port}",
        "HOLD_LEASE": str(HOLD_LEASE),
        "RATING_INTERVAL": "0.2",
        "EPOCH_POLL": "0.2",
        "LOG_LEVEL": "WARNING",
    }


@pytest.fixture
def house(
    process_environment: dict[str, str], double: ProviderDouble, tmp_path: Path, settings: Any
) -> Iterator[House]:
    """Give a house over this test's database whose providers may be the double."""
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{double.port}",)
    with House(fast_environment(process_environment, double), tmp_path) as house:
        yield house
