"""The supervisor: it names what died, and nothing outlives it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from modelfaucet.demo.supervisor import ChildEnded, StopRequested, Supervisor, stop_signals
from tests.wiring.test_embedded import ROOT, eventually

MODULES = {
    "sleeps": "import time; print('ready'); time.sleep(300)",
    "fails": "print('first'); print('last words'); raise SystemExit(3)",
    "stubborn": "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(300)",
    "supervises": """
        import os, sys, time
        from pathlib import Path
        from modelfaucet.demo.supervisor import Supervisor
        directory = Path(sys.argv[1])
        with Supervisor(directory=directory, logs=directory, environment=os.environ) as supervisor:
            child = supervisor.start("sleeps", "sleeps")
            supervisor.wait_until(lambda: "ready" in child.output(), what="start", seconds=20)
            print(child.process.pid, flush=True)
            time.sleep(300)
    """,
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}


@pytest.fixture
def supervisor(tmp_path: Path, environment: dict[str, str]) -> Supervisor:
    return Supervisor(directory=tmp_path, logs=tmp_path / "log", environment=environment)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_child_that_fails_is_named_with_its_last_words(supervisor: Supervisor) -> None:
    with supervisor, pytest.raises(ChildEnded, match=r"worker ended with status 3(?s:.*)last words"):
        supervisor.start("worker", "fails")
        supervisor.watch(lambda: None)


def test_log_of_an_earlier_run_is_not_shown(supervisor: Supervisor) -> None:
    with supervisor:
        supervisor.run("once", "this")
        child = supervisor.start("once", "sleeps")
        supervisor.wait_until(lambda: "ready" in child.output(), what="start", seconds=20)
        assert "Zen" not in child.output()


def test_children_end_with_the_supervisor(supervisor: Supervisor) -> None:
    with supervisor:
        child = supervisor.start("sleeps", "sleeps")
        pid = child.process.pid
        assert alive(pid)
    assert not alive(pid)


def test_child_that_ignores_sigterm_is_killed(supervisor: Supervisor) -> None:
    with supervisor:
        child = supervisor.start("stubborn", "stubborn", patience=0.2)
        supervisor.wait_until(lambda: "ready" in child.output(), what="start", seconds=20)
    assert child.process.returncode == -signal.SIGKILL


def test_child_ends_when_its_supervisor_is_killed(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "supervises", str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    assert eventually(lambda: not alive(pid))


def test_first_signal_asks_to_stop_and_the_second_is_ignored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StopRequested, match="SIGHUP"), stop_signals():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
