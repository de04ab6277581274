"""The servers that are measured against: how each is installed, configured for its least overhead, and started."""

import contextlib
import filecmp
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import measure

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
VAR = PROJECT / "var" / "bench"
PYTHON = PROJECT / ".venv" / "bin" / "python"  # the project's environment: uvloop for the rig, ModelFaucet itself
PINS = HERE / "peers"


class Unavailable(Exception):
    """A subject cannot run here; the message says what is missing and how to get it."""


@dataclass
class Subject:
    """A server under test that runs: where it listens, what it wants to be told, which processes are its own."""

    name: str
    port: int
    version: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    database_pids: Callable[[], list[int]] = list
    stop: Callable[[], None] = lambda: None

    def pids(self) -> list[int]:
        return measure.tree([self.process.pid]) if self.process else []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run an installation step; its output is shown only when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.stderr.buffer.write(done.stdout[-4000:])
        raise Unavailable(f"{' '.join(str(part) for part in command[:4])} … failed")


def spawn(
    name: str, command: list[str | Path], *, core: int, env: dict[str, str | None] | None = None
) -> subprocess.Popen:
    """Start `command` on `core`, in a process group of its own, with its output in var/bench/logs.

    `env` changes the environment; None takes a variable away.
    """
    logs = VAR / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # a child is born with its parent's cores
    try:
        with (logs / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in {**os.environ, **(env or {})}.items() if value is not None},
                cwd=VAR,
                start_new_session=True,
            )
    finally:
        os.sched_setaffinity(0, before)


def end(process: subprocess.Popen) -> None:
    """Ask the group of `process` to end, and make it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 15)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def wait_for(name: str, port: int, process: subprocess.Popen, *, seconds: float) -> None:
    """Return when something listens on `port`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Unavailable(f"{name} ended at its start; see {VAR / 'logs' / name}.log")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise Unavailable(f"{name} did not listen within {seconds:.0f} s; see {VAR / 'logs' / name}.log")


@contextlib.contextmanager
def running(subject: Subject) -> Iterator[Subject]:
    try:
        yield subject
    finally:
        if subject.process:
            end(subject.process)
        subject.stop()


def start_upstream(core: int) -> Subject:
    """Start the fake provider."""
    port = free_port()
    process = spawn("upstream", [PYTHON, HERE / "upstream.py", str(port)], core=core)
    wait_for("upstream", port, process, seconds=10)
    return Subject("direct", port, process=process)


def start_direct(upstream: int, core: int) -> Subject:
    """Nothing in between: what the rig itself costs and can do."""
    return Subject("direct", upstream, version="")


def start_nginx(upstream: int, core: int) -> Subject:
    nginx = shutil.which("nginx")
    if not nginx:
        raise Unavailable("nginx is not installed: apt-get install nginx-light")
    port, directory = free_port(), VAR / "nginx"
    directory.mkdir(parents=True, exist_ok=True)
    configuration = (PINS / "nginx.conf").read_text().format(directory=directory, port=port, upstream=upstream)
    (directory / "nginx.conf").write_text(configuration)
    version = subprocess.run([nginx, "-v"], stderr=subprocess.PIPE, text=True).stderr.strip().rpartition("/")[2]
    process = spawn("nginx", [nginx, "-p", directory, "-c", directory / "nginx.conf"], core=core)
    wait_for("nginx", port, process, seconds=10)
    return Subject("nginx", port, version, process=process)


def install_litellm() -> Path:
    """Install LiteLLM's proxy into its own environment, unless the pinned versions are there."""
    home = VAR / "litellm"
    stamp, pins = home / "installed.txt", PINS / "litellm.txt"
    if not (stamp.exists() and filecmp.cmp(stamp, pins, shallow=False)):
        print("installing LiteLLM …", file=sys.stderr, flush=True)
        run(sys.executable, "-m", "venv", "--clear", home)
        run(home / "bin" / "pip", "install", "--quiet", "--no-deps", "-r", pins)
        shutil.copy(pins, stamp)
    return home


def start_litellm(upstream: int, core: int) -> Subject:
    home, port = install_litellm(), free_port()
    configuration = VAR / "litellm.yaml"
    configuration.write_text((PINS / "litellm.yaml").read_text().format(upstream=upstream))
    env = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it downloads its prices at the start
        "LITELLM_TELEMETRY": "False",
        "NO_DOCS": "True",
        "DATABASE_URL": None,
        "REDIS_URL": None,
    }
    command = [home / "bin" / "litellm", "--config", configuration, "--host", "127.0.0.1", "--port", str(port)]
    process = spawn("litellm", [*command, "--num_workers", "1"], core=core, env=env)
    wait_for("litellm", port, process, seconds=120)
    version = next(line for line in (PINS / "litellm.txt").read_text().splitlines() if line.startswith("litellm=="))
    return Subject("litellm", port, version.partition("==")[2], process=process)


def install_portkey() -> Path:
    """Install Portkey's gateway into its own directory, unless the pinned versions are there."""
    home = VAR / "portkey"
    stamp, lock = home / "installed.json", PINS / "package-lock.json"
    if not (stamp.exists() and filecmp.cmp(stamp, lock, shallow=False)):
        npm = shutil.which("npm")
        if not npm or not shutil.which("node"):
            raise Unavailable("Portkey's gateway needs Node 20 with npm")
        print("installing Portkey …", file=sys.stderr, flush=True)
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PINS / name, home / name)
        run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=home)
        shutil.copy(lock, stamp)
    return home


def start_portkey(upstream: int, core: int) -> Subject:
    home, port = install_portkey(), free_port()
    script = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    command = ["node", script, f"--port={port}", "--headless"]  # without its console, which logs every call
    process = spawn("portkey", command, core=core, env={"NODE_ENV": "production"})
    wait_for("portkey", port, process, seconds=30)
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1"}
    version = json.loads((PINS / "package.json").read_text())["dependencies"]["@portkey-ai/gateway"]
    return Subject("portkey", port, version, headers=headers, process=process)


def upstream_stats(port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=5) as answer:
        return dict(json.load(answer))
