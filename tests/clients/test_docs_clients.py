"""The pages about clients are run: `docs/clients.md` in curl, Python and Node, and all of `docs/sdk-python.md`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from apps.core import addresses
from apps.core.clock import now
from apps.features.library import templates
from apps.features.services.features import create_feature
from apps.features.services.manifests import put_manifest
from tests.clients.environment import client_python
from tests.live import ACTOR, MODEL, Server, World, notice
from tests.packages.sdk_python import EMBEDDER, make_driver, offer_embeddings, offer_json
from tests.provider_double import Behaviour, ProviderDouble

# The first test may have to install the clients.
pytestmark = pytest.mark.timeout(400)
ROOT = Path(__file__).parents[2]


def snippets(page: str, language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE
    )
    return found


def run(*command: str, cwd: Path, **environment: str) -> str:
    given = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("language", ["bash", "python", "js"])
def test_other_clients_work_as_the_page_says(
    world: World, double: ProviderDouble, clients: Path, tmp_path: Path, language: str
) -> None:
    [code] = snippets("clients.md", language)
    (tmp_path / "node_modules").symlink_to(clients / "node_modules")
    programs = {"bash": "bash", "python": client_python(clients), "js": str(clients / "bin" / "node")}
    file = tmp_path / f"call.{'mjs' if language == 'js' else language}"
    file.write_text(code)
    settings = {
        "FAUCET_BASE_URL": f"{world.base_url}/v1",
        "FAUCET_KEY": world.virtual_key(usd="1"),
        "FAUCET_MODEL": MODEL,
    }
    printed = run(programs[language], str(file), cwd=tmp_path, **settings)
    if language == "bash":
        data = [line.removeprefix("data: ") for line in printed.splitlines() if line.startswith("data: ")]
        deltas = [choice["delta"] for line in data[:-1] for choice in json.loads(line)["choices"]]
        assert "".join(delta.get("content") or "" for delta in deltas) == double.requests[0].text
        assert data[-1] == "[DONE]"
    else:
        assert printed.count(double.requests[0].text) == len(double.requests) == 2


def test_page_of_the_python_sdk_runs_from_top_to_bottom(
    world: World, server: Server, double: ProviderDouble, tmp_path: Path
) -> None:
    addresses.forget()
    offer_json(world)
    offer_embeddings()
    for key in ("sentiment", "reply"):
        feature = create_feature(app_id=world.app_id, key=key, name=key, default_model=MODEL, now=now(), actor=ACTOR)
        source = templates()[f"{key}.en"].source
        put_manifest(feature_id=feature, source=source, source_format="yaml", may_price=True, now=now(), actor=ACTOR)
    world.new_session("user-42", usd="5")
    notice(server)
    double.script("normal", "normal", "normal", Behaviour(text='{"sentiment": "negative", "confidence": 1}'))
    driver = make_driver(world, is_async=False)
    (tmp_path / "page.py").write_text("\n".join(snippets("sdk-python.md", "python")))
    printed = run(
        sys.executable,
        "page.py",
        cwd=tmp_path,
        PYTHONPATH=str(ROOT / "packages" / "sdk-python" / "src"),
        FAUCET_BASE_URL=world.base_url,
        FAUCET_PUBLIC_APP_ID=driver.app_id,
        FAUCET_APP_SECRET=driver.app_secret,
        FAUCET_EMBEDDING_MODEL=EMBEDDER,
    )
    driver.end()
    assert "('platform',)" in printed and "negative None 0." in printed and "nothing was spent" in printed
    assert printed.count(double.requests[0].text) >= 6
    assert driver.app_secret not in printed
