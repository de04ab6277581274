"""Subscriptions through Stripe: bought, changed, cancelled, past due; the money of their invoices, once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.billing import stripe_api
from apps.billing.models import Notice
from apps.billing.models.plans import Plan, PlanPrice, Subscription, SubscriptionInvoice
from apps.billing.services.inbox import handle_next, receive
from apps.billing.services.plan_invoices import settle_invoice
from apps.billing.services.plan_uses import measure_plans
from apps.billing.services.plans import assign_plan, update_plan
from apps.billing.services.subscriptions import cancel, follow, resume, settle_due, settle_subscription, subscribe_to
from apps.billing.services.verify import differences
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.features.entitlements import entitlements_of
from apps.ledger.models import AccountKind, LedgerTransaction
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account
from tests.billing.plan_factories import developer, seed
from tests.fakestripe import FakeStripe
from tests.gateway.api_factories import code_of, make_api, make_stranger
from tests.ledger.factories import assert_proven
from tests.live import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)
BASE = "https://faucet.example"
CENT = 10_000_000


class Shop:
    """A developer before the fake Stripe."""

    def __init__(self, stripe: FakeStripe) -> None:
        self.stripe = stripe
        seed()
        self.developer_id = developer()

    def subscribe(self, plan: str = "pro") -> Any:
        return subscribe_to(self.developer_id, plan, base_url=BASE, now=now(), actor=ACTOR)

    def buy(self, plan: str = "pro", *, tax_cents: int = 0) -> Subscription:
        """Subscribe, pay on Stripe's page, and hear of it."""
        self.subscribe(plan)
        self.stripe.pay(self.row().stripe_session_id, tax_cents=tax_cents)
        self.hear()
        return self.row()

    def row(self) -> Subscription:
        return Subscription.objects.filter(developer_id=self.developer_id).latest("created_at")

    def hear(self, at: datetime | None = None) -> None:
        """Receive every webhook and handle it."""
        moment = at or now()
        self.stripe.deliver(lambda body, signature: receive(body, signature, now=moment))
        while handle_next(now=moment) is not None:
            pass

    def plan(self) -> str | None:
        found = entitlements_of(self.developer_id)
        return None if found is None else found.plan


@pytest.fixture
def shop(fakestripe: FakeStripe) -> Iterator[Shop]:
    yield Shop(fakestripe)


def posted(kind: str, owner: str) -> int:
    return balance(open_account(kind=kind, owner_id=owner, now=now())).posted


def test_a_plan_is_in_force_when_it_is_paid_and_not_before(shop: Shop) -> None:
    found = shop.subscribe()
    assert found.status == "pending" and found.checkout_url.startswith("https://checkout.stripe.com/")
    assert shop.plan() is None
    shop.stripe.pay(shop.row().stripe_session_id, tax_cents=2_392)
    shop.hear()
    row = shop.row()
    assert (row.status, row.plan_key, shop.plan()) == ("active", "pro", "pro")
    assert row.period_end is not None and row.period_end > now() + timedelta(days=27)
    assert posted(AccountKind.FUNDING, "stripe") == -(29_900 + 2_392) * CENT
    assert posted(AccountKind.PLATFORM, "operator") == 29_900 * CENT
    assert posted(AccountKind.TAX, "operator") == 2_392 * CENT
    invoice = SubscriptionInvoice.objects.get()
    entry = LedgerTransaction.objects.get(pk=invoice.transaction_id)
    assert (entry.kind, entry.idempotency_key) == ("subscription", f"invoice:{invoice.id}")
    assert list(differences()) == []
    assert_proven()


def test_asking_again_is_the_same_page(shop: Shop) -> None:
    first, second = shop.subscribe(), shop.subscribe()
    assert (first.id, first.checkout_url) == (second.id, second.checkout_url)
    assert len(shop.stripe.all("checkout.session")) == len(shop.stripe.all("price")) == 1


def test_asking_for_another_plan_closes_the_first_page(shop: Shop) -> None:
    first = shop.subscribe("basic")
    session = shop.row().stripe_session_id
    second = shop.subscribe("pro")
    assert second.id != first.id and shop.stripe.objects[session]["status"] == "expired"
    assert Subscription.objects.get(pk=first.id).status == "ended"


def test_another_plan_after_the_first_was_paid_is_a_change(shop: Shop) -> None:
    shop.subscribe("basic")
    shop.stripe.pay(shop.row().stripe_session_id)  # and nothing was heard of it yet
    found = shop.subscribe("pro")
    assert (found.status, found.plan, shop.plan()) == ("active", "pro", "pro")
    assert len(shop.stripe.all("subscription")) == 1


