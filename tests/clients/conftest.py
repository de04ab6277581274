import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.catalog.services.offers import add_model, add_offer, add_provider
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.vault.services.credentials import add_credential
from tests.clients.environment import client_environment, client_python
from tests.live import ACTOR, TIER, Server, World, make_world
from tests.provider_double import ProviderDouble

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class CallFailed(Exception):
    """The client raised: the name of its exception class, and what that knew."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["class"], error["message"])
        self.name = error["class"]
        self.error = error


class Client:
    """A process with the `openai` client in it; `call` names a function of openai_calls.py."""

    def __init__(self, process: subprocess.Popen[str], world: World) -> None:
        self.process = process
        self.world = world

    def call(self, call: str, *, api_key: str = "", **more: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        options = {"base_url": f"{self.world.base_url}/v1", "api_key": api_key or self.world.token, "max_retries": 0}
        self.process.stdin.write(json.dumps(options | {"call": call} | more) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the client ended with status {self.process.wait(10)}"
        reply = json.loads(line)
        if "error" in reply:
            raise CallFailed(reply["error"])
        return reply["result"]


@pytest.fixture(scope="session")
def clients() -> Path:
    """Give the directory in which programs that are not ours are installed."""
    return client_environment()


@pytest.fixture(scope="session")
def client_process(clients: Path) -> Iterator[subprocess.Popen[str]]:
    command = [client_python(clients), str(HERE / "openai_calls.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()  # type: ignore[union-attr]
        process.wait(10)


@pytest.fixture(scope="session")
def demo_provider() -> Iterator[str]:
    """Give the base URL of the demo provider, in a process of its own."""
    command = [sys.executable, "-m", "modelfaucet.demo.provider", "--port", "0", "--pace-ms", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["base_url"]
        process.terminate()


def offer(base_url: str, name: str, *, capabilities: tuple[str, ...] = ("chat", "stream", "tools")) -> None:
    """Offer a model by a provider, both of this name, and let the gateway reach it."""
    moment = now()
    known: dict[str, Any] = {"id": name, "name": name, "now": moment, "actor": ACTOR}
    add_provider(base_url=base_url, resale_allowed=True, trains_on_data=False, **known)
    add_model(**known)
    offered = add_offer(
        provider=name,
        model=name,
        upstream_model=name,
        capabilities=capabilities,
        tokenizer="o200k_base",
        priority=0,
        now=moment,
        actor=ACTOR,
    )
    publish_price(offered, [TIER], moment, "test", now=moment, actor=ACTOR)
    add_credential(owner_class="platform", provider=name, label=name, secret=f"sk-{name}", now=moment, actor=ACTOR)


@pytest.fixture
def client_world(server: Server, double: ProviderDouble, demo_provider: str, settings: Any) -> World:
    """Give a world with the demo provider's model beside that of the double."""
    settings.OUTBOUND_PRIVATE_ENDPOINTS += (demo_provider.removeprefix("http://").removesuffix("/v1"),)
    world = make_world(server.base_url, double.base_url, max_output_tokens=4000)
    offer(demo_provider, "faucet-demo")
    return world


@pytest.fixture
def client(client_process: subprocess.Popen[str], client_world: World) -> Client:
    return Client(client_process, client_world)
