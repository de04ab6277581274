"""An operator's way: a new price is compared and approved, and a call is found by its id and read whole."""

from typing import Any

import pytest
from playwright.sync_api import expect

from apps.catalog.queries import PriceTier, load_catalog
from apps.catalog.services.proposals import propose_price
from apps.core.clock import now
from apps.core.money import nano_from_usd
from tests.browser.conftest import Browser
from tests.browser.walk import SERVED_BY_ASGI, WAYS, Walk
from tests.live import MODEL, Server, World, notice, rate_all
from tests.provider_double import Behaviour, ProviderDouble

pytestmark = SERVED_BY_ASGI
CALL = Behaviour(prompt_tokens=1_000, completion_tokens=200)
NAMES = (MODEL, "double-0", "Test app", "Test", "default", "platform_pool", "platform", "chat.completions", "finished")
NAMES += ("price_list", "rating", "usage", "operator", "ada", "token")


@pytest.mark.parametrize("way", WAYS)
def test_operator_approves_a_price_and_reads_a_call(
    site: Browser, world: World, server: Server, double: ProviderDouble, way: str
) -> None:
    double.default = CALL
    before = world.chat()
    rate_all()
    propose_price(world.offers[0], [dearer()], source="price_list", now=now(), actor="import")
    walk = Walk(site, "operator", way, names=NAMES)
    site.sign_in(walk.page, "ada", superuser=True)
    approve(walk)
    notice(server)
    after = world.chat()
    rate_all()
    read(walk, before.headers["x-request-id"], "$0.0084")
    read(walk, after.headers["x-request-id"], "$0.0168")


def dearer() -> PriceTier:
    """Return twice the price of the world."""
    usd: dict[str, Any] = {"input": "6", "cache_read": "0.60", "cache_write": "7.50", "output": "30"}
    return PriceTier(0, **{name: nano_from_usd(value) for name, value in usd.items()})


def approve(walk: Walk) -> None:
    """Go from the admin's first page to the proposal, compare, and approve it: at first without a second look."""
    walk.to("/admin/")
    walk.look("admin", within="#content h1")
    walk.page.locator("a[href$='/catalog/priceproposal/']").first.click()
    walk.look("proposals", within="#content .object-tools")
    walk.link("Review what is pending")
    assert walk.table() == [
        [walk.words("input"), "3.0000", "6.0000", "+100.0 %"],
        [walk.words("cache read"), "0.3000", "0.6000", "+100.0 %"],
        [walk.words("cache write"), "3.7500", "7.5000", "+100.0 %"],
        [walk.words("output"), "15.0000", "30.0000", "+100.0 %"],
    ]
    walk.look("difference", within=".operator")
    walk.button("Approve what is ticked")  # with nothing ticked
    walk.sees("Tick what you decide about, then say what.")
    walk.look("nothing-ticked", within=".operator")
    walk.page.locator("input[name=id]").check()
    walk.fill("Reason", "as on the provider's page")
    walk.button("Approve what is ticked")
    walk.sees("Confirm the large changes.")
    walk.look("confirm", within=".operator")
    walk.page.locator("#confirmed").check()
    walk.button("Approve what is ticked")
    walk.sees(
        "No proposal waits for a decision. import_prices compares the catalogue with a price list and makes some."
    )
    walk.look("approved", within=".operator")
    assert load_catalog(now=now()).offers[MODEL][0].price.tiers == (dearer(),)  # type: ignore[union-attr]


def read(walk: Walk, request_id: str, price: str) -> None:
    """Find a call by its id from any page of the admin, and read what became of it."""
    find(walk, request_id[:-1], missing=True)
    expect(walk.page.locator(".operator .none")).to_be_visible()
    walk.look("found-nothing", within=".operator")
    find(walk, request_id)
    expect(walk.page.locator("h1.id")).to_have_text(request_id)
    walk.look("call", within=".operator")
    walk.reads(price, MODEL, "double-0", walk.words("The first target answered."))


def find(walk: Walk, term: str, *, missing: bool = False) -> None:
    """Ask the box that is on every page of the admin; what is `missing` is answered 404, which Chromium logs."""
    box = walk.page.get_by_label(walk.words("Find by any id")).first
    box.fill(term)
    if missing:
        with walk.page.expect_console_message(lambda message: "404" in message.text):
            box.press("Enter")
        walk.browser.problems.clear()
    else:
        box.press("Enter")