@pytest.mark.parametrize("order", ["twice", "backwards"])
def test_webhooks_twice_and_backwards_post_once(shop: Shop, order: str) -> None:
    shop.subscribe()
    shop.stripe.pay(shop.row().stripe_session_id)
    deliveries = shop.stripe.deliveries
    deliveries = [*deliveries, *deliveries] if order == "twice" else list(reversed(deliveries))
    for delivery in deliveries:
        receive(delivery.body, delivery.signature, now=now())
        while handle_next(now=now()) is not None:
            pass
    settle_invoice(SubscriptionInvoice.objects.get().id, now=now())
    settle_due(now=now() + timedelta(days=1))
    assert LedgerTransaction.objects.filter(kind="subscription").count() == 1
    assert posted(AccountKind.PLATFORM, "operator") == 29_900 * CENT
    assert (shop.row().status, shop.plan()) == ("active", "pro")


def test_invoices_at_once_are_posted_once(shop: Shop) -> None:
    shop.subscribe()
    shop.stripe.pay(shop.row().stripe_session_id)
    (invoice,) = shop.stripe.all("invoice")

    def settle(_: int) -> bool:
        try:
            return settle_invoice(invoice["id"], now=now())
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(settle, range(4))) == {True}
    assert posted(AccountKind.PLATFORM, "operator") == 29_900 * CENT
    assert (shop.row().status, shop.plan()) == ("active", "pro")


def test_without_any_webhook_the_developer_or_the_sweeper_notices(shop: Shop) -> None:
    shop.subscribe()
    shop.stripe.pay(shop.row().stripe_session_id)
    found = settle_subscription(shop.developer_id, now=now())
    assert found is not None and found.status == "active" and shop.plan() == "pro"
    other = Shop.__new__(Shop)
    other.stripe, other.developer_id = shop.stripe, developer("Bob")
    other.subscribe("basic")
    shop.stripe.pay(other.row().stripe_session_id)
    assert settle_due(now=now() + timedelta(minutes=3)) == 1
    assert other.plan() == "basic"


def test_a_page_that_nobody_paid_ends(shop: Shop) -> None:
    shop.subscribe()
    shop.stripe.expire(shop.row().stripe_session_id)
    settle_due(now=now() + timedelta(minutes=3))
    assert shop.row().status == "ended"
    assert shop.subscribe().status == "pending"


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "reset_after", "error_after", "rate_limit"])
def test_an_answer_that_was_lost_opens_no_second_page(shop: Shop, fault: str) -> None:
    shop.stripe.fail_next(fault, method="POST", path="/v1/checkout/sessions")
    with pytest.raises(stripe_api.StripeUnknown):
        shop.subscribe()
    assert shop.row().status == "pending" and shop.plan() is None
    found = shop.subscribe()
    assert found.checkout_url is not None
    assert len(shop.stripe.all("checkout.session")) == 1


@pytest.mark.parametrize("fault", ["timeout", "error_after"])
def test_a_page_whose_answer_was_lost_can_be_given_up(shop: Shop, fault: str) -> None:
    shop.stripe.fail_next(fault, method="POST", path="/v1/checkout/sessions")
    with pytest.raises(stripe_api.StripeUnknown):
        shop.subscribe("basic")
    found = shop.subscribe("pro")
    assert found.plan == "pro" and found.checkout_url is not None
    assert [session["status"] for session in shop.stripe.all("checkout.session")][-1] == "open"
    assert sum(session["status"] == "open" for session in shop.stripe.all("checkout.session")) == 1
    shop.stripe.fail_next(fault, method="POST", path="/v1/checkout/sessions")
    other = Shop.__new__(Shop)
    other.stripe, other.developer_id = shop.stripe, developer("Bob")
    with pytest.raises(stripe_api.StripeUnknown):
        other.subscribe("basic")
    settle_due(now=now() + timedelta(hours=2))
    assert other.row().status == "ended"


def test_a_change_whose_answer_was_lost_is_followed(shop: Shop) -> None:
    row = shop.buy("basic")
    shop.stripe.fail_next("error_after", method="POST", path="/v1/subscriptions")
    with pytest.raises(stripe_api.StripeUnknown):
        shop.subscribe("pro")
    shop.hear()
    assert (shop.row().id, shop.plan()) == (row.id, "pro")


