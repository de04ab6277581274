"""The script behind `make`: it must run on any Python 3, and say clearly what stands in the way."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelfaucet import bootstrap
from tests.test_house import imports
from tests.wiring.test_embedded import ROOT

SCRIPT = ROOT / "modelfaucet" / "bootstrap.py"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project with empty locks, whose .venv is made in a directory of its own."""
    for lock in (bootstrap.BASE, bootstrap.DEV):
        (tmp_path / lock).write_text("# nothing is required\n")
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    for name in ("VENV", "PYTHON", "STAMP"):
        monkeypatch.setattr(bootstrap, name, getattr(bootstrap, name).replace(str(ROOT), str(tmp_path)))
    return tmp_path


@pytest.fixture
def quick_venv(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an environment that is there and empty; a real one takes seconds."""

    def make() -> None:
        Path(bootstrap.PYTHON).parent.mkdir(parents=True, exist_ok=True)
        Path(bootstrap.PYTHON).touch()

    monkeypatch.setattr(bootstrap, "make_venv", make)


def test_script_parses_for_python_3_6_and_needs_the_standard_library_only() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 6))
    assert {module.split(".")[0] for module, _ in imports(tree)} <= sys.stdlib_module_names
    assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(tree))


def test_python_that_is_too_old_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 6))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    with pytest.raises(bootstrap.BootstrapProblem, match=r"Python 3\.11 or newer, and this is 3\.9"):
        bootstrap.switch_to_new_enough_python()


@pytest.mark.usefixtures("quick_venv")
def test_second_run_does_nothing_and_a_changed_lock_is_installed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[str] = []
    monkeypatch.setattr(bootstrap, "install", installed.append)
    bootstrap.bootstrap(dev=False)
    bootstrap.bootstrap(dev=False)
    assert installed == [bootstrap.BASE]
    bootstrap.bootstrap(dev=True)
    bootstrap.bootstrap(dev=False)  # the dev lock serves for both
    assert installed == [bootstrap.BASE, bootstrap.DEV]
    (project / bootstrap.BASE).write_text("# changed\n")
    bootstrap.bootstrap(dev=False)
    assert installed == [bootstrap.BASE, bootstrap.DEV, bootstrap.BASE]


@pytest.mark.usefixtures("quick_venv")
def test_interrupted_installation_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(lock: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "install", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.bootstrap(dev=False)
    assert bootstrap.installed() == {}
    monkeypatch.setattr(bootstrap, "install", lambda lock: None)
    bootstrap.bootstrap(dev=False)
    assert bootstrap.BASE in bootstrap.installed()


def test_directory_that_is_no_environment_is_left_alone(project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "thesis.txt").write_text("do not delete")
    with pytest.raises(bootstrap.BootstrapProblem, match="not a virtual environment"):
        bootstrap.bootstrap(dev=False)
    assert (project / ".venv" / "thesis.txt").exists()


def test_python_without_venv_is_told_which_package_brings_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, stdout="The virtual environment was not created: ensurepip is missing")
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(bootstrap.BootstrapProblem, match="apt install"):
        bootstrap.bootstrap(dev=False)


def test_pip_that_cannot_install_ends_in_a_sentence(project: Path) -> None:
    (project / bootstrap.BASE).write_text("no-such-package==1.0 --hash=sha256:" + "0" * 64 + "\n")
    command = [sys.executable, "-c", "from modelfaucet import bootstrap as b, bootstrap; import sys\n"]
    command[-1] += f"b.ROOT = {str(project)!r}\n"
    for name in ("VENV", "PYTHON", "STAMP"):
        command[-1] += f"b.{name} = {getattr(bootstrap, name)!r}\n"
    command[-1] += "sys.argv = ['bootstrap']; b.main()"
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("pip could not install requirements.lock")
    assert "Traceback" not in run.stderr
