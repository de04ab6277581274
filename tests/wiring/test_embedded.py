"""The embedded PostgreSQL: shared by its users, gone with the last one, however that one ended."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from modelfaucet import embedded

ROOT = Path(__file__).parents[2]
USER = """
import sys
from pathlib import Path
from modelfaucet import embedded
print(embedded.database_url(Path(sys.argv[1]), disposable=sys.argv[2] == "disposable"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def var_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mf-embedded-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


class User:
    """A process that uses the server until its standard input is closed or it is killed."""

    def __init__(self, var_dir: Path, kind: str = "disposable") -> None:
        command = [sys.executable, "-c", USER, str(var_dir), kind]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def url(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate("")


def eventually(holds: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def test_server_serves_until_its_last_user_is_killed(var_dir: Path) -> None:
    first, second = User(var_dir), User(var_dir)
    assert first.url() == second.url() != ""
    first.end(kill=True)
    assert embedded.is_kept(var_dir)
    second.end(kill=True)
    assert eventually(lambda: not embedded.is_kept(var_dir))


def test_data_outlives_a_killed_server(var_dir: Path) -> None:
    user = User(var_dir, "durable")
    url = user.url()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1")
    os.kill(int((var_dir / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    assert eventually(lambda: not embedded.is_kept(var_dir))
    again = User(var_dir, "durable")
    assert count(again.url()) == 1
    again.end()
    user.end()
    assert eventually(lambda: not embedded.is_kept(var_dir))


def test_disposable_data_is_deleted(var_dir: Path) -> None:
    directory = var_dir / "server"
    user = User(directory)
    assert user.url()
    user.end()
    assert eventually(lambda: not directory.exists())


def test_start_with_a_process_id_that_belongs_to_another_program(var_dir: Path) -> None:
    user = User(var_dir, "durable")
    assert user.url()
    user.end()
    assert eventually(lambda: not embedded.is_kept(var_dir))
    (var_dir / "postgres" / "postmaster.pid").write_text(
        f"{os.getpid()}\n{var_dir}/postgres\n1\n5432\n/x\n\n1 1\nready\n"
    )
    user = User(var_dir, "durable")
    assert user.url()
    user.end()


def test_socket_of_a_long_path_lies_elsewhere(var_dir: Path) -> None:
    directory = var_dir / ("long" * 25) / 'with "odd", names'
    user = User(directory)
    with psycopg.connect(user.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    user.end()
    assert eventually(lambda: not directory.exists())
