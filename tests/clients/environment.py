"""The environment of programs that are not ours: made once from `requirements.txt` and `package.json`.

It is kept in the user's cache and brings its own Node, so that nothing needs to be on the machine.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REQUIREMENTS, PACKAGE = HERE / "requirements.txt", HERE / "package.json"
INSTALL_SECONDS = 180


def client_environment() -> Path:
    """Return the directory of the clients' environment, installed on first use. Fail in the installer's words."""
    return make_environment("clients", REQUIREMENTS, PACKAGE)


def make_environment(name: str, requirements: Path, package: Path | None = None) -> Path:
    """Return the directory of an environment with these Python (and npm) packages, installed on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelfaucet"
    content = (requirements.read_text(), package and package.read_text(), sys.version, sysconfig.get_platform())
    home = cache / f"{name}-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist make it once
        if not (home / "ready").exists():
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            _install(home, [client_python(home), "-m", "pip", "install", "--quiet", "-r", str(requirements)])
            if package is not None:
                shutil.copy(package, home)
                _install(home, [str(home / "bin" / "npm"), "install", "--silent", "--no-audit", "--no-fund"])
            (home / "ready").touch()
    return home


def client_python(home: Path) -> str:
    return str(home / "bin" / "python")


def _install(home: Path, command: Sequence[str]) -> None:
    environment = {**os.environ, "PATH": f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        run = subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{' '.join(command)} did not end within {INSTALL_SECONDS} s.", pytrace=False)
    if run.returncode:
        pytest.fail(f"The clients cannot be installed: {' '.join(command)}\n{run.stdout}{run.stderr}", pytrace=False)
