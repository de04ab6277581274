"""The local bridge as a user runs it: in an environment of its own, with settings of its own, in its own process."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.features.services.bridges import create_bridge
from tests.clients.environment import client_python
from tests.live import ACTOR, World, wait_until
from tests.test_house import ROOT

PACKAGE = ROOT / "packages" / "local-bridge"
INSTALL_SECONDS = 300


def bridge_python() -> str:
    """Return the Python of an environment with what the bridge and its stories need, installed on first use."""
    declared: list[str] = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = [*declared, "openai"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelfaucet"
    home = cache / f"bridge-run-{hashlib.sha256(repr((wanted, sys.version)).encode()).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "bridge-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist make it once
        if not (home / "ready").exists():
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            command = [client_python(home), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
            if done.returncode:
                pytest.fail(
                    f"The bridge's dependencies cannot be installed:\n{done.stdout}{done.stderr}", pytrace=False
                )
            (home / "ready").touch()
    return client_python(home)


def bridge_environment(home: Path) -> dict[str, str]:
    """Return the environment of a bridge whose settings are in `home`, and that keeps off the user's keychain."""
    return {
        **{name: value for name, value in os.environ.items() if "MODELFAUCET" not in name},
        "MODELFAUCET_BRIDGE_HOME": str(home),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "PYTHONPATH": os.pathsep.join([str(PACKAGE / "src"), str(PACKAGE / "tests")]),
    }


class InstalledBridge:
    """The command over a directory of settings, and the process that serves it."""

    def __init__(self, home: Path) -> None:
        self.home, self.url = home, ""
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> str:
        """Run the command and return what it prints."""
        command = [bridge_python(), "-m", "modelfaucet_bridge", *arguments]
        environment = bridge_environment(self.home)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        """Serve on a free port; commands find it where the settings say."""
        command = [bridge_python(), "-m", "modelfaucet_bridge", "start", "--port", "0"]
        log = self.home / "started.log"
        with log.open("w") as output:
            self._process = process = subprocess.Popen(
                command, env=bridge_environment(self.home), stdout=output, stderr=output
            )
        wait_until(lambda: "\nToken" in f"\n{log.read_text()}" or process.poll() is not None, 60)
        serving = re.search(r"(?m)^Serving\s+(\S+)", log.read_text())
        assert serving is not None, log.read_text()
        self.url = serving[1].removesuffix("/v1")
        wait_until(self._answers, 30)
        settings = self.home / "bridge.toml"
        port = self.url.rpartition(":")[2]
        settings.write_text(re.sub(r"(?m)^port = \d+", f"port = {port}", settings.read_text()))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.stop()

    def headers(self, **more: str) -> dict[str, str]:
        token = json.loads((self.home / "secrets.json").read_text())["local-token"]
        return {"authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in more.items()}}

    def status(self) -> dict[str, Any]:
        """Return what the bridge says to whoever has its token."""
        found: dict[str, Any] = httpx.get(f"{self.url}/status", headers=self.headers(), trust_env=False).json()
        return found

    def ledger(self) -> list[dict[str, Any]]:
        """Return the lines of the bridge's own ledger, oldest first."""
        files = sorted((self.home / "ledger").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/status", trust_env=False).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def bridge_before(base_url: str, model: str, home: Path) -> Iterator[InstalledBridge]:
    """Run a bridge that serves one model of one server, and looks for no others."""
    bridge = InstalledBridge(home)
    bridge.run("init")
    settings = home / "bridge.toml"
    settings.write_text(settings.read_text().replace("enabled = true", "enabled = false", 1))
    bridge.run("channels", "add", "home", "--kind", "llama_cpp", "--base-url", base_url, "--model", model)
    with bridge.running():
        yield bridge


@contextmanager
def bridge_at(world: World, llama: str, home: Path) -> Iterator[InstalledBridge]:
    """Run a bridge that has found llama.cpp and is connected to the gateway as the world's end user."""
    bridge = InstalledBridge(home)
    bridge.run("init")
    off = "".join(f"{kind} = false\n" for kind in ("ollama", "lm_studio", "vllm"))
    with (home / "bridge.toml").open("a") as settings:
        settings.write(f'\n[discovery.endpoints]\nllama_cpp = "{llama}"\n{off}')
    made = create_bridge(end_user_id=world.end_user_id, name="Laptop", now=now(), actor=ACTOR)
    bridge.run("connect", "--gateway", world.base_url, "--token", made.token)
    with bridge.running():
        yield bridge
