"""A payout's way through the admin, in a real browser: review, approval, paid."""

from datetime import timedelta

import pytest
from django.test import Client
from playwright.sync_api import Page, expect

from apps.billing.models.payouts import Payout
from apps.billing.services.payout_accounts import use_bank_details
from apps.billing.services.payout_reviews import approve, mark_paid
from apps.billing.services.payouts import run_proposals
from apps.core.clock import now
from apps.features.services.apps import create_app
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from tests.billing.payout_factories import BANK, NOW, WHY, earn, operator, proposed, score
from tests.browser.conftest import PHONE, Browser
from tests.browser.walk import WAYS, Walk
from tests.gateway.api_factories import make_api, settle_call
from tests.live import ACTOR, rate_all


@pytest.fixture
def acme(transactional_db: None, client: Client) -> str:
    """Make a developer with a payout behind it, calls, a claw-back, revenue that is maturing, and a risk score."""
    api = make_api(client)
    acme = api.developer_id
    use_bank_details(acme, BANK, now=NOW, actor="token:dtok_1")
    earn(acme, "310.40", ago=timedelta(days=120))
    earlier = proposed(acme, now=NOW - timedelta(days=62))
    approve(earlier, actor=operator("bob"), reason="first one, all in order", now=NOW - timedelta(days=61))
    mark_paid(earlier, actor=operator("bob"), reference="SEPA-1", reason="sent", now=NOW - timedelta(days=60))
    create_app(developer_id=acme, name="Side project", now=NOW, actor=ACTOR)
    for _ in range(3):
        settle_call(api.world.token, at=now() - timedelta(days=40))
    rate_all()
    earn(acme, "1834.77", ago=timedelta(days=45))
    earn(acme, "-12.5", ago=timedelta(days=3), kind="clawback")
    earn(acme, "420.1", ago=timedelta(days=2))
    score(api.app_id, 35, kind="app")
    assert run_proposals(now=NOW) == 1
    return acme


def review_of(browser: Browser, page: Page) -> Payout:
    row = Payout.objects.get(status="proposed")
    page.goto(browser.url(f"/admin/billing/payout/{row.pk}/change/"))
    return row


def approvals(walk: Walk, given: int) -> str:
    one, several = "%(approved_by)s of %(needed)s approval", "%(approved_by)s of %(needed)s approvals"
    return walk.many(one, several, 2, approved_by=given, needed=2)


@pytest.mark.parametrize("way", WAYS)
def test_a_payout_is_reviewed_approved_and_paid(browser: Browser, acme: str, way: str) -> None:
    first = Walk(browser, "payout", way)
    browser.sign_in(first.page, "ada", "review_payout")
    first.to("/admin/billing/payout/")
    first.look("list", within="#content .results th")
    first.page.get_by_role("link", name="Test", exact=True).first.click()
    expect(first.page.get_by_role("heading", name="USD")).to_be_visible()
    first.look("review", within=".payout-head")

    first.button("Approve")  # without a reason
    first.sees("Say why, in at most 500 characters.")
    first.fill("Reason", "Apps and calls look right; the claw-back is settled.")
    first.button("Approve")
    first.reads(approvals(first, 1))
    expect(first.page.get_by_role("button", name=first.words("Approve"), exact=True)).to_have_count(0)
    row = Payout.objects.get(status="proposed")
    first.look("first-approval", within=".payout-head")

    second = Walk(browser, "payout", way, steps=first.steps)
    browser.sign_in(second.page, "grace", "review_payout")
    second.to(first.page.url)
    second.fill("Reason", "Checked against the bank's list.")
    second.choose("This is the second approval: I have checked it myself.")
    second.button("Approve")
    second.reads(approvals(second, 2))
    second.look("approved", within=".payout-head")
    row.refresh_from_db()
    assert row.status == "approved"

    second.fill("Reason", "Sent with today's batch.")
    second.fill("Reference of the bank", "SEPA-2026-118")
    second.button("Mark as paid")
    expect(second.page.locator(".payout-head .pill-paid")).to_be_visible()
    second.look("paid", within=".payout-head")
    row.refresh_from_db()
    assert (row.status, row.reference) == ("paid", "SEPA-2026-118")
    aside = account_id(AccountKind.PAYOUT, acme)
    assert aside is not None and balance(aside).posted == 0


def test_a_payout_is_held_and_rejected(browser: Browser, acme: str) -> None:
    page = browser.page()
    browser.sign_in(page, "ada", "review_payout")
    row = review_of(browser, page)
    page.get_by_label("Reason").fill("Asking the developer about one app.")
    page.get_by_role("button", name="Hold").click()
    expect(page.get_by_role("button", name="Release")).to_be_visible()
    browser.screenshot(page, "payout-5-held")
    page.get_by_label("Reason").fill("No answer within a week.")
    page.get_by_role("button", name="Reject").click()
    expect(page.locator(".payout-head .pill-rejected")).to_be_visible()
    row.refresh_from_db()
    assert row.status == "rejected"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dark", {"dark": True}),
        ("phone", {"width": PHONE}),
        ("phone-dark", {"width": PHONE, "dark": True}),
        ("zh", {"language": "zh-CN"}),
    ],
)
def test_the_review_fits_every_window(browser: Browser, acme: str, name: str, options: dict[str, object]) -> None:
    page = browser.page(**options)  # type: ignore[arg-type]
    browser.sign_in(page, "ada", "review_payout")
    review_of(browser, page)
    approve(Payout.objects.get(status="proposed").pk, actor=operator("bob"), **WHY)
    page.reload()
    browser.screenshot(page, f"payout-review-{name}")
    page.goto(browser.url("/admin/billing/payout/"))
    browser.screenshot(page, f"payout-list-{name}")
