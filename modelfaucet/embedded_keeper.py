"""Run the embedded PostgreSQL until nobody uses it: started by `embedded.py` as a process of its own.

Standard library only, and run as a file, so that it starts in a few hundredths of a second.
Arguments: VAR_DIR SOCKET_DIR BIN_DIR ANSWER_FD [--disposable]. It writes "ready", or what went wrong,
to ANSWER_FD and closes it.
"""

import ctypes
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

# What is left of a killed server's processes takes a moment to notice, and no new one starts until then.
START_AGAIN_SECONDS = 10
RECOVERY_SECONDS = 600
STOP_SECONDS = 30
# Two test processes, and the servers of two processes each that they start, may work on it at a time.
DISPOSABLE = (
    *("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=300"),
)
ACCOUNT = "pgserver"
PR_SET_PDEATHSIG = 1


class Keeper:
    """One PostgreSQL server and the directory it lives in."""

    def __init__(self, var_dir: Path, socket_dir: Path, bin_dir: Path, *, disposable: bool) -> None:
        self.var_dir = var_dir
        self.data = var_dir / "postgres"
        self.socket_dir = socket_dir
        self.bin_dir = bin_dir
        self.disposable = disposable
        self.account: dict[str, Any] = {}
        self.server: subprocess.Popen[bytes] | None = None
        self.stopping = False

    def start(self) -> None:
        """Start the server and return when it answers. Raise RuntimeError, CalledProcessError or OSError."""
        self.data.mkdir(exist_ok=True)
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            self._use_account()
        self.data.chmod(0o700)
        if not (self.data / "PG_VERSION").exists():
            self._make_cluster()
        self._end_leftover()
        deadline = time.monotonic() + START_AGAIN_SECONDS
        while not self._started():
            if time.monotonic() > deadline:
                raise RuntimeError("it ended while starting")
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop the server: roll back what is open, write a checkpoint, end. Kill it if that takes too long."""
        self.stopping = True
        server = self.server
        if server is None or server.poll() is not None:
            return
        for number, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            server.send_signal(number)
            try:
                server.wait(patience)
                return
            except subprocess.TimeoutExpired:
                continue

    def delete(self) -> None:
        """Delete the whole directory of a disposable server."""
        shutil.rmtree(self.var_dir, ignore_errors=True)
        if self.socket_dir != self.data:
            shutil.rmtree(self.socket_dir, ignore_errors=True)

    def _started(self) -> bool:
        settings = [f'unix_socket_directories="{self.socket_dir}"', "unix_socket_permissions=0700"]
        settings += ["listen_addresses=", *(DISPOSABLE if self.disposable else ())]
        command: list[str | Path] = [self.bin_dir / "postgres", "-D", self.data]
        for setting in settings:
            command += ["-c", setting]
        server = subprocess.Popen(command, env=_environment(), preexec_fn=_end_with_parent, **self.account)
        self.server = server
        deadline = time.monotonic() + RECOVERY_SECONDS
        while server.poll() is None:
            try:
                lines = (self.data / "postmaster.pid").read_text().splitlines()
            except OSError:
                lines = []
            if len(lines) >= 8 and lines[0].strip() == str(server.pid) and lines[7].strip() == "ready":
                return True
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"it was not ready after {RECOVERY_SECONDS} s")
            time.sleep(0.02)
        return False

    def _make_cluster(self) -> None:
        """Make the data directory aside and move it into place whole, so that none is ever half made."""
        draft = self.data.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self.account:
            os.chown(draft, self.account["user"], self.account["group"])
        command: list[str | Path] = [
            self.bin_dir / "initdb",
            "-D",
            draft,
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
        ]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        subprocess.run(command + ["--no-sync"] * self.disposable, env=_environment(), check=True, **self.account)
        self.data.rmdir()
        draft.rename(self.data)

    def _end_leftover(self) -> None:
        """End a server whose keeper was killed, and forget one whose process id now belongs to another program."""
        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if str(self.data) in _command_line(pid):
            pg_ctl = str(self.bin_dir / "pg_ctl")
            command = [pg_ctl, "-D", str(self.data), "-m", "fast", "-t", str(STOP_SECONDS), "stop"]
            subprocess.run(command, env=_environment(), check=False, **self.account)
        else:
            file.unlink(missing_ok=True)

    def _use_account(self) -> None:
        """Give the data to an account that is not root, and let that account reach data and programs."""
        owner = self.data.stat()
        if owner.st_uid == 0:
            entry = _account()
            uid, gid = entry.pw_uid, entry.pw_gid
            for path in {self.data, self.socket_dir}:
                os.chown(path, uid, gid)
        else:
            uid, gid = owner.st_uid, owner.st_gid
        self.account = {"user": uid, "group": gid, "extra_groups": []}
        for path in {*self.data.parents, *self.bin_dir.parents}:
            _allow(path, stat.S_IXOTH)
        home = self.bin_dir.parent
        if not (self.bin_dir / "postgres").stat().st_mode & stat.S_IROTH:  # installed under a strict umask
            for path in (home, *home.rglob("*")):
                executable = path.is_dir() or path.parent == self.bin_dir
                _allow(path, stat.S_IROTH | (stat.S_IXOTH if executable else 0))


def _allow(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)


def _account() -> pwd.struct_passwd:
    for name in (ACCOUNT, "postgres"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    try:
        subprocess.run(["useradd", "--system", "--no-create-home", ACCOUNT], check=True)
        return pwd.getpwnam(ACCOUNT)
    except (OSError, subprocess.CalledProcessError, KeyError):
        return pwd.getpwnam("nobody")


def _environment() -> dict[str, str]:
    """Return the environment without what would change how the server starts (PGPORT, broken locales)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        pass
    try:
        ps = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ps.stdout


def _end_with_parent() -> None:
    """Have the server shut down when the keeper is killed. Linux only: elsewhere the next keeper ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def run(var_dir: Path, socket_dir: Path, bin_dir: Path, answer: int, *, disposable: bool) -> int:
    """Keep the server until its last user is gone. Return the status to exit with."""
    keeper_lock = (var_dir / "postgres.keeper").open("a")
    fcntl.flock(keeper_lock, fcntl.LOCK_EX)
    keeper = Keeper(var_dir, socket_dir, bin_dir, disposable=disposable)

    def stop(number: int, frame: FrameType | None) -> None:
        keeper.stop()

    try:
        keeper.start()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        os.write(answer, str(error).encode())
        return 1
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    os.write(answer, b"ready")
    os.close(answer)

    users = (var_dir / "postgres.users").open("a")

    def stop_when_unused() -> None:
        fcntl.flock(users, fcntl.LOCK_EX)  # held until this process ends, so that a new user waits for it
        keeper.stop()

    threading.Thread(target=stop_when_unused, daemon=True).start()
    assert keeper.server is not None
    status = keeper.server.wait()
    if not keeper.stopping:
        print(f"PostgreSQL ended unexpectedly with status {status}", flush=True)  # noqa: T201  (this is its log)
        return 1
    if disposable:
        keeper.delete()
    return 0


def main() -> NoReturn:
    var_dir, socket_dir, bin_dir = map(Path, sys.argv[1:4])
    if os.fork():  # leave the process that started this: it need not wait, and its terminal's signals do not matter
        os._exit(0)
    os.setsid()
    os._exit(run(var_dir, socket_dir, bin_dir, int(sys.argv[4]), disposable="--disposable" in sys.argv))


if __name__ == "__main__":
    main()
