"""The environment: what cannot be read or is missing ends the program with one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wiring.test_embedded import ROOT

FERNET = "a" * 43 + "="
PRODUCTION = {
    "DATABASE_URL": "postgres://127.0.0.1/none",
    "SECRET_KEY": "s" * 50,
    "TOKEN_PEPPER": "p" * 32,
    "FIELD_ENCRYPTION_KEYS": FERNET,
}


def read(variables: dict[str, str], show: str = "PROFILE") -> subprocess.CompletedProcess[str]:
    code = f"from modelfaucet import env; print(env.{show})"
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PORT": "eighty"}, "PORT=eighty"),
        ({"PORT": "-1"}, "PORT=-1"),
        ({"DEBUG": "maybe"}, "DEBUG=maybe"),
        ({"HOLD_LEASE": "nan"}, "HOLD_LEASE=nan"),
        ({"PROFILE": "staging"}, "PROFILE=staging"),
        ({"TOKEN_PEPPER": "", "SECRET_KEY": ""}, "SECRET_KEY, TOKEN_PEPPER: not set"),
        ({"FIELD_ENCRYPTION_KEYS": f"{FERNET},short"}, "FIELD_ENCRYPTION_KEYS: takes 32 bytes"),
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": "/does/not/exist"}, "SECRET_KEY_FILE=/does/not/exist"),
    ],
)
def test_problem_is_one_line_without_a_traceback(change: dict[str, str], words: str) -> None:
    variables = {**PRODUCTION, **change}
    if "SECRET_KEY_FILE" in change:
        del variables["SECRET_KEY"]
    run = read(variables)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert words in run.stderr


def test_database_url_makes_it_production_unless_said_otherwise(tmp_path: Path) -> None:
    assert read(PRODUCTION).stdout == "production\n"
    assert read({**PRODUCTION, "PROFILE": "embedded"}).stdout == "embedded\n"
    assert read({"VAR_DIR": str(tmp_path)}).stdout == "embedded\n"


def test_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pepper"
    file.write_text("from a file\n")
    variables = {**PRODUCTION, "TOKEN_PEPPER_FILE": str(file)}
    del variables["TOKEN_PEPPER"]
    assert read(variables, "TOKEN_PEPPER").stdout == "from a file\n"


def test_embedded_profile_keeps_the_secrets_that_it_made(tmp_path: Path) -> None:
    first, again = (read({"VAR_DIR": str(tmp_path)}, "TOKEN_PEPPER").stdout for _ in range(2))
    assert len(first) > 32
    assert first == again
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_nothing_else_reads_the_environment() -> None:
    allowed = {"env.py", "celery.py", "asgi.py", "manage.py"}  # the latter three name the settings module
    readers = [
        str(path.relative_to(ROOT))
        for root in ("apps", "modelfaucet")
        for path in (ROOT / root).rglob("*.py")
        if "os.environ" in path.read_text() and path.name not in allowed
    ]
    # What starts processes hands the environment on; the console shows how a backend reads its own.
    assert sorted(readers) == [
        "apps/console/developer/app_keys.py",
        "modelfaucet/demo/launch.py",
        "modelfaucet/demo/prepare.py",
        "modelfaucet/demo/smoke.py",
        "modelfaucet/embedded_keeper.py",
    ]
