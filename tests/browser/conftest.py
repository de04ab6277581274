"""A real browser before a real server: pages are walked through and looked at, screenshots stay in var/screenshots/.

    def test_something(browser: Browser) -> None:
        page = browser.page(width=PHONE, dark=True, language="zh-CN")
        browser.sign_in(page, "ada", "review_payout")
        page.goto(browser.url("/admin/billing/payout/"))
        browser.screenshot(page, "payout-list")

Chromium is Debian's, driven by Playwright's Python client: nothing is downloaded. Whatever a page logs as an error, and
whatever its content security policy blocks, fails the test.
"""

import gc
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test import Client
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

from tests.live import Server

DESKTOP = 1280
PHONE = 390
SCREENSHOTS = Path(__file__).parent.parent.parent / "var" / "screenshots"
# Playwright's client runs an event loop in this thread, which Django takes for a place where it must not block.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


class Browser:
    """A browser that visits a server over the test's database."""

    def __init__(self, chromium: Chromium, base_url: str) -> None:
        self._chromium = chromium
        self._base_url = base_url
        self.problems: list[str] = []

    def url(self, path: str) -> str:
        return f"{self._base_url}{path}"

    def page(
        self, *, width: int = DESKTOP, height: int = 900, dark: bool = False, language: str = "en", **options: Any
    ) -> Page:
        """Open a page in a context of its own: its own cookies, size, colours and language."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale=language,
            **options,
        )
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.problems.append(f"{page.url}: {error}"))
        page.on("console", lambda message: self._note(page, message))
        return page

    def _note(self, page: Page, message: ConsoleMessage) -> None:
        if message.type == "error" and "favicon" not in message.location.get("url", ""):
            self.problems.append(f"{page.url}: {message.text}")

    def sign_in(self, page: Page, name: str, *permissions: str, superuser: bool = False) -> User:
        """Sign a member of staff in who has these permissions (codenames), made if there is nobody of the name."""
        user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True, "is_superuser": superuser})
        user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
        page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": self._base_url}])
        return user

    def screenshot(self, page: Page, name: str) -> Path:
        """Keep the whole page as var/screenshots/NAME.png, having checked that it is no wider than the window."""
        path = SCREENSHOTS / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=path, full_page=True)
        assert not (wide := too_wide(page)), f"{name} is {wide}"
        return path


def too_wide(page: Page) -> str:
    """Say how wide a page is that is wider than its window. Charts follow a window that shrank, a moment later."""
    deadline = time.monotonic() + 5
    while True:
        wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        if wide <= window:
            return ""
        if time.monotonic() > deadline:
            return f"{wide} px wide in a window of {window}"
        page.wait_for_timeout(50)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """Give Chromium; fails where it is not installed."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail("The browser tests need Chromium: apt-get install chromium (or set CHROMIUM).", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def browser(transactional_db: None, chromium: Chromium, settings: Any) -> Iterator[Browser]:
    """Give a browser before a live server that serves static files, over the test's database."""
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]
    thread = LiveServerThread("localhost", StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    if thread.error:
        raise thread.error
    with _visiting(chromium, f"http://localhost:{thread.port}") as running:
        yield running
    thread.terminate()


@pytest.fixture
def site(server: Server, chromium: Chromium, settings: Any) -> Iterator[Browser]:
    """Give a browser before a whole running instance: pages and model calls at one address."""
    settings.ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
    settings.PUBLIC_BASE_URL = server.base_url
    with _visiting(chromium, server.base_url) as running:
        yield running


@contextmanager
def _visiting(chromium: Chromium, base_url: str) -> Iterator[Browser]:
    """Open a browser before a server; in the end nothing may have gone wrong in any of its pages."""
    running = Browser(chromium, base_url)
    try:
        yield running
    finally:
        for context in chromium.contexts:
            context.close()
        gc.collect()  # what is left of requests goes with this test's warnings
    assert running.problems == []
