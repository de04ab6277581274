"""Processes of ours that a test starts, kills and starts again: servers, sweepers, Celery workers, commands."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

ROOT = Path(__file__).parents[2]
START_SECONDS = 40


class Child:
    """One process and the file its output goes to. A crash that the test did not ask for shows the file's end."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as output:
            self.log_start = output.tell()
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def output(self) -> str:
        """Return what this process has written, without that of an earlier one of its name."""
        with self.log.open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End the process and what it started by SIGKILL: nothing of ours runs after this."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)

    def terminate(self) -> None:
        """Ask the process to end, without waiting for it."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 60) -> int:
        """Return the exit status."""
        return self.process.wait(seconds)

    def wait_until_it_says(self, text: str, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output():
            assert self.running(), f"{self.name} ended: {self.output()[-3000:]}"
            assert time.monotonic() < deadline, f"{self.name} does not say {text!r}: {self.output()[-3000:]}"
            time.sleep(0.05)


class WebServer(Child):
    """`python -m uvicorn modelfaucet.asgi:application` on a port of its own, which it keeps when started again."""

    def __init__(self, name: str, port: int, environment: Mapping[str, str], directory: Path) -> None:
        command = [sys.executable, "-m", "uvicorn", "modelfaucet.asgi:application", "--port", str(port)]
        command += ["--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "20"]
        super().__init__(name, command, environment, directory)
        self.base_url = f"http://127.0.0.1:{port}"

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.running(), f"{self.name} ended: {self.output()[-3000:]}"
            try:
                httpx.get(f"{self.base_url}/v1/models", timeout=5)
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline, f"{self.name} does not answer: {self.output()[-3000:]}"
                time.sleep(0.05)


class House:
    """Processes over one database, known by their environment. Everything is ended with the context."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self.environment = dict(environment)
        self.directory = directory
        self.children: list[Child] = []

    def __enter__(self) -> "House":
        self.directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()

    def server(self, name: str = "server", *, port: int = 0, wait: bool = True) -> WebServer:
        """Start a web process and return once it answers."""
        server = WebServer(name, port or free_port(), self.environment, self.directory)
        self.children.append(server)
        if wait:
            server.wait_until_ready()
        return server

    def sweeper(self, name: str = "sweeper") -> Child:
        """Start `manage.py sweep`: it rates, and resolves the holds of the dead."""
        return self.start(name, "manage.py", "sweep")

    def start(self, name: str, *arguments: str) -> Child:
        """Start `python arguments…`."""
        child = Child(name, [sys.executable, *arguments], self.environment, self.directory)
        self.children.append(child)
        return child

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command to its end."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=90, check=False
        )

    def verify_ledger(self) -> str:
        """Run `manage.py verify_ledger`, expect that it exits 0, and return what it says."""
        run = self.manage("verify_ledger")
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds, over a connection of its own, once PostgreSQL has recovered."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                connection = psycopg.connect(self.environment["DATABASE_URL"], autocommit=True)
                break
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        with connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *parameters: Any) -> Any:
        return self.rows(query, *parameters)[0][0]

    def wait_until_rated(self, seconds: float = 30) -> None:
        """Return once no event waits for rating and no hold is open."""
        waiting = (
            "SELECT (SELECT count(*) FROM usage_events WHERE rated_at IS NULL)"
            " + (SELECT count(*) FROM holds WHERE state = 'open')"
        )
        deadline = time.monotonic() + seconds
        while left := self.value(waiting):
            assert time.monotonic() < deadline, f"{left} events or holds are left: {self.open_rows()}"
            time.sleep(0.1)

    def open_rows(self) -> str:
        events = self.rows("SELECT request_id, outcome, rating_error FROM usage_events WHERE rated_at IS NULL LIMIT 5")
        holds = self.rows("SELECT request_id, stage, expires_at - now() FROM holds WHERE state = 'open' LIMIT 5")
        return f"events {events}, holds {holds}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def seed(environment: Mapping[str, str], *arguments: str) -> Any:
    """Make a world over another database than pytest's, in a process of its own, and return what it prints."""
    command = [sys.executable, "-m", "tests.crash.seed", *arguments]
    run = subprocess.run(
        command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, timeout=60, check=False
    )
    if run.returncode:
        pytest.fail(run.stdout + run.stderr, pytrace=False)
    return json.loads(run.stdout.splitlines()[-1])
