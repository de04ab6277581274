"""The SDK for Python as it is published: built, installed into an empty environment, and used as its README says."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.live import World
from tests.packages.sdk_python import make_driver
from tests.provider_double import ProviderDouble

# It installs the package's requirement, and for the sdist what builds it.
pytestmark = pytest.mark.timeout(400)
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "packages" / "sdk-python"
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program and return what it printed; fail in its own words."""
    given = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory with the wheel and the sdist."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", directory, cwd=PACKAGE)
    return directory


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_package_installs_alone_and_its_readme_works(
    world: World, double: ProviderDouble, built: Path, tmp_path: Path, kind: str
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    (package,) = built.glob(kind)
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package, cwd=tmp_path)
    [example] = EXAMPLE.findall((PACKAGE / "README.md").read_text())
    (tmp_path / "example.py").write_text(example)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    user, driver = world.new_session("user-42", usd="1"), make_driver(world, is_async=False)
    printed = run(
        python,
        "example.py",
        cwd=tmp_path,
        FAUCET_BASE_URL=world.base_url,
        FAUCET_PUBLIC_APP_ID=driver.app_id,
        FAUCET_APP_SECRET=driver.app_secret,
    )
    driver.end()
    said = double.requests[0].text
    assert printed.count(said) == 2 and re.search(r"^0\.\d+ USD, 0\.9\d+ USD left$", printed, re.MULTILINE)
    assert user.balance().posted > 0 and len(double.requests) == 2
    files = run(
        python, "-c", "import modelfaucet_sdk as m, os; print(os.listdir(os.path.dirname(m.__file__)))", cwd=tmp_path
    )
    assert "py.typed" in files
    freeze = run(python, "-m", "pip", "freeze", "--exclude", "modelfaucet-sdk", cwd=tmp_path)
    assert {line.split("==")[0] for line in freeze.split()} <= {
        *("httpx", "httpcore", "h11", "certifi", "idna", "anyio", "sniffio", "typing_extensions", "exceptiongroup"),
    }
