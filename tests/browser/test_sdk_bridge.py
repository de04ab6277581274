"""The SDK in a page, a real bridge on the user's machine with a real model behind it, and the real gateway."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.core import addresses
from apps.core.clock import now
from apps.features.queries import app_by_id
from apps.features.services.apps import update_app
from apps.usage.models import UsageEvent
from apps.vault.services.app_secrets import issue_app_secret
from tests.browser.conftest import Browser
from tests.browser.host import Host, hosting
from tests.browser.test_sdk import opened
from tests.browser.walk import SERVED_BY_ASGI
from tests.clients.environment import client_environment, client_python
from tests.live import ACTOR, Server, World, differences, notice, rate_all, wait_until
from tests.packages.bridge import InstalledBridge, bridge_at
from tests.provider_double import ProviderDouble
from tests.test_house import ROOT

pytestmark = [SERVED_BY_ASGI, pytest.mark.timeout(400)]
TINY = ROOT / "tests" / "clients" / "tiny_model.py"
MODEL = "tiny-chain"
SENTENCE = "Hello from a tiny local model . It runs real inference with known weights and then it stops"
PROMPT = "heliotrope-7731"


@pytest.fixture
def model(tmp_path: Path) -> Iterator[str]:
    """Give the base URL of llama.cpp's own server before a tiny model."""
    command = [client_python(client_environment()), str(TINY), str(tmp_path / "model")]
    (tmp_path / "model").mkdir()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["base_url"]
        process.terminate()


@pytest.fixture
def bridge(tmp_path: Path, model: str, world: World) -> Iterator[InstalledBridge]:
    with bridge_at(world, model, tmp_path / "bridge") as running:
        yield running


@pytest.fixture
def host(site: Browser, server: Server, world: World, bridge: InstalledBridge) -> Iterator[Host]:
    addresses.forget()
    app = app_by_id(world.app_id)
    assert app is not None
    secret = issue_app_secret(world.app_id, now=now(), actor=ACTOR)
    with hosting(world.base_url, app.public_id, secret, bridge.url) as running:
        update_app(app_id=world.app_id, allowed_origins=[running.origin], now=now(), actor=ACTOR)
        notice(server)
        yield running
    site.problems[:] = [each for each in site.problems if "Failed to load resource" not in each]


def test_page_pairs_with_a_real_bridge_and_its_prompts_go_nowhere_else(
    site: Browser, host: Host, world: World, bridge: InstalledBridge, double: ProviderDouble
) -> None:
    page = opened(host, site.page())
    found = page.evaluate("faucet.local.discover()")
    assert (found["name"], found["gateway"], found["reports"]) == ("modelfaucet-bridge", world.base_url, True)
    refused = page.evaluate("faucet.generate({ prompt: 'Hi', mode: 'local' }).catch((error) => error.code)")
    assert refused == "not_paired"
    code = page.evaluate("faucet.local.pair().then((pairing) => { window.pairing = pairing; return pairing.code; })")
    bridge.run("allow", code)
    assert page.evaluate("pairing.allowed") is True
    wait_until(lambda: [each["id"] for each in page.evaluate("faucet.local.models()")] == [MODEL], 20)
    assert all(each["ok"] for each in page.evaluate("faucet.local.diagnostics()"))
    answers = page.evaluate(
        """async (prompt) => {
          faucet.setMode("local");
          const whole = await faucet.generate(prompt);
          const stream = faucet.stream({ prompt });
          let streamed = "";
          for await (const part of stream) streamed += part.text ?? "";
          return { whole: whole.text, streamed, usage: (await stream.result).usage, mode: whole.route_mode };
        }""",
        PROMPT,
    )
    assert answers["whole"].strip() == answers["streamed"].strip() == SENTENCE
    assert (answers["mode"], answers["usage"]["output_tokens"] > 0) == ("local", True)
    # The bridge reports to this gateway itself, so the page has nothing to report.
    assert page.evaluate("faucet.local.reports.pending()") == []
    wait_until(lambda: UsageEvent.objects.count() == 2, 20)
    assert {event.route_mode for event in UsageEvent.objects.all()} == {"local"}
    assert {event.end_user_id for event in UsageEvent.objects.all()} == {world.end_user_id}
    rate_all()
    assert differences() == [] and double.requests == []
