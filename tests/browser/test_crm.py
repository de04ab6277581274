"""The CRM example in a browser: one session is served by the app, by the user's own key and by the user's machine."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Request, expect

from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.queries import app_by_id
from apps.features.services.apps import set_app_terms
from apps.features.services.terms import TermsInput
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import grant
from apps.usage.models import UsageEvent
from apps.vault.services.app_secrets import issue_app_secret
from tests.browser.axe import violations
from tests.browser.conftest import PHONE, Browser
from tests.browser.walk import SERVED_BY_ASGI
from tests.gateway.api_factories import make_developer_token
from tests.live import ACTOR, MODEL, Server, World, differences, notice, rate_all, wait_until
from tests.packages.bridge import InstalledBridge, bridge_before
from tests.provider_double import Behaviour, ProviderDouble
from tests.test_house import ROOT

pytestmark = [SERVED_BY_ASGI, pytest.mark.timeout(300)]
OWN_KEY = "sk-of-ada-at-harbour-0001"
LOCAL_MODEL = "llama-of-ada"
LAST_MESSAGE = "Could you send a quote for 60 seats"
expect.set_options(timeout=15_000)


class Crm:
    """The example's process, at a gateway, as its README says."""

    def __init__(self, environment: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://localhost:{self.port}"
        self.environment = environment
        self.process: subprocess.Popen[str] | None = None

    def run(self, command: str) -> str:
        done = subprocess.run(self._command(command), env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _command(self, command: str) -> list[str]:
        return [sys.executable, str(ROOT / "examples/crm/crm.py"), command, "--port", str(self.port)]

    def start(self) -> None:
        self.process = subprocess.Popen(self._command("serve"), env=self.environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and "Harbour" in self.process.stdout.readline()

    def stop(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process.stdout.close()


@pytest.fixture
def local_server() -> Iterator[ProviderDouble]:
    """Give an OpenAI-compatible server on the user's own machine."""
    with ProviderDouble() as server:
        yield server


@pytest.fixture
def bridge(tmp_path: Path, local_server: ProviderDouble) -> Iterator[InstalledBridge]:
    """Give a running bridge before that server."""
    with bridge_before(local_server.base_url, LOCAL_MODEL, tmp_path / "bridge") as running:
        yield running


@pytest.fixture
def crm(site: Browser, server: Server, world: World, double: ProviderDouble, bridge: InstalledBridge) -> Iterator[Crm]:
    """Give the CRM, prepared and running. Its user may use keys and models of their own for nothing."""
    addresses.forget()
    set_app_terms(app_id=world.app_id, terms=TermsInput(markup_bps=4_000, share_bps=4_000), now=now(), actor=ACTOR)
    allowance = open_account(kind=AccountKind.APP_ALLOWANCE, owner_id=world.app_id, now=now())
    grant(allowance, nano_from_usd("5"), idempotency_key="crm", now=now(), actor=ACTOR)
    app = app_by_id(world.app_id)
    assert app is not None
    known = {
        "BASE_URL": world.base_url,
        "APP_ID": world.app_id,
        "PUBLIC_APP_ID": app.public_id,
        "APP_SECRET": issue_app_secret(world.app_id, now=now(), actor=ACTOR),
        "DEVELOPER_TOKEN": make_developer_token(world.developer_id),
        "MODEL": MODEL,
        "BRIDGE_URL": bridge.url,
    }
    environment = {f"FAUCET_{name}": value for name, value in known.items()}
    example = Crm({**os.environ, **environment, "PYTHONPATH": str(ROOT / "packages/sdk-python/src")})
    assert "feature reply" in example.run("prepare") and "Nothing to do" in example.run("prepare")
    notice(server)
    example.start()
    yield example
    example.stop()
    site.problems[:] = [each for each in site.problems if "Failed to load resource" not in each]


class Log:
    """What a page asked for, each with all that went along."""

    def __init__(self, page: Page) -> None:
        self.requests: list[Request] = []
        page.on("request", lambda request: self.requests.append(request))

    def asked(self, where: str) -> list[str]:
        """Return the addresses and bodies that were asked for below a base URL."""
        return [f"{each.url} {each.post_data or ''}" for each in self.requests if each.url.startswith(where)]


def summarise(page: Page, served: str) -> None:
    page.get_by_role("button", name="Sum up").click()
    expect(page.locator("#served")).to_contain_text(served)
    expect(page.locator("#summary")).to_be_visible()


def test_three_sources_in_one_session_and_no_key_in_the_page(
    site: Browser, crm: Crm, world: World, double: ProviderDouble, bridge: InstalledBridge, local_server: ProviderDouble
) -> None:
    local_server.default = Behaviour(text="A local summary.")
    page = site.page()
    log = Log(page)
    page.goto(crm.url)

    summarise(page, "the app’s models")
    assert double.requests[-1].headers["authorization"] == "Bearer sk-double-0"
    site.screenshot(page, "crm-platform")

    page.get_by_role("button", name="AI settings").click()
    byok, mode, local = (page.locator(f"faucet-{name}") for name in ("byok", "mode", "local"))
    byok.get_by_role("button", name="Add a key").click()
    byok.get_by_label("Provider").select_option("double-0")
    byok.get_by_label("API key").fill(OWN_KEY)
    if byok.get_by_role("checkbox").count():
        byok.get_by_role("checkbox").check()
    byok.get_by_role("button", name="Check and add").click()
    expect(byok).to_contain_text("It ends in 0001.")
    mode.get_by_role("radio", name=re.compile("own key", re.IGNORECASE)).check()
    summarise(page, "your own key")
    assert double.requests[-1].headers["authorization"] == f"Bearer {OWN_KEY}"

    local.get_by_role("button", name="Connect", exact=True).click()
    code = local.locator("[part=code]")
    expect(code).to_be_visible()
    bridge.run("allow", re.sub(r"\D", "", code.get_attribute("aria-label") or ""))
    expect(local).to_contain_text("Connected")
    mode.get_by_role("radio", name=re.compile("device", re.IGNORECASE)).check()
    mode.locator("[part=accept]").click()  # that it costs nothing is told, too
    expect(mode.locator("[part=consent]")).to_have_count(0)
    before = len(double.requests), len(log.requests)
    summarise(page, "your own machine")
    assert len(double.requests) == before[0]
    assert LAST_MESSAGE in str(local_server.requests[-1].body)
    told = [f"{each.url} {each.post_data or ''}" for each in log.requests[before[1] :] if world.base_url in each.url]
    assert told and not any(LAST_MESSAGE in each for each in told)
    site.screenshot(page, "crm-local")

    wait_until(lambda: UsageEvent.objects.filter(route_mode="local").exists(), 20)
    modes = list(UsageEvent.objects.order_by("effective_at").values_list("route_mode", flat=True))
    assert modes == ["platform", "byok", "local"]
    assert len(set(UsageEvent.objects.values_list("end_user_id", flat=True))) == 1
    rate_all()
    assert differences() == []
    everything = log.asked("http")
    assert not any("sk-double-0" in each for each in everything)
    assert [each for each in everything if OWN_KEY in each] == [
        each for each in log.asked(f"{world.base_url}/v1/user/provider-keys") if OWN_KEY in each
    ]
    assert sum(OWN_KEY in each for each in everything) == 1  # where the user typed it
    content = page.content() + page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    assert OWN_KEY not in content and "sk-double-0" not in content


def test_local_only_feature_tells_the_gateway_nothing(
    site: Browser, crm: Crm, world: World, double: ProviderDouble, bridge: InstalledBridge, local_server: ProviderDouble
) -> None:
    local_server.default = Behaviour(text="Dear Mei, the quote is on its way.")
    headers = {"Authorization": f"Bearer {crm.environment['FAUCET_DEVELOPER_TOKEN']}"}
    address = f"{world.base_url}/v1/apps/{world.app_id}/features/reply/manifest"
    manifest = {**httpx.get(address, headers=headers).json()["manifest"], "privacy": {"mode": "local_only"}}
    assert httpx.put(address, json=manifest, headers=headers).status_code == 200
    page = site.page(width=PHONE, dark=True, language="zh-CN")
    log = Log(page)
    page.goto(f"{crm.url}/?lang=en")
    page.get_by_role("button", name="Draft a reply").click()
    expect(page.locator("#problem")).to_be_visible()  # nothing is paired: refused, not sent
    page.get_by_role("button", name="AI settings").click()
    local = page.locator("faucet-local")
    local.get_by_role("button", name=re.compile("^(Connect|连接)$")).click()
    code = local.locator("[part=code]")
    expect(code).to_be_visible()
    bridge.run("allow", re.sub(r"\D", "", code.get_attribute("aria-label") or ""))
    expect(local.locator("[part=unpair]")).to_be_visible()
    page.get_by_role("button", name="Draft a reply").click()
    expect(page.locator("#draft")).to_have_value("Dear Mei, the quote is on its way.")
    assert double.requests == []
    assert LAST_MESSAGE in str(local_server.requests[-1].body)
    assert not any(LAST_MESSAGE in each for each in log.asked(world.base_url))
    site.screenshot(page, "crm-local-only-phone-dark")


@pytest.mark.parametrize("look", [{"dark": True, "language": "zh-CN"}, {"width": PHONE}], ids=["zh-dark", "phone"])
def test_page_is_accessible_and_fits(site: Browser, crm: Crm, double: ProviderDouble, look: dict[str, Any]) -> None:
    page = site.page(**look, bypass_csp=True)
    page.goto(crm.url)
    expect(page.locator("#reply")).not_to_be_empty()  # its script is there
    page.locator("#reply").click()
    expect(page.locator("#served")).to_contain_text("$")
    page.locator("#settings-open").click()
    expect(page.locator("faucet-credits")).to_contain_text("$")
    assert violations(page) == []
    site.screenshot(page, f"crm-{'phone' if 'width' in look else 'zh-dark'}")
