"""Bridges as they are: a relay in a process of its own, in front of an OpenAI-compatible server on a socket."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from apps.core.clock import now
from apps.features.bridges import bridge_by_id, connected_bridges
from apps.features.services.bridges import create_bridge
from tests.crash.processes import House, WebServer
from tests.live import ACTOR, Server, World, notice, wait_until
from tests.provider_double import ProviderDouble

SOURCE = Path(__file__).parents[3] / "packages" / "local-bridge" / "src"
LOCAL = "llama-3.2"
SECRET_WORD = "xylophone-8731"  # stands in prompts, and must not be found anywhere


@dataclass
class Running:
    """A relay process and the bridge that it is."""

    bridge_id: str
    token: str
    process: subprocess.Popen[str]
    log: Path

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    @property
    def memory(self) -> int:
        """Return the resident bytes of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Bridges:
    """Starts relays, and ends those that are left."""

    directory: Path
    running: list[Running] = field(default_factory=list)

    def start(
        self,
        world: World,
        endpoint: str,
        *models: str,
        gateway: str = "",
        concurrency: int = 4,
        bridge: Running | None = None,
        server: Server | None = None,
    ) -> Running:
        """Connect a bridge of the world's end user and return it once it can be called."""
        if bridge is None:
            made = create_bridge(end_user_id=world.end_user_id, name="Laptop", now=now(), actor=ACTOR)
            bridge_id, token = made.bridge_id, made.token
        else:
            bridge_id, token = bridge.bridge_id, bridge.token
        log = self.directory / f"{bridge_id}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "modelfaucet_bridge.relay", "--gateway", gateway or world.base_url]
        command += ["--endpoint", endpoint, "--max-concurrency", str(concurrency)]
        for model in models or (LOCAL,):
            command += ["--model", model]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "MODELFAUCET_BRIDGE_TOKEN": token}
        with log.open("w") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True)
        running = Running(bridge_id, token, process, log)
        self.running.append(running)
        try:
            wait_until(lambda: connected(bridge_id), 20)
        except AssertionError:
            raise AssertionError(log.read_text()) from None
        if server is not None:
            notice(server)
        return running


def connected(bridge_id: str) -> bool:
    found = bridge_by_id(bridge_id, now=now())
    return found is not None and found.connected


def none_connected(world: World) -> bool:
    return not connected_bridges(world.end_user_id, now=now())


@pytest.fixture
def bridges(transactional_db: None, tmp_path: Path) -> Iterator[Bridges]:
    made = Bridges(tmp_path)
    yield made
    for running in made.running:
        if running.process.poll() is None:
            running.stop()


@pytest.fixture
def local() -> Iterator[ProviderDouble]:
    """Give a model server on this machine, which only a bridge reaches."""
    with ProviderDouble() as server:
        yield server


Connect = Callable[..., Running]


@pytest.fixture
def connect(bridges: Bridges, local: ProviderDouble, server: Server, request: pytest.FixtureRequest) -> Connect:
    """Give what connects a bridge in front of `local`, of the fixture's world or another, and known to the gateway."""

    def start(*models: str, world: World | None = None, **more: Any) -> Running:
        owner = world if world is not None else request.getfixturevalue("world")
        return bridges.start(owner, more.pop("endpoint", local.base_url), *models, server=server, **more)

    return start


@pytest.fixture
def pair(house: House) -> tuple[WebServer, WebServer]:
    """Give the process that holds the bridge's socket, and the one that is called."""
    first, second = house.server("first", wait=False), house.server("second", wait=False)
    first.wait_until_ready()
    second.wait_until_ready()
    return first, second
