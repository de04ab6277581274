"""ModelFaucet under test: production profile, one worker, a database of its own, full accounting."""

import base64
import contextlib
import functools
import json
import os
import secrets
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from subjects import PROJECT, PYTHON, VAR, Subject, Unavailable, free_port, spawn, wait_for

DATABASE = "mf_bench"
LOCAL = "postgres://postgres@127.0.0.1:5432/postgres"
HERE = Path(__file__).resolve().parent

_used = {"database": ""}


@cache
def server_url() -> str:
    """Return the URL of the PostgreSQL to use: BENCH_DATABASE_URL, else the local one, else the project's own."""
    import psycopg  # here: run.py imports this module before it is in the project's environment

    given = os.environ.get("BENCH_DATABASE_URL")
    for url, words in ((given, "BENCH_DATABASE_URL"), (None if given else LOCAL, "the local server")):
        if url:
            try:
                psycopg.connect(url, connect_timeout=5).close()
            except psycopg.OperationalError as problem:
                if given:
                    raise Unavailable(f"BENCH_DATABASE_URL cannot be reached: {problem}") from problem
            else:
                _used["database"] = words
                return url
    from modelfaucet import embedded

    _used["database"] = "the embedded one"
    return embedded.database_url(VAR)


def database_url() -> str:
    return urlunsplit(urlsplit(server_url())._replace(path=f"/{DATABASE}"))


def described() -> str:
    """Say which PostgreSQL was used, its version and settings that matter; nothing when none was."""
    if not _used["database"]:
        return ""
    import psycopg

    with psycopg.connect(server_url()) as connection:
        settings = [
            connection.execute(f"SHOW {name}").fetchone()[0]
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        ]
    version, fsync, commit, buffers = settings
    return (
        f"PostgreSQL {version.split()[0]} ({_used['database']}), fsync {fsync}, synchronous_commit {commit}, "
        f"shared_buffers {buffers}"
    )


def create_database() -> None:
    import psycopg

    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")


def database_pids(core: int) -> list[int]:
    """Return the processes of PostgreSQL that work for our database: its backends and what all databases share.

    The backends are put on `core`, where that is allowed, so that the server under test keeps its own.
    """
    import psycopg

    with psycopg.connect(server_url()) as connection:
        own = connection.info.backend_pid
        backends = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [DATABASE]).fetchall()
        shared = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname IS NULL").fetchall()
    pids = [pid for (pid,) in [*backends, *shared] if pid != own]
    # A server on another host, or in another container, has no process here.
    here = [pid for pid in pids if _name(pid).startswith("postgres")]
    for (pid,) in backends:
        if pid in here and pid != own:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(pid, {core})
    return here


def _rig_core() -> int:
    return min(os.sched_getaffinity(0))  # run.py has left the server's core


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def environment(upstream: int) -> dict[str, str | None]:
    """Return the environment of the production profile, with secrets that this machine keeps."""
    keep = VAR / "faucet-secrets.json"
    if not keep.exists():
        keep.touch(mode=0o600)
        made = {name: secrets.token_urlsafe(50) for name in ("SECRET_KEY", "TOKEN_PEPPER")}
        made["FIELD_ENCRYPTION_KEYS"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        keep.write_text(json.dumps(made))
    return {
        **json.loads(keep.read_text()),
        "PROFILE": "production",
        "DATABASE_URL": database_url(),
        "REDIS_URL": os.environ.get("BENCH_REDIS_URL"),
        "VAR_DIR": str(VAR / "faucet"),
        "OUTBOUND_PRIVATE_ENDPOINTS": f"127.0.0.1:{upstream}",
        "PYTHONPATH": str(PROJECT),
        "DJANGO_SETTINGS_MODULE": "modelfaucet.settings",
    }


def run(upstream: int, *command: str | int | Path) -> str:
    """Run a command in that environment and return what it printed."""
    wanted = {**os.environ, **environment(upstream)}
    env = {name: value for name, value in wanted.items() if value is not None}
    done = subprocess.run([str(part) for part in command], env=env, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Unavailable(f"{' '.join(str(part) for part in command)} failed:\n{done.stdout[-2000:]}")
    return done.stdout


def start(upstream: int, core: int) -> Subject:
    """Make the database anew, fund an end user, and start the server on `core`."""
    create_database()
    run(upstream, PYTHON, PROJECT / "manage.py", "migrate", "--verbosity", "0", "--no-input")
    seeded = json.loads(run(upstream, PYTHON, HERE / "seed.py", f"http://127.0.0.1:{upstream}/v1").splitlines()[-1])
    return serve(upstream, core, token=seeded["session_token"])


def serve(upstream: int, core: int, *, token: str, env: dict[str, str | None] | None = None) -> Subject:
    """Start the server on the database as it is; `env` changes its settings."""
    port = free_port()
    command: list[str | Path] = [PYTHON, "-m", "modelfaucet.serve", "127.0.0.1", str(port)]  # as the image does
    process = spawn("modelfaucet", command, core=core, env={**environment(upstream), **(env or {})})
    wait_for("modelfaucet", port, process, seconds=60)
    headers = {"authorization": f"Bearer {token}"}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    return Subject(
        "modelfaucet",
        port,
        commit,
        headers=headers,
        process=process,
        database_pids=functools.partial(database_pids, _rig_core()),
    )
