"""A developer's way from signing up to the first money earned, with nothing but the pages and what they show."""

import re
import subprocess
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from playwright.sync_api import expect

from apps.core import addresses
from tests.browser.conftest import Browser
from tests.browser.walk import SERVED_BY_ASGI, WAYS, Walk
from tests.live import MODEL, World, differences, rate_all
from tests.provider_double import Behaviour, ProviderDouble

pytestmark = SERVED_BY_ASGI
EMAIL = "ada@example.com"
NAMES = ("Ada’s bakery", "Orders", "summary", "features", "stop", "Token", "double-0")
PASSWORD = "a long pass phrase 9"


@pytest.fixture
def instance(world: World, double: ProviderDouble, settings: Any) -> World:
    """Make an instance with a model and nobody of ours in it; a call of it costs 0.006 USD at the provider."""
    double.default = Behaviour(prompt_tokens=1_000, completion_tokens=200)
    settings.STARTER_CREDIT_USD = "1.00"
    cache.clear()  # how often mail is sent to an address is limited
    addresses.forget()
    return world


def sign_up(walk: Walk) -> None:
    """Sign up, at first with a password that is too short."""
    walk.to("/accounts/signup/")
    walk.look("sign-up")
    walk.page.locator("#id_email").fill(EMAIL)
    for password in ("12345", PASSWORD):
        walk.page.locator("#id_password1").fill(password)
        walk.page.locator(".form-card button").click()
        if password != PASSWORD:
            expect(walk.page.locator(".errors").first).to_be_visible()
            walk.look("sign-up-refused")


def follow_the_link(walk: Walk) -> None:
    """Confirm the address by the link of the mail; one is at work already."""
    walk.page.wait_for_url("**/console/new")
    found = re.search(r"http://\S+/accounts/confirm-email/\S+", last_mail())
    assert found is not None
    walk.to(found[0])
    walk.look("confirm-address")
    walk.page.locator(".form-card button").click()
    walk.page.wait_for_url("**/console/new")


def last_mail() -> str:
    [letter] = mail.outbox
    assert letter.to == [EMAIL]
    return str(letter.body)


@pytest.mark.parametrize("way", WAYS)
def test_developer_earns_the_first_money(site: Browser, instance: World, way: str) -> None:
    walk = Walk(site, "developer", way, names=(MODEL, *NAMES))
    sign_up(walk)
    follow_the_link(walk)
    make_an_app(walk)
    code = get_the_code(walk)
    make_the_call(walk, code)
    assert rate_all() == 1
    look_at_the_money(walk)
    assert differences() == []


def make_an_app(walk: Walk) -> None:
    """Begin as a developer; make an app with its origins and a feature from a template."""
    walk.look("new-developer")
    walk.fill("Name of your company or project", "Ada’s bakery")
    walk.button("Go on")
    walk.look("new-app")
    walk.fill("Name of the app", "Orders")
    walk.fill("Allowed origins", "orders.example.com")
    template = walk.page.locator("input[name=template][value^=summary]")
    template.check()
    walk.button("Make the app")
    expect(walk.page.locator(".field.wrong .errors")).to_be_visible()
    walk.look("new-app-refused")
    expect(template).to_be_checked()
    walk.fill("Allowed origins", "https://orders.example.com")
    walk.button("Make the app")


def get_the_code(walk: Walk) -> str:
    """Ask for a key and code that uses it; return the code, whose ids are real."""
    expect(walk.page.locator("#first-call")).to_be_visible()
    walk.look("key-and-code")
    walk.button("Show the code")
    walk.sees("Run this")
    walk.look("code")
    code: str = walk.page.locator("code#curl").inner_text()
    assert re.search(r"Bearer mf_key_\w+", code)
    return code


def make_the_call(walk: Walk, code: str) -> None:
    """Run the code as it stands in a shell, and see the page tell of the call by itself."""
    ran = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert '"usage"' in ran.stdout, ran.stdout + ran.stderr
    expect(walk.page.get_by_text(walk.words("A call was received. It works."))).to_be_visible()
    walk.look("first-call")
    assert walk.fact("Price") == "$0.0084"


def look_at_the_money(walk: Walk) -> None:
    """The overview and the revenue page say what 1,000 tokens in and 200 out earn, to the nano-dollar.

    Cost 0.006, price 0.0084 with the markup of 40 %, of the margin of 0.0024 the share of 40 %: 0.00096.
    """
    walk.link("To the overview")
    walk.look("overview")
    assert (walk.fact("Billed to users"), walk.fact("Your share")) == ("$0.0084", "$0.00096")
    walk.link("Revenue")
    walk.look("revenue")
    tiles = {name: walk.fact(name) for name in ("Balance", "Payable", "Maturing", "Pending", "Lifetime")}
    earned = "$0.00096"
    assert tiles == {"Balance": earned, "Payable": "$0.00", "Maturing": earned, "Pending": "$0.00", "Lifetime": earned}
    [by_app] = walk.rows("By app")
    assert by_app[1:] == ["Orders", "1", "$0.0084", earned]
    [entry] = walk.rows("Ledger, newest first")
    assert entry[-1] == earned
    walk.page.locator("a.id").first.click()  # the request that it was earned by
    walk.look("request")
    walk.reads(earned, "$0.0084")
    walk.link("Credit")
    walk.look("credit")
    walk.reads("$0.9916")
