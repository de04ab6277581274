"""The React package in an app with React 19, in Chromium, at another origin than the whole running gateway."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.billing.conftest import fakestripe
from tests.browser.conftest import Browser
from tests.browser.host import Host
from tests.browser.test_components import ask, host, settled
from tests.browser.walk import SERVED_BY_ASGI
from tests.live import World
from tests.packages.javascript import ENVIRONMENT, NODE, PACKAGES, built
from tests.provider_double import Behaviour, ProviderDouble

__all__ = ["fakestripe", "host"]
pytestmark = SERVED_BY_ASGI
REACT = PACKAGES / "react"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package and an app of it, as a developer's bundler does."""
    built()
    directory = tmp_path_factory.mktemp("react")
    esbuild = PACKAGES / "node_modules" / "esbuild" / "bin" / "esbuild"
    tsc = PACKAGES / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--bundle", "--format=esm", "--splitting", "--jsx=automatic", "--target=es2022", f"--outdir={directory}"]
    for command in ([NODE, str(tsc), "-p", "."], [str(esbuild), "test/app.tsx", *options]):
        done = subprocess.run(command, cwd=REACT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture
def page(site: Browser, host: Host, bundle: Path) -> Iterator[Page]:
    """Give the app, opened."""
    for file in bundle.iterdir():
        host.serve_file(f"/react/{file.name}", file)
    page = site.page()
    data = f'data-gateway="{host.gateway}" data-app="{host.public_app_id}" data-bridge="{host.bridge}"'
    page.goto(host.show(f'<div id="app" {data}></div>', module="/react/app.js"))
    yield page


def test_hooks_stream_stop_and_follow_the_balance(page: Page, world: World, double: ProviderDouble) -> None:
    expect(page.locator("#balance")).to_have_text("10.0000")
    expect(page.locator("#mode")).to_have_text("auto of platform")
    expect(page.locator("#bridge")).to_have_text("false none")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#state")).to_have_text("done")
    expect(page.locator("#price")).to_have_text("0.0084")
    expect(page.locator("ol li")).to_have_count(2)
    expect(page.locator("#balance")).to_have_text("9.9916")
    expect(page.locator("#calls")).to_have_text("0.0084")
    page.get_by_role("button", name="Ask for much").click()
    expect(page.locator("ol li").last).to_contain_text("word3 ")
    page.get_by_role("button", name="Halt").click()
    expect(page.locator("#state")).to_have_text("stopped")
    expect(page.locator("ol li")).to_have_count(4)
    assert not double.requests[-1].completed
    page.get_by_role("button", name="Platform").click()
    expect(page.locator("#mode")).to_have_text("platform of platform")
    double.script("close-within")
    page.get_by_role("button", name="Forget").click()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#state")).to_have_text("failed")
    expect(page.locator("#error")).not_to_be_empty()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#state")).to_have_text("done")
    expect(page.locator("ol li")).to_have_count(2)
    page.get_by_role("button", name="Once").click()
    expect(page.locator("#once")).to_contain_text("done: Hello from the double")


def test_elements_share_the_provider_and_tell_their_events(page: Page, double: ProviderDouble) -> None:
    double.default = Behaviour(prompt_tokens=1_000, completion_tokens=200)
    settled(page)
    chat = page.locator("faucet-chat")
    expect(chat).to_contain_text("In React")
    page.get_by_role("button", name="Say hello there").click()
    expect(page.locator("#answers")).to_have_text("0.0084")
    expect(chat.locator("[part=mode]")).to_have_count(0)
    expect(page.locator("faucet-usage tbody tr")).to_have_count(1)
    ask(page, "And again")
    expect(page.locator("#answers")).to_have_text("0.0084,0.0084")  # the listener of the latest rendering
    page.get_by_role("button", name="Hide").click()
    expect(page.locator("faucet-usage")).to_have_count(0)
    expect(page.locator("#balance")).to_have_text("9.9832")
