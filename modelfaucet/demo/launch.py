"""The demo from the first process to the last: what `manage.py quickstart` does."""

import fcntl
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelfaucet import embedded, env
from modelfaucet.demo.supervisor import Child, StopRequested, Supervisor, stop_signals

READY_SECONDS = 90
READY_LINE = "Ctrl-C stops everything."
HEALTH_PATH = "/healthz"


class CannotLaunch(Exception):
    """Why the demo cannot be started here, in a sentence that says what to do."""


def launch(*, host: str, port: int, say: Callable[[str], object]) -> None:
    """Run the demo until a signal ends it. Raise CannotLaunch, ChildEnded or TimeoutError."""
    with stop_signals(), only_one(env.VAR_DIR) as lock, listen(host, port) as listening:
        url = base_url(listening)
        lock.write_text(f"{url} (process {os.getpid()})")
        try:
            environment = child_environment(listening, url)
            with Supervisor(directory=env.BASE_DIR, logs=env.VAR_DIR / "log", environment=environment) as supervisor:
                _start_all(supervisor, listening, url, say=say)
                say(summary(json.loads((env.VAR_DIR / "demo.json").read_text()), url))
                supervisor.watch(_database_lives)
        except StopRequested:
            say("\nStopped.")


def _start_all(supervisor: Supervisor, listening: socket.socket, url: str, *, say: Callable[[str], object]) -> None:
    if not env.OPENAI_API_KEY:
        say("Starting the demo provider …")
        provider = supervisor.start(
            "provider", "modelfaucet.demo.provider", "--port", str(env.DEMO_PROVIDER_PORT), patience=5
        )
        supervisor.wait_until(lambda: "\n" in provider.output(), what="The demo provider's start", seconds=30)
        _let_providers_be_reached(supervisor.environment, _announced_port(provider))
    say("Preparing the database …")
    supervisor.run("prepare", "modelfaucet.demo.prepare")
    say("Starting the server …")
    supervisor.start("sweep", "django", "sweep", patience=20)
    for number in range(1, env.WEB_PROCESSES + 1):
        fd = listening.fileno()
        supervisor.start(f"web-{number}", "modelfaucet.demo.web", "--fd", str(fd), pass_fds=[fd], patience=15)
    supervisor.wait_until(lambda: answers(url + HEALTH_PATH), what="The server's start", seconds=READY_SECONDS)


def child_environment(listening: socket.socket, url: str) -> dict[str, str]:
    """Return the environment of the demo's processes: this one's, with what has been decided here."""
    host, port = listening.getsockname()[:2]
    decided = {"HOST": host, "PORT": str(port), "PUBLIC_BASE_URL": url}
    fixed = {"PROFILE": env.PROFILE, "VAR_DIR": str(env.VAR_DIR), "DJANGO_SETTINGS_MODULE": "modelfaucet.settings"}
    return {**os.environ, **decided, **fixed}


def _let_providers_be_reached(environment: dict[str, str], port: int) -> None:
    allowed = [*env.OUTBOUND_PRIVATE_ENDPOINTS, f"127.0.0.1:{port}"]
    environment["OUTBOUND_PRIVATE_ENDPOINTS"] = ",".join(allowed)
    environment["DEMO_PROVIDER_PORT"] = str(port)


def _announced_port(provider: Child) -> int:
    port: int = json.loads(provider.output().splitlines()[0])["port"]
    return port


def _database_lives() -> None:
    if not env.DATABASE_URL and not embedded.is_kept(env.VAR_DIR):
        raise CannotLaunch(f"The embedded PostgreSQL ended. Its log is {env.VAR_DIR / 'postgres.log'}.")


@contextmanager
def only_one(var_dir: Path) -> Iterator[Path]:
    """Refuse a second demo on the same data. Raise CannotLaunch."""
    var_dir.mkdir(parents=True, exist_ok=True)
    path = var_dir / "quickstart.lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            who = file.read().strip() or "another process"
            raise CannotLaunch(
                f"A demo already runs on the data in {var_dir}: {who}. Stop it first, or set VAR_DIR to another place."
            ) from error
        file.truncate(0)
        try:
            yield path
        finally:
            file.truncate(0)


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on the address before anything is started, so that a taken port is known at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotLaunch(f"HOST={host} is no address of this machine: {error.strerror}.") from error
    with listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(2048)
        except OSError as error:
            raise CannotLaunch(
                f"Cannot listen on {host} port {port}: {error.strerror}. Choose another port: make demo PORT={port + 1}"
            ) from error
        yield listening


def base_url(listening: socket.socket) -> str:
    """Return the address under which this machine reaches the server."""
    if env.PUBLIC_BASE_URL:
        return env.PUBLIC_BASE_URL.rstrip("/")
    host, port = listening.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (listened on because HOST says so)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def answers(url: str) -> bool:
    """Tell whether `url` answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  (our own address)
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def summary(demo: dict[str, Any], url: str) -> str:
    """Return what to open and a call that works."""
    body = json.dumps({"model": demo["model"], "messages": [{"role": "user", "content": "Say hello"}]})
    return f"""
ModelFaucet is running.

  Demo    {url}/
  Admin   {demo["admin_url"]}   {demo["admin_user"]} / {demo["admin_password"]}
  API     {demo["base_url"]}   (keys and tokens: {env.VAR_DIR / "demo.json"})

A call that works, metered and paid by the demo developer's prepaid credit:

  curl {demo["base_url"]}/chat/completions \\
    -H 'Authorization: Bearer {demo["virtual_key"]}' \\
    -H 'Content-Type: application/json' \\
    -d '{body}'

{READY_LINE}"""
