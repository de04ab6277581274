"""An end user's way through the wallet that the app opens: credit, calls, limits, a key of their own, their data."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import Route, expect

from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.services.apps import set_app_terms
from apps.features.services.terms import TermsInput
from apps.vault.services.app_secrets import issue_app_secret
from tests.billing.conftest import fakestripe
from tests.browser.conftest import Browser
from tests.browser.walk import SERVED_BY_ASGI, WAYS, Walk
from tests.fakestripe import FakeStripe
from tests.live import ACTOR, MODEL, Server, World, differences, notice, rate_all
from tests.provider_double import Behaviour, ProviderDouble

__all__ = ["fakestripe"]
pytestmark = SERVED_BY_ASGI
# 1,000 tokens in and 200 out cost 0.006 USD at the provider, and 0.0084 with the markup of 40 %.
CALL = Behaviour(prompt_tokens=1_000, completion_tokens=200)
KEY, WRONG_KEY = "sk-of-alice-0001", "sk-mistyped-0002"
NAMES = (MODEL, "Test app", "double-0", "default", "Visa", "Token", "Mine")


@dataclass
class App:
    """An app's own backend, which knows its secret, and the session that it opened for its user."""

    base_url: str
    secret: str
    session: str = ""

    def post(self, path: str, body: Any, token: str) -> httpx.Response:
        return httpx.post(f"{self.base_url}{path}", json=body, headers={"authorization": f"Bearer {token}"}, timeout=30)

    def page_link(self) -> str:
        opened = self.post("/v1/sessions", {"external_user_id": "carol"}, self.secret)
        self.session = opened.json()["session_token"]
        url: str = self.post("/v1/user/page-links", {}, self.session).json()["url"]
        return url

    def call(self) -> str:
        """Ask the model for the user, and return the request's id."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello"}]}
        answer = self.post("/v1/chat/completions", body, self.session)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-request-id"]


@pytest.fixture
def app(world: World, double: ProviderDouble, fakestripe: FakeStripe, settings: Any) -> App:
    """Make an app that takes users' own keys for a fee of 0.0005 USD a call, on an instance that takes payments."""
    directives = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    targets = [*directives["form-action"], "https://checkout.stripe.com"]  # as where STRIPE_ENABLED is set
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": {**directives, "form-action": targets}}
    addresses.forget()
    double.default = CALL
    double.by_key[WRONG_KEY] = Behaviour(status=401)
    terms = TermsInput(markup_bps=4_000, share_bps=4_000, byok_fee=nano_from_usd("0.0005"))
    set_app_terms(app_id=world.app_id, terms=terms, now=now(), actor=ACTOR)
    world.manifest(routing={"policy": "byok_first"})
    return App(world.base_url, issue_app_secret(world.app_id, now=now(), actor=ACTOR))


@pytest.mark.parametrize("way", WAYS)
def test_end_user_pays_calls_and_looks_after_their_own(
    site: Browser, server: Server, app: App, fakestripe: FakeStripe, way: str
) -> None:
    walk = Walk(site, "end-user", way, names=NAMES)
    notice(server)
    walk.to(app.page_link())
    walk.look("empty-wallet")
    buy_credit(walk, fakestripe)
    request_id = app.call()
    look_at_the_call(walk, request_id)
    set_limits(walk)
    add_a_key(walk)
    notice(server)
    through_the_key = app.call()
    assert rate_all() == 2
    look_at_the_fee(walk, through_the_key)
    take_data_home(walk, request_id, through_the_key)
    assert differences() == []


def buy_credit(walk: Walk, stripe: FakeStripe) -> None:
    """Buy 10.50 USD on Stripe's page and come back to a wallet that has them to the cent."""

    def checkout(route: Route) -> None:
        session = route.request.url.rsplit("/", 1)[1]
        row = stripe.objects[session]
        if route.request.method == "POST":
            stripe.pay(session, tax_cents=95)
            return route.fulfill(content_type="text/html", body=_LEADS_ON.format(url=row["success_url"]))
        return route.fulfill(content_type="text/html", body=_CHECKOUT.format(amount=row["amount_total"]))

    walk.page.context.route("https://checkout.stripe.com/**", checkout)
    walk.link("Add credit")
    walk.look("add-credit")
    for wrong, step in (("ten", "amount-no-number"), ("0.50", "amount-too-small")):
        walk.fill("Another amount, USD", wrong)
        walk.button("Buy this amount")
        expect(walk.page.locator(".errors").first).to_be_visible()
        walk.look(step)
    walk.fill("Another amount, USD", "10.50")
    walk.button("Buy this amount")
    walk.page.get_by_role("button", name="Pay 1050 cents").click()
    walk.sees("The payment arrived and was credited.")
    walk.look("paid")
    walk.reads("$10.50", "$0.95", "$11.45")
    walk.link("Back to the app")
    assert walk.fact("Available") == "$10.50"
    walk.look("wallet")


