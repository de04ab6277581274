"""The demo, whole: real processes, a PostgreSQL of its own, a free port."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelfaucet import embedded
from modelfaucet.demo.launch import READY_LINE
from modelfaucet.demo.smoke import EXPECTED
from tests.wiring.test_embedded import ROOT, eventually

COMMAND = [sys.executable, "manage.py", "quickstart", "--port", "0"]


class Demo:
    """A running quickstart on data of its own."""

    def __init__(self, var_dir: Path) -> None:
        self.var_dir = var_dir
        self.environment = {**os.environ, "VAR_DIR": str(var_dir), "PROFILE": "embedded", "PUBLIC_BASE_URL": ""}
        del self.environment["DATABASE_URL"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            COMMAND, cwd=ROOT, env=self.environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if READY_LINE in line:
                break
        else:
            pytest.fail("the demo did not start:\n" + "".join(lines))
        self.facts = json.loads((var_dir / "demo.json").read_text())

    def is_gone(self) -> bool:
        """Tell whether nothing listens and the database has stopped."""
        try:
            httpx.get(self.facts["base_url"], timeout=1, trust_env=False)
        except httpx.ConnectError:
            return not embedded.is_kept(self.var_dir)
        except httpx.HTTPError:
            pass
        return False


@pytest.fixture(scope="module")
def var_dir() -> Iterator[Path]:
    """Give one directory to all: a demo starts on what one that was killed has left."""
    with tempfile.TemporaryDirectory(prefix="mf-demo-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def demo(var_dir: Path) -> Iterator[Demo]:
    demo = Demo(var_dir)
    yield demo
    demo.process.terminate()
    demo.process.communicate()


def test_demo_answers_refuses_a_twin_and_ends_on_a_signal(demo: Demo) -> None:
    assert demo.facts.keys() >= EXPECTED
    assert (demo.var_dir / "demo.json").stat().st_mode & 0o777 == 0o600
    answer = httpx.post(
        f"{demo.facts['base_url']}/chat/completions",
        headers={"authorization": f"Bearer {demo.facts['virtual_key']}"},
        json={"model": demo.facts["model"], "messages": [{"role": "user", "content": "Say hello"}]},
        trust_env=False,
    )
    assert answer.json()["choices"][0]["message"]["content"]
    twin = subprocess.run(COMMAND, cwd=ROOT, env=demo.environment, capture_output=True, text=True, check=False)
    assert twin.returncode == 1
    assert "A demo already runs" in twin.stderr
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(60) == 0
    assert eventually(demo.is_gone)


def test_demo_that_is_killed_leaves_nothing_behind(demo: Demo) -> None:
    demo.process.kill()
    assert eventually(demo.is_gone, 30)


def test_demo_ends_and_says_so_when_its_database_is_killed(demo: Demo) -> None:
    os.kill(int((demo.var_dir / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    output, _ = demo.process.communicate(timeout=60)
    assert demo.process.returncode == 1
    assert "The embedded PostgreSQL ended." in output
    assert eventually(demo.is_gone)