def test_an_upgrade_and_a_downgrade_change_the_same_subscription(shop: Shop) -> None:
    row = shop.buy("basic")
    found = shop.subscribe("enterprise")
    assert (found.id, found.plan, found.status) == (row.id, "enterprise", "active")
    assert shop.plan() == "enterprise"
    update = shop.stripe.calls_to("POST", f"/v1/subscriptions/{row.stripe_subscription_id}")[-1]
    assert update is not None
    assert shop.subscribe("basic").plan == "basic" and shop.plan() == "basic"
    assert len(shop.stripe.all("subscription")) == 1
    assert shop.subscribe("basic").plan == "basic"  # again changes nothing


def test_cancelling_ends_with_the_period_and_can_be_taken_back(shop: Shop) -> None:
    row = shop.buy()
    who = {"now": now(), "actor": ACTOR}
    assert cancel(shop.developer_id, **who).cancel_at_period_end is True
    assert shop.plan() == "pro"
    assert resume(shop.developer_id, **who).cancel_at_period_end is False
    cancel(shop.developer_id, **who)
    shop.stripe.renew(row.stripe_subscription_id or "")
    shop.hear()
    assert shop.row().status == "ended" and shop.plan() is None
    with pytest.raises(NotFound):
        cancel(shop.developer_id, **who)


def test_cancelling_what_is_not_paid_closes_its_page(shop: Shop) -> None:
    shop.subscribe()
    session = shop.row().stripe_session_id
    assert cancel(shop.developer_id, now=now(), actor=ACTOR).status == "ended"
    assert shop.stripe.objects[session]["status"] == "expired"


def test_each_month_is_posted_once(shop: Shop) -> None:
    row = shop.buy()
    for _ in range(2):
        shop.stripe.renew(row.stripe_subscription_id or "", tax_cents=100)
        shop.hear()
        shop.hear()
    assert SubscriptionInvoice.objects.filter(paid=True).count() == 3
    assert posted(AccountKind.PLATFORM, "operator") == 3 * 29_900 * CENT
    assert posted(AccountKind.TAX, "operator") == 200 * CENT
    assert list(differences()) == []
    assert_proven()


