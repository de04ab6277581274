"""`<faucet-local>` and a real bridge: found, paired with a code, checked; then the chat answers from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.billing.conftest import fakestripe
from tests.browser.axe import violations
from tests.browser.conftest import PHONE, Browser
from tests.browser.host import Host
from tests.browser.test_components import ask, host, settled
from tests.browser.walk import SERVED_BY_ASGI
from tests.live import Server, World
from tests.packages.bridge import InstalledBridge, bridge_before
from tests.provider_double import ProviderDouble

__all__ = ["fakestripe", "host"]
pytestmark = [SERVED_BY_ASGI, pytest.mark.timeout(400)]
MODEL = "at-home"


@pytest.fixture
def at_home() -> Iterator[ProviderDouble]:
    """Give the model server on the user's machine: another one than the provider's."""
    with ProviderDouble() as double:
        yield double


@pytest.fixture
def bridge(tmp_path: Path, at_home: ProviderDouble) -> Iterator[InstalledBridge]:
    with bridge_before(at_home.base_url, MODEL, tmp_path / "bridge") as running:
        yield running


def test_local_model_is_found_paired_and_asked(
    site: Browser,
    server: Server,
    host: Host,
    bridge: InstalledBridge,
    world: World,
    double: ProviderDouble,
    at_home: ProviderDouble,
) -> None:
    host.bridge = bridge.url
    page = site.page()
    page.goto(host.show("<faucet-local {app} app-name='Notes'></faucet-local><faucet-chat {app}></faucet-chat>"))
    settled(page)
    local = page.locator("faucet-local")
    expect(local.locator("[part=state]")).to_have_text("Bridge found")
    local.get_by_role("button", name="Check the connection").click()
    expect(local.locator("[data-code=not_paired]")).to_contain_text("Press Connect and confirm the code.")
    local.get_by_role("button", name="Connect", exact=True).click()
    code = local.locator("[part=code]").get_attribute("aria-label")
    assert code is not None
    site.screenshot(page, "components-local-pairing")
    assert violations(page) == []
    bridge.run("allow", code.replace(" ", ""))
    expect(local.locator("[part=state]")).to_have_text("Connected")
    expect(local.locator("[part=model]")).to_contain_text(MODEL)
    local.get_by_role("button", name="Register").click()
    expect(local.locator("[part=endpoints]")).to_contain_text(MODEL)
    local.get_by_role("button", name="Check the connection").click()
    expect(local.locator("[part=diagnostics] li")).to_have_count(6)
    expect(local.locator("[data-code=not_paired]")).to_have_count(0)
    expect(local.locator("li", has_text="This page is connected")).to_have_attribute("data-ok", "true")
    expect(local).not_to_contain_text("Not answering")
    site.screenshot(page, "components-local-connected")
    page.locator("faucet-chat").evaluate("each => each.faucet.setMode('local')")
    ask(page, "Stay at home")
    chat = page.locator("faucet-chat")
    expect(chat).to_contain_text("All is well.")
    expect(chat.locator(".below [part=mode]")).to_have_text("On this device")
    assert at_home.requests[-1].body["messages"][-1]["content"] == "Stay at home"
    assert double.requests == []  # the gateway's provider was not asked
    local.get_by_role("button", name="Disconnect").click()
    expect(local.locator("[part=state]")).to_have_text("Bridge found")
    bridge.stop()
    local.get_by_role("button", name="Check the connection").click()
    expect(local).to_contain_text("No bridge found on this device")
    site.problems[:] = [each for each in site.problems if "CORS" not in each]


def test_local_element_on_a_phone_in_chinese(site: Browser, host: Host, bridge: InstalledBridge) -> None:
    host.bridge = bridge.url
    page = site.page(width=PHONE, dark=True, language="zh-CN")
    page.goto(host.show("<faucet-local {app}></faucet-local>", language="zh-CN"))
    local = page.locator("faucet-local")
    local.get_by_role("button", name="连接", exact=True).click()
    expect(local.locator("[part=pairing]")).to_contain_text("请确认此验证码")
    site.screenshot(page, "components-local-pairing-zh")
    assert violations(page) == []
    local.get_by_role("button", name="取消").click()
    expect(local.get_by_role("button", name="连接", exact=True)).to_be_visible()
