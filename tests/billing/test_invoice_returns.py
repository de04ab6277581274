"""Refunds and disputes of plan invoices: posted once, undone once, matched with Stripe's books."""

from datetime import timedelta
from typing import Any

import pytest

from apps.billing.models.invoice_returns import InvoiceReturn
from apps.billing.models.reconciliation import ReconciliationRun
from apps.billing.models.top_ups import Refund
from apps.billing.queries.exports import operator_export
from apps.billing.services.inbox import receive
from apps.billing.services.reconciliation import reconcile_stripe
from apps.billing.services.verify import differences
from apps.core.clock import now
from apps.core.csv_stream import CsvStream
from apps.ledger.models import AccountKind
from tests.billing.test_subscriptions import CENT, Shop, posted
from tests.fakestripe import FakeStripe
from tests.ledger.factories import assert_proven

pytestmark = pytest.mark.django_db
NET, TAX = 29_900, 2_392


@pytest.fixture
def shop(fakestripe: FakeStripe, settings: Any) -> Shop:
    settings.RECONCILE_GRACE = 0
    shop = Shop(fakestripe)
    shop.buy(tax_cents=TAX)
    return shop


def intent(shop: Shop) -> str:
    return str(shop.stripe.all("invoice_payment")[-1]["payment"]["payment_intent"])


def books() -> tuple[int, int, int]:
    """Return in cents what Stripe holds, what the platform earned and the tax, as we have posted them."""
    owners = ((AccountKind.FUNDING, "stripe"), (AccountKind.PLATFORM, "operator"), (AccountKind.TAX, "operator"))
    funding, platform, tax = (posted(kind, owner) // CENT for kind, owner in owners)
    return -funding, platform, tax


def assert_matched(shop: Shop) -> None:
    today = now().date()
    reconcile_stripe(today - timedelta(days=1), today, now=now() + timedelta(seconds=5), actor="test")
    run = ReconciliationRun.objects.latest("started_at")
    apart = (run.missing_here, run.missing_there, run.differing, run.waiting, run.difference_nano)
    assert (run.status, apart) == ("finished", (0, 0, 0, 0, 0))
    assert list(differences()) == []
    assert_proven()


def test_a_refund_in_parts_returns_its_tax_in_parts_and_the_last_ends_the_plan(shop: Shop) -> None:
    shop.stripe.refund_in_dashboard(intent(shop), 10_000)
    shop.hear()
    tax = TAX * 10_000 // (NET + TAX)
    assert books() == (NET + TAX - 10_000, NET - 10_000 + tax, TAX - tax)
    assert shop.plan() == "pro"
    shop.stripe.refund_in_dashboard(intent(shop))
    shop.hear()
    assert books() == (0, 0, 0)
    assert (shop.row().status, shop.plan()) == ("ended", None)
    assert InvoiceReturn.objects.filter(status="returned").count() == 2
    assert not Refund.objects.exists()
    assert_matched(shop)


@pytest.mark.parametrize("order", ["twice", "backwards"])
def test_webhooks_twice_and_backwards_post_a_refund_once(shop: Shop, order: str) -> None:
    shop.stripe.refund_in_dashboard(intent(shop), 500)
    bodies: list[tuple[bytes, str]] = []
    shop.stripe.deliver(lambda body, signature: bodies.append((body, signature)))
    for body, signature in bodies[::-1] if order == "backwards" else bodies * 2:
        receive(body, signature, now=now())
    shop.hear()
    assert books()[0] == NET + TAX - 500
    assert_matched(shop)


def test_a_refund_that_fails_is_undone(shop: Shop) -> None:
    refund = shop.stripe.refund_in_dashboard(intent(shop), 500)
    shop.hear()
    shop.stripe.fail_refund(refund["id"])
    shop.hear()
    assert books() == (NET + TAX, NET, TAX)
    assert InvoiceReturn.objects.get().status == "restored"
    assert_matched(shop)


def test_a_dispute_that_is_won_is_undone_and_the_plan_goes_on(shop: Shop) -> None:
    dispute = shop.stripe.open_dispute(intent(shop))
    shop.hear()
    assert books() == (0, 0, 0)
    assert shop.plan() == "pro"
    shop.stripe.close_dispute(dispute["id"], "won")
    shop.hear()
    assert books()[1:] == (NET, TAX)
    assert (InvoiceReturn.objects.get().status, shop.plan()) == ("restored", "pro")
    assert list(differences()) == []


def test_a_dispute_that_is_lost_ends_the_plan_and_takes_nothing_else(shop: Shop) -> None:
    dispute = shop.stripe.open_dispute(intent(shop), inquiry=True)
    shop.hear()
    assert (books(), InvoiceReturn.objects.get().status) == ((NET + TAX, NET, TAX), "waiting")
    shop.stripe.escalate_dispute(dispute["id"])
    shop.hear()
    shop.stripe.close_dispute(dispute["id"], "lost")
    shop.hear()
    assert books()[1:] == (0, 0)
    assert (shop.row().status, shop.plan()) == ("ended", None)
    assert list(differences()) == []


def test_a_refund_of_an_earlier_month_leaves_the_plan(shop: Shop) -> None:
    first = intent(shop)
    stripe_id = shop.row().stripe_subscription_id
    assert stripe_id is not None
    shop.stripe.renew(stripe_id)
    shop.hear()
    shop.stripe.refund_in_dashboard(first)
    shop.hear()
    assert books() == (NET, NET, 0)
    assert shop.plan() == "pro"


@pytest.mark.django_db(transaction=True)  # exports read on a connection of their own
def test_returns_are_in_the_tax_table(shop: Shop) -> None:
    shop.stripe.refund_in_dashboard(intent(shop))
    shop.hear()
    stream = CsvStream(operator_export("tax", shop.developer_id, begin=None, end=None), owner="test")
    text = b"".join(iter(stream.read, b"")).decode()
    assert "subscription_refund" in text
    assert "-299.0000,-23.9200,-322.9200" in text
