"""The desktop example before the real gateway: a program clicks its buttons and reads what its window says."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from apps.catalog.services.offers import add_provider
from apps.core import addresses
from apps.core.clock import now
from apps.usage.models import UsageEvent
from apps.vault.queries import credentials_owned_by
from tests.clients.environment import client_python, make_environment
from tests.core.answering import Answering, answer
from tests.live import ACTOR, World, rate_all
from tests.packages.sdk_python import Driver, make_driver
from tests.provider_double import ProviderDouble

# The first run installs PySide6.
pytestmark = pytest.mark.timeout(400)
HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "desktop"
PICTURES = ROOT / "var" / "screenshots"


@pytest.fixture(scope="session")
def python() -> str:
    return client_python(make_environment("desktop", HERE / "requirements-desktop.txt"))


@pytest.fixture
def driver(world: World) -> Iterator[Driver]:
    addresses.forget()
    driver = make_driver(world, is_async=False)
    yield driver
    driver.end()


@pytest.fixture
def backend(driver: Driver) -> Iterator[str]:
    """Give the address of the example's backend, which alone has the app's secret."""
    given = {"FAUCET_PUBLIC_APP_ID": driver.app_id, "FAUCET_APP_SECRET": driver.app_secret, "PORT": "0"}
    environment = {**os.environ, **given, "PYTHONPATH": SDK, "SIGNED_IN": "alice"}
    command = [sys.executable, "-u", str(EXAMPLE / "backend.py")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


SDK = str(ROOT / "packages" / "sdk-python" / "src")


def test_window_sums_up_translates_stops_and_switches_modes(
    driver: Driver, backend: str, double: ProviderDouble, python: str, settings: Any
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    settings.DRAIN_SECONDS = 0.2
    with Answering(answer(200)) as theirs:
        settings.OUTBOUND_PRIVATE_ENDPOINTS += (f"127.0.0.1:{theirs.port}",)
        address = f"http://127.0.0.1:{theirs.port}/v1"
        known: dict[str, Any] = {"resale_allowed": False, "trains_on_data": True, "now": now(), "actor": ACTOR}
        add_provider(id="theirs", name="Theirs", base_url=address, **known)
        environment = {
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "PYTHONPATH": os.pathsep.join([SDK, str(EXAMPLE)]),
            "FAUCET_BASE_URL": driver.world.base_url,
            "FAUCET_PUBLIC_APP_ID": driver.app_id,
            "USER_TOKEN_URL": backend,
            "BRIDGE_URL": double.url,  # it speaks what the bridge speaks
            "BRIDGE_TOKEN": "mf_local_test",
        }
        command = [python, str(HERE / "desktop_walk.py"), str(PICTURES)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    assert seen["balance"] == "10.0000 USD" and seen["balance_after"].startswith("9.999")
    summary, translation, stalled, local = double.requests
    assert seen["summary"]["answer"] == summary.text and re.fullmatch(r"0\.\d+ USD", seen["summary"]["status"])
    asked = summary.body["messages"][0]["content"]
    assert asked.startswith("Sum up this note") and "new pier" in asked
    assert seen["translation"]["answer"] == translation.text
    assert "into German" in translation.body["messages"][0]["content"]
    assert seen["stopped"]["status"] == "Stopped." and seen["stopped"]["seconds"] < 3
    double.wait_for(lambda: stalled.closed_by_peer_at is not None)
    assert "With your own key" in seen["fee"] and "WXYZ" in seen["key"]["status"]
    assert [key.hint for key in credentials_owned_by("end_user", driver.world.end_user_id, before=None, limit=5)] == [
        "WXYZ"
    ]
    assert seen["local"]["answer"] == local.text and seen["local"]["status"] == "0 USD, by this computer"
    assert local.headers["authorization"] == "Bearer mf_local_test"  # straight to the bridge, past the gateway
    assert UsageEvent.objects.filter(route_mode="platform").count() == 3
    rate_all()
    price = Decimal(seen["summary"]["status"].removesuffix(" USD"))
    assert UsageEvent.objects.filter(price_nano=int(price * 10**9)).exists()


def test_program_holds_no_secret() -> None:
    for path in (EXAMPLE / "notes.py", EXAMPLE / "asking.py"):
        source = path.read_text()
        assert not re.search(r"mf_(app|key|sess|dev)_|app_secret|sk-", source), path.name
