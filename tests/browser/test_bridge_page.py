"""The local bridge's page after a month of use: light and dark, on a phone, in Chinese; a page is paired on it."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, Browser, _visiting
from tests.packages.bridge import PACKAGE, bridge_environment, bridge_python

pytestmark = pytest.mark.timeout(400)


class Scene:
    """A bridge that has lived through the story of tests/scene.py of its package."""

    def __init__(self, process: subprocess.Popen[str], browser: Browser, found: dict[str, Any]) -> None:
        self._process, self.browser, self.found = process, browser, found

    def run(self, command: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def page(self, **options: Any) -> Page:
        """Open the page with a key of its own."""
        page = self.browser.page(**options)
        page.goto(self.run("ui --print"))
        expect(page.locator("#channels")).to_be_visible()
        return page


@pytest.fixture
def scene(chromium: Chromium, tmp_path: Path) -> Iterator[Scene]:
    command = [bridge_python(), str(PACKAGE / "tests" / "scene.py"), str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=bridge_environment(tmp_path), stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the scene ended with {process.wait(10)}"
        found = json.loads(line)
        with _visiting(chromium, found["url"]) as browser:
            yield Scene(process, browser, found)
        process.stdin.close()
        process.wait(20)


def test_the_page_shows_the_month_and_pairs_an_app(scene: Scene) -> None:
    assert (scene.found["refused"], scene.found["alerts"]) == ("budget_exceeded", [80, 95, 100])
    page = scene.page()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=re.compile("^openai ")))
    expect(row.locator("meter")).to_have_attribute("value", "100")
    expect(row).to_contain_text("$0.00 left")
    expect(page.get_by_role("row", name="deepseek").first).to_contain_text("Calls of unknown price: 1")
    expect(page.get_by_role("row", name="workstation").first).to_contain_text("down")
    expect(page.get_by_text("budget_exceeded").first).to_be_visible()
    expect(page.get_by_text("Sent to team")).to_have_count(3)
    scene.browser.screenshot(page, "bridge-light")

    expect(page.get_by_text(scene.found["code"], exact=True)).to_be_visible()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("https://crm.example")).to_be_visible()
    expect(page.get_by_role("button", name="Allow")).to_have_count(0)
    page.get_by_role("button", name="Revoke https://crm.example").click()
    expect(page.get_by_text("No page may.")).to_be_visible()

    asked = {"app_name": "Another app"}
    httpx.post(f"{scene.found['url']}/pair", json=asked, headers={"origin": "https://other.example"})
    expect(page.get_by_text("Another app")).to_be_visible(timeout=15_000)  # by itself, without a reload


def test_the_page_in_dark_on_a_phone_and_in_chinese(scene: Scene) -> None:
    looks: dict[str, dict[str, Any]] = {
        "dark": {"dark": True},
        "phone": {"width": PHONE},
        "phone-dark-zh": {"width": PHONE, "dark": True, "language": "zh-CN"},
        "zh": {"language": "zh-CN"},
    }
    for name, options in looks.items():
        page = scene.page(**options)
        if "language" in options:
            expect(page.get_by_role("heading", name="渠道")).to_be_visible()
        scene.browser.screenshot(page, f"bridge-{name}")
    locked = scene.browser.page()
    locked.on("console", lambda message: scene.browser.problems.clear())
    locked.goto(scene.browser.url("/ui"))
    expect(locked.get_by_text("modelfaucet-bridge ui")).to_be_visible()
    scene.browser.screenshot(locked, "bridge-locked")
    locked.wait_for_timeout(100)
    scene.browser.problems.clear()  # the browser itself logs the 401 that a locked page is