_CHECKOUT = """<!doctype html><title>Stripe</title><form method="post"><button>Pay {amount} cents</button></form>"""
_LEADS_ON = """<!doctype html><title>Stripe</title><meta http-equiv="refresh" content="0; url={url}">"""


def look_at_the_call(walk: Walk, request_id: str) -> None:
    """The wallet shows by itself what a call left in it; the call's receipt says what was paid for."""
    expect(walk.page.locator("#balance")).to_contain_text("$10.4916")
    assert walk.fact("Spent so far") == "$0.0084"
    walk.link("Calls")
    walk.look("calls")
    walk.page.locator("tbody th a").click()
    walk.look("receipt")
    assert walk.fact("Request") == request_id
    told = {name: walk.fact(name) for name in ("Price", "Tokens in", "Tokens out", "Model")}
    assert told["Price"].split()[0] == "$0.0084"
    assert (told["Tokens in"], told["Tokens out"], told["Model"]) == ("1000", "200", MODEL)


def set_limits(walk: Walk) -> None:
    """Set a limit for the day, after one that is no amount."""
    walk.link("Spending limits")
    walk.fill("Most in a day, USD", "-1")
    walk.button("Save")
    expect(walk.page.locator(".errors")).to_be_visible()
    walk.look("limit-refused")
    walk.fill("Most in a day, USD", "2.50")
    walk.fill("Most in a month, USD", "20")
    walk.button("Save")
    walk.sees("Saved.")
    walk.look("limits")
    assert walk.fact("Today").startswith("$0.0")


def add_a_key(walk: Walk) -> None:
    """Add a key: the provider refuses one that was mistyped, and takes the right one."""
    walk.link("Own keys")
    walk.look("no-keys")
    walk.link("Add a key")
    walk.reads("0.0005")
    walk.fill("Name", "Mine")
    for key in (WRONG_KEY, KEY):
        walk.fill("Key", key)
        walk.fill("Most in a month, USD", "15")
        walk.choose("I have read what it costs, and what the provider does with my data.")
        walk.button("Try it and store it")
        if key == WRONG_KEY:
            walk.sees("The provider refuses this key.")
            walk.look("key-refused")
    walk.sees("The key is stored. Calls go through it from now on.")
    walk.look("keys")
    walk.link("Mine")
    walk.look("key")
    walk.reads(f"…{KEY[-4:]}")


def look_at_the_fee(walk: Walk, request_id: str) -> None:
    """A call through the own key cost the fee that was agreed to; the pages tell so before and after."""
    walk.link("Fees")
    walk.look("fees")
    walk.button("I have read this")
    walk.sees("Noted.")
    walk.link("Calls")
    assert [row[-1] for row in walk.table()] == ["$0.0005", "$0.0084"]
    walk.look("calls-both-ways")
    walk.page.locator("tbody th a").first.click()
    walk.look("receipt-own-key")
    assert walk.fact("Request") == request_id
    assert (walk.fact("Price"), walk.fact("Your provider bills you")) == ("$0.0005", "$0.006")
    walk.link("Wallet")
    assert walk.fact("Available") == "$10.4911"
    walk.look("wallet-in-the-end")


def take_data_home(walk: Walk, *request_ids: str) -> None:
    """Download everything that is held, and find the calls in it."""
    walk.link("Your data")
    walk.look("data")
    with walk.page.expect_download() as download:
        walk.link("Everything, as JSON")
    held = download.value.path().read_text()
    json.loads(held)
    assert all(request_id in held for request_id in request_ids)
    assert KEY not in held
    walk.link("Delete my data")
    walk.page.locator("#id_word").fill("no")
    walk.button("Delete for good")
    expect(walk.page.locator(".errors").first).to_be_visible()
    walk.look("delete-refused")