def test_past_due_keeps_the_plan_for_the_time_of_grace(shop: Shop, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    settings.SUBSCRIPTION_GRACE_DAYS = 3
    row = shop.buy()
    subscription = shop.stripe.objects[row.stripe_subscription_id or ""]
    shop.stripe.set_card(subscription["default_payment_method"], "card_declined")
    shop.stripe.renew(row.stripe_subscription_id or "")
    shop.hear()
    row = shop.row()
    assert row.status == "past_due" and row.past_due_since is not None and shop.plan() == "pro"
    assert Notice.objects.get().kind == "plan_payment_failed"
    failed = SubscriptionInvoice.objects.get(paid=False)
    assert failed.failures == 1 and failed.transaction_id is None
    measure_plans(now=row.past_due_since + timedelta(days=2))
    assert shop.plan() == "pro"
    measure_plans(now=row.past_due_since + timedelta(days=3))
    assert shop.plan() == "free"
    # Paid after all: the plan is back, and the month is posted.
    shop.stripe.set_card(subscription["default_payment_method"], "ok")
    stripe_api.call(lambda api: api.v1.invoices.pay(failed.id))
    shop.hear()
    assert (shop.row().status, shop.row().past_due_since, shop.plan()) == ("active", None, "pro")
    assert posted(AccountKind.PLATFORM, "operator") == 2 * 29_900 * CENT


def test_what_ends_at_stripe_ends_here(shop: Shop) -> None:
    row = shop.buy()
    shop.stripe.end_subscription(row.stripe_subscription_id or "")
    shop.hear()
    assert shop.row().status == "ended" and shop.plan() is None


def test_an_old_answer_does_not_undo_a_newer_one(shop: Shop, monkeypatch: Any) -> None:
    """Two workers: one has asked, is slow, and the other writes the end meanwhile."""
    row = shop.buy()
    stripe_id = row.stripe_subscription_id or ""
    real, asked = stripe_api.call, []

    def slowly(operation: Any) -> Any:
        answer = real(operation)
        if not asked:
            asked.append(1)
            shop.stripe.end_subscription(stripe_id)
            follow(stripe_id, now=now())
        return answer

    monkeypatch.setattr(stripe_api, "call", slowly)
    assert follow(stripe_id, now=now())
    assert shop.row().status == "ended" and shop.plan() is None


def test_a_plan_that_got_another_price_keeps_its_subscribers(shop: Shop) -> None:
    row = shop.buy()
    update_plan("pro", price_cents=39_900, now=now(), actor=ACTOR)
    assert Plan.objects.get(key="pro").stripe_price_id == ""
    shop.stripe.renew(row.stripe_subscription_id or "")
    shop.hear()
    assert (shop.row().plan_key, shop.plan()) == ("pro", "pro")
    assert posted(AccountKind.PLATFORM, "operator") == 2 * 29_900 * CENT
    other = Shop.__new__(Shop)
    other.stripe, other.developer_id = shop.stripe, developer("Bob")
    other.buy()
    assert PlanPrice.objects.filter(plan_key="pro").count() == 2
    assert posted(AccountKind.PLATFORM, "operator") == (2 * 29_900 + 39_900) * CENT


def test_what_cannot_be_subscribed_to(shop: Shop) -> None:
    with pytest.raises(NotFound):
        shop.subscribe("platinum")
    with pytest.raises(BadRequest):
        shop.subscribe("free")
    update_plan("pro", active=False, now=now(), actor=ACTOR)
    with pytest.raises(NotFound):
        shop.subscribe("pro")
    assign_plan(shop.developer_id, "enterprise", now=now(), actor=ACTOR)
    with pytest.raises(Conflict):
        shop.subscribe("basic")
    with pytest.raises(Conflict):
        cancel(shop.developer_id, now=now(), actor=ACTOR)


def test_an_operator_does_not_give_a_plan_over_a_paid_one(shop: Shop) -> None:
    shop.buy()
    with pytest.raises(Conflict):
        assign_plan(shop.developer_id, "enterprise", now=now(), actor=ACTOR)


def test_a_subscription_of_somebody_else_is_none_of_ours(shop: Shop) -> None:
    """Several instances and other software may use one Stripe account."""
    customer = stripe_api.call(lambda api: api.v1.customers.create({}))
    card = shop.stripe.card(customer.id)
    price = stripe_api.call(
        lambda api: api.v1.prices.create(
            {
                "currency": "usd",
                "unit_amount": 500,
                "recurring": {"interval": "month"},
                "product_data": {"name": "Other"},
            }
        )
    )
    made = stripe_api.call(
        lambda api: api.v1.subscriptions.create(
            {"customer": customer.id, "items": [{"price": price.id}], "default_payment_method": card}
        )
    )
    shop.hear()
    assert follow(made.id, now=now()) is False
    assert not SubscriptionInvoice.objects.exists() and not Subscription.objects.exists()


def test_subscribing_over_the_api(client: Client, fakestripe: FakeStripe, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = BASE
    api = make_api(client)
    seed()
    path = f"/v1/developers/{api.developer_id}/subscription"
    assert code_of(api.get(path, api.developer_token)) == (404, "subscription_not_found")
    assert code_of(api.post(path, {}, api.developer_token)) == (400, "missing_parameter")
    assert code_of(api.post(path, {"plan": "no"}, api.developer_token)) == (404, "plan_not_found")
    made = api.post(path, {"plan": "pro"}, api.developer_token)
    assert made.status_code == 201 and made.json()["status"] == "pending"
    fakestripe.pay(Subscription.objects.get().stripe_session_id)
    shown = api.get(path, api.developer_token).json()
    assert (shown["status"], shown["plan"]) == ("active", "pro")
    assert api.post(path, {"plan": "basic"}, api.developer_token).json()["plan"] == "basic"
    assert api.delete(path, api.developer_token).json()["cancel_at_period_end"] is True
    assert api.post(f"{path}/resume", None, api.developer_token).json()["cancel_at_period_end"] is False
    _, _, stranger = make_stranger()
    for response in (
        api.get(path, stranger),
        api.post(path, {"plan": "pro"}, stranger),
        api.delete(path, stranger),
        api.post(f"{path}/resume", None, stranger),
    ):
        assert code_of(response) == (404, "developer_not_found")


def test_without_stripe_a_subscription_is_refused_and_plans_are_shown(client: Client) -> None:
    api = make_api(client)
    seed()
    path = f"/v1/developers/{api.developer_id}/subscription"
    assert code_of(api.post(path, {"plan": "pro"}, api.developer_token)) == (503, "payments_off")
    assert len(api.get("/v1/plans").json()["data"]) == 4
