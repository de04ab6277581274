"""Every page of the product in a real browser: what axe-core finds in light and in dark, and whether a phone shows it.

The pages are those of tests/doors, so a new one is looked at by itself. `SCREENSHOTS=1` keeps each as
var/screenshots/pages/NAME-{light,dark,phone,phone-dark,zh}.png; `LOOK=plan` looks only at pages whose names match.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page

from tests.billing.conftest import fakestripe
from tests.browser.axe import violations
from tests.browser.conftest import DESKTOP, PHONE, SCREENSHOTS, Browser, too_wide
from tests.console.factories import make_demo
from tests.doors import test_admin, test_console, test_public, test_user_pages
from tests.doors.furnished import Site, add_rows, call_often, furnish
from tests.fakestripe import FakeStripe

__all__ = ["fakestripe"]
# Answers that are no page.
NO_PAGE = {"download", "audit-csv", "first-call-state", "live", "balance", "data-all", "data-table"} | {
    *("bridge-state", "bridge-states"),
}
# Of a developer who has done nothing yet.
NOTHING_YET = (
    "overview apps provider-keys tokens usage requests advice budgets alerts credit entries top-ups plan "
    "plan-invoices payouts payout-account revenue value fees audit team settings"
)
TABLES = ("usage_usageevent", "features_app", "billing_plan", "catalog_model")
ACCOUNT = (
    *("account_email", "account_change_password", "mfa_index", "mfa_activate_totp", "socialaccount_connections"),
    *("usersessions_list", "account_logout", "account_reauthenticate"),
)
# The label of Django's own search field is a picture with a text.
ACCEPTED = ("label-title-only (serious): ['#searchbar']",)
# Colours that are on their way are there.
ARRIVED = "document.getAnimations().filter(each => each instanceof CSSTransition).forEach(each => each.finish())"
PASSWORD = "a long pass phrase 9"


@dataclass
class Looker:
    """A browser window that goes from page to page and notes what is wrong with each."""

    browser: Browser
    clients: list[Client] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    looked_at: int = 0
    windows: dict[str, Page] = field(default_factory=dict)

    def window(self, language: str) -> Page:
        """Return the window of a language, signed in as whoever is."""
        if language not in self.windows:
            page = self.browser.page(language=language, bypass_csp=True)  # axe sets styles; others watch the policy
            for client in self.clients:
                for cookie in client.cookies.values():
                    where = self.browser.url(cookie["path"] or "/")
                    page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": where}])
            self.windows[language] = page
        return self.windows[language]

    def look(self, name: str, path: str, *, status: int = 200) -> None:
        """Look at a page in light and dark, wide and narrow."""
        self.looked_at += 1
        if not re.search(os.environ.get("LOOK", ""), name):
            return
        page = self.window("en")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": DESKTOP, "height": 900})
        answered = page.goto(self.browser.url(path), wait_until="load")
        assert answered is not None
        if answered.status != status:
            self.wrong.append(f"{name}: answered {answered.status}")
        self.wrong += [f"{name}, light: {line}" for line in violations(page) if not line.startswith(ACCEPTED)]
        self.keep(page, f"{name}-light")
        page.emulate_media(color_scheme="dark")
        page.evaluate(ARRIVED)
        self.wrong += [f"{name}, dark: {line}" for line in violations(page, rules=("color-contrast",))]
        self.keep(page, f"{name}-dark")
        page.set_viewport_size({"width": PHONE, "height": 844})
        self.fits(name, page)
        self.keep(page, f"{name}-phone-dark")
        page.emulate_media(color_scheme="light")
        self.keep(page, f"{name}-phone")
        if _keeps():
            chinese = self.window("zh-CN")
            chinese.goto(self.browser.url(path))
            self.keep(chinese, f"{name}-zh")

    def fits(self, name: str, page: Page) -> None:
        if wide := too_wide(page):
            self.wrong.append(f"{name}: {wide}")

    def keep(self, page: Page, name: str) -> None:
        if _keeps():
            (SCREENSHOTS / "pages").mkdir(parents=True, exist_ok=True)
            page.wait_for_timeout(60)  # charts are drawn anew
            page.screenshot(path=SCREENSHOTS / "pages" / f"{name}.png", full_page=True)


def _keeps() -> bool:
    return bool(os.environ.get("SCREENSHOTS"))


@pytest.fixture
def site(browser: Browser, fakestripe: FakeStripe, settings: Any) -> Site:
    """Give a site that has been in use for a month; payments are on."""
    settings.SUPPORT_EMAIL = "support@example.com"
    cache.clear()
    site = furnish()
    add_rows(site)
    add_rows(site)
    call_often(site)
    return site


@pytest.fixture
def looker(browser: Browser) -> Iterator[Looker]:
    found = Looker(browser)
    yield found
    # Pages that refuse something are told of by the browser, too.
    browser.problems[:] = [line for line in browser.problems if "the server responded with a status of 40" not in line]
    assert not found.wrong, f"{len(found.wrong)} things are wrong:\n" + "\n".join(found.wrong)


def as_person(looker: Looker, *clients: Client) -> None:
    looker.clients = list(clients)


def pages_of(names: set[str], url_of: Callable[[str], str]) -> dict[str, str]:
    return {name: url_of(name) for name in sorted(names - NO_PAGE)}


def test_pages_of_the_console(site: Site, looker: Looker) -> None:
    as_person(looker, site.house.owner)
    seen = set(test_console.AREA_OF) - set(test_console.names(test_console.ACTION))
    for name, path in pages_of(seen, lambda name: test_console.url_of(site, name)).items():
        looker.look(f"console-{name}", path)
    assert looker.looked_at > 60


def test_pages_of_a_developer_who_has_done_nothing_yet(site: Site, looker: Looker) -> None:
    as_person(looker, site.neighbour.owner)
    for name in NOTHING_YET.split():
        looker.look(f"new-{name}", reverse(f"console:{name}", args=[site.neighbour.developer_id]))
    looker.look("new-start", reverse("console:start", args=[site.neighbour.developer_id]))
    looker.look("new-developer", reverse("console:new"))
    looker.look("not-found", test_console.url_of(site, "overview"), status=404)


def test_pages_of_the_end_user(site: Site, looker: Looker) -> None:
    as_person(looker, site.visitor.browser)
    for name, path in pages_of(test_user_pages.PAGES, lambda name: test_user_pages.url_of(site, name)).items():
        looker.look(f"me-{name}", path)
    looker.look("me-closed", "/me/open/mf_page_nothing", status=401)


def test_pages_of_the_operator(site: Site, looker: Looker) -> None:
    operator = Client()
    operator.force_login(User.objects.create_superuser("root"))
    as_person(looker, operator)
    by_name = {each.name.removeprefix("admin:"): each for each in test_admin.ADMIN if each.name}
    names = ["index", "queues", "switches", "request", "found", "switch", "switch-payouts", "app_list"]
    names += [f"{table}_{page}" for table in TABLES for page in ("changelist", "change")]
    names += ["billing_plan_add", "features_app_history", "password_change", "billing_exports"]
    for name in names:
        path = test_admin.url_of(site, by_name[name])
        assert path is not None, name
        looker.look(f"admin-{name}", path)
    looker.look("admin-find", "/admin/find/?q=app_nothing", status=404)


def test_pages_of_an_account(browser: Browser, looker: Looker) -> None:
    get_user_model().objects.create_user("ada", "ada@example.com", PASSWORD)
    owner = Client()
    owner.post("/accounts/login/", {"login": "ada@example.com", "password": PASSWORD})
    as_person(looker, owner)
    for name in ACCOUNT:
        looker.look(f"account-{name}", reverse(name))


def test_pages_of_nobody_in_particular(browser: Browser, site: Site, looker: Looker) -> None:
    for name, status in test_public.FOR_ANYBODY.items():
        if name not in ("healthz", "readyz", "home"):  # home is the demo, below
            looker.look(f"public-{name}", test_public.url_of(name, site), status=status)
    looker.look("public-login", "/accounts/login/")
    looker.look("public-signup", "/accounts/signup/")
    looker.look("public-admin-login", "/admin/login/")
    looker.look("public-invitation", reverse("console:invitation", args=[site.args["token"]]))
    looker.look("public-not-found", "/nothing", status=404)


def test_page_of_the_demo(browser: Browser, transactional_db: None, looker: Looker) -> None:
    make_demo()
    looker.look("demo", "/")
