"""The SDK's bundles as gateways serve them: to pages of every origin, and exactly what the source makes."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.http import HttpResponse
from django.test import RequestFactory
from whitenoise.middleware import WhiteNoiseMiddleware

from tests.browser.walk import SERVED_BY_ASGI
from tests.live import Server, World
from tests.packages.javascript import NODE, SDK, built, node, run
from tests.test_house import ROOT

VERSION = "0.1.0"
BUNDLES = sorted(path.name for path in (ROOT / "static" / "sdk" / VERSION).glob("*.js"))


def test_bundles_are_there() -> None:
    assert {"faucet.js", "local.js"} <= set(BUNDLES)


@SERVED_BY_ASGI
@pytest.mark.parametrize("name", BUNDLES)
def test_bundle_is_served_to_pages_of_every_origin(server: Server, name: str) -> None:
    response = httpx.get(
        f"{server.base_url}/static/sdk/{VERSION}/{name}", headers={"origin": "https://app.example.com"}
    )
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["content-type"].startswith("text/javascript")
    assert response.content == (ROOT / "static" / "sdk" / VERSION / name).read_bytes()


def test_bundle_is_served_alike_where_static_files_are_collected(db: None, settings: Any, tmp_path: Path) -> None:
    settings.DEBUG, settings.WHITENOISE_USE_FINDERS, settings.STATIC_ROOT = False, False, str(tmp_path)
    call_command("collectstatic", interactive=False, verbosity=0)
    middleware = WhiteNoiseMiddleware(lambda request: HttpResponse(status=404))
    response: Any = middleware(RequestFactory().get(f"/static/sdk/{VERSION}/faucet.js"))
    response.close()
    assert response.status_code == 200
    assert response["access-control-allow-origin"] == "*"
    assert response["content-type"].startswith("text/javascript")


def test_committed_bundles_are_what_the_source_makes() -> None:
    built()
    node("--test", str(SDK / "test" / "committed.test.mjs"))


def test_example_of_the_readme_runs(world: World) -> None:
    (example,) = re.findall(r"## Ten lines\n\n```js\n(.*?)```", (SDK / "README.md").read_text(), re.S)
    assert len(example.strip().splitlines()) <= 12
    program = example.replace('import { createFaucet } from "@modelfaucet/sdk";', "const { createFaucet } = sdk;")
    program = program.replace('"https://ai.example.com"', "given.baseUrl")
    # What the example's backend does is tested elsewhere: here the session is the test's.
    program, changed = re.subn(r"  publicAppId:.*?\n  userToken:.*?\n", "  sessionToken: given.token,\n", program)
    assert changed == 1 and NODE
    program = program.replace("console.log(", "give(")
    *texts, left = run(program, baseUrl=world.base_url, token=world.token)
    assert "".join(texts) and 0 < float(left) < 10
