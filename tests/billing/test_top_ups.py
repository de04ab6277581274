"""Credit that is bought: once, whoever notices first, and whatever goes wrong between us and Stripe."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.billing import stripe_api
from apps.billing.models import CreditLot
from apps.billing.models.top_ups import BillingCustomer, TopUp, TopUpStatus
from apps.billing.queries.top_ups import card_of, top_ups_of
from apps.billing.services import top_ups
from apps.billing.services.top_ups import go_on, record_paid, settle_due, settle_top_up
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, Forbidden, Unavailable
from apps.ledger.models import LedgerTransaction
from apps.ledger.services.accounts import freeze_wallet
from apps.usage.models import Alert
from tests.billing.conftest import Deliver
from tests.billing.top_up_factories import (
    ACTOR,
    Payer,
    assert_proven,
    funding_cents,
    get,
    make_payer,
    row_of,
    session_of,
    tax_cents,
)
from tests.fakestripe import FakeStripe
from tests.ledger.factories import at_once

LATER = timedelta(minutes=5)


@pytest.fixture
def payer(transactional_db: None, fakestripe: FakeStripe) -> Payer:
    return make_payer(fakestripe)


def credited(payer: Payer) -> list[int]:
    """Return what each top-up transaction credited, in cents."""
    return [
        sum(entry.amount for entry in row.entries.all() if entry.account_id == payer.account) // 10_000_000
        for row in LedgerTransaction.objects.filter(kind="top_up")
    ]


def settle(top_up: Any) -> str:
    return settle_top_up(top_up.id, now=now()).status


def test_payment_page_is_opened_and_credits_once_by_webhook_page_and_sweeper(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start(1000)
    assert (top_up.status, payer.cents) == ("open", 0)
    assert top_up.checkout_url.startswith("https://checkout.stripe.com/")
    session = payer.stripe.objects[session_of(top_up)]
    assert session["success_url"] == f"https://ai.example.com/top-ups/{top_up.id}/done"
    payer.stripe.webhooks.duplicate = payer.stripe.webhooks.reorder = True
    payer.pay(top_up)
    deliver()
    assert settle(top_up) == "paid"
    settle_due(now=now() + LATER)
    assert credited(payer) == [1000]
    assert (payer.cents, funding_cents(), tax_cents()) == (1000, -1000, 0)
    assert get(top_up).receipt_url.startswith("https://")
    assert_proven()


def test_success_page_before_the_webhook(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    payer.pay(top_up)
    assert settle(top_up) == "paid"
    deliver()
    deliver()
    assert credited(payer) == [1000]
    assert_proven()


def test_webhook_that_never_comes(payer: Payer) -> None:
    payer.stripe.webhooks.drop = True
    top_up = payer.start()
    payer.pay(top_up)
    assert settle_due(now=now()) == 0
    assert settle_due(now=now() + LATER) == 1
    assert (get(top_up).status, credited(payer)) == ("paid", [1000])


def test_settles_at_once_credit_once(payer: Payer) -> None:
    top_up = payer.start()
    payer.pay(top_up)
    results = at_once([lambda: settle(top_up)] * 6)
    assert results == ["paid"] * 6
    assert credited(payer) == [1000]
    assert CreditLot.objects.filter(reference=top_up.id).count() == 1
    assert_proven()


def test_tax_is_kept_apart(payer: Payer, deliver: Deliver, settings: Any) -> None:
    settings.STRIPE_AUTOMATIC_TAX = True
    top_up = payer.bought(deliver, 1000, tax_cents=190)
    assert payer.stripe.objects[session_of(top_up)]["automatic_tax"]["enabled"]
    assert (top_up.amount_cents, top_up.tax_cents, top_up.total_cents) == (1000, 190, 1190)
    assert (payer.cents, tax_cents(), funding_cents()) == (1000, 190, -1190)
    assert_proven()


def test_completed_is_not_paid(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    payer.stripe.pay_later(session_of(top_up))
    deliver()
    assert (get(top_up).status, payer.cents) == ("pending", 0)
    payer.stripe.succeed_async(session_of(top_up))
    deliver()
    assert (get(top_up).status, payer.cents) == ("paid", 1000)
    assert credited(payer) == [1000]


def test_payment_that_takes_days_and_fails(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    payer.stripe.pay_later(session_of(top_up))
    payer.stripe.fail_async(session_of(top_up))
    payer.stripe.webhooks.reorder = True
    deliver()
    assert (get(top_up).status, payer.cents, row_of(top_up).next_look_at) == ("failed", 0, None)


def test_declined_on_the_page_may_be_tried_again(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    payer.stripe.fail_payment(session_of(top_up))
    deliver()
    assert get(top_up).status == "open"
    payer.pay(top_up)
    deliver()
    assert get(top_up).status == "paid"


def test_page_that_expires(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    payer.stripe.expire(session_of(top_up))
    deliver()
    assert (get(top_up).status, get(top_up).checkout_url) == ("expired", "")


def test_same_key_is_the_same_top_up(payer: Payer) -> None:
    first = payer.start(idempotency_key="k")
    assert payer.start(idempotency_key="k") == first
    assert len(payer.stripe.calls_to("POST", "/v1/checkout/sessions")) == 1
    with pytest.raises(Conflict, match="another top-up") as caught:
        payer.start(2000, idempotency_key="k")
    assert caught.value.code == "idempotency_key_reused"
    other = make_payer(payer.stripe, "usr_2")
    assert other.start(2000, idempotency_key="k").id != first.id


def test_same_key_at_once(payer: Payer) -> None:
    found = at_once([lambda: payer.start(idempotency_key="k")] * 4)
    ids = {result.id for result in found if not isinstance(result, Exception)}
    assert len(ids) == 1
    assert all(isinstance(result, stripe_api.StripeUnknown) for result in found if isinstance(result, Exception))
    assert len(payer.stripe.all("checkout.session")) == TopUp.objects.count() == 1


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "reset", "reset_after", "error_after", "rate_limit"])
def test_no_answer_leaves_the_row_and_the_same_key_goes_on(payer: Payer, settings: Any, fault: str) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    payer.stripe.fail_next(fault, method="POST", path="/v1/checkout/sessions")
    with pytest.raises(stripe_api.StripeUnknown):
        payer.start(idempotency_key="k")
    (top_up,) = top_ups_of(payer.account, limit=5)
    assert top_up.status == "sending"
    again = payer.start(idempotency_key="k")
    assert (again.id, again.status) == (top_up.id, "open")
    assert len(payer.stripe.all("checkout.session")) == 1
    payer.pay(again)
    assert settle(again) == "paid"
    assert_proven()


def test_answer_lost_and_paid_all_the_same(payer: Payer, deliver: Deliver, settings: Any) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    payer.stripe.fail_next("timeout_after", method="POST", path="/v1/checkout/sessions")
    with pytest.raises(stripe_api.StripeUnknown):
        payer.start()
    (session,) = payer.stripe.all("checkout.session")
    payer.stripe.pay(session["id"])
    deliver()
    (top_up,) = top_ups_of(payer.account, limit=5)
    assert (top_up.status, payer.cents) == ("paid", 1000)
    assert row_of(top_up).checkout_session_id == session["id"]
    assert_proven()


def test_what_stripe_never_heard_of_is_sent_again_and_given_up_in_the_end(payer: Payer, settings: Any) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    for fault in ("timeout", "timeout"):
        payer.stripe.fail_next(fault, method="POST", path="/v1/checkout/sessions")
        with pytest.raises(stripe_api.StripeUnknown):
            payer.start()
    first, second = TopUp.objects.order_by("id")
    assert go_on(first.id, now=now()).status == "open"
    settle_due(now=now() + timedelta(hours=2))
    assert (get(second.id).status, get(second.id).error_code) == ("failed", "not_sent")


def test_what_was_given_up_is_credited_if_it_was_paid(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    TopUp.objects.filter(pk=top_up.id).update(status="failed", error_code="not_sent", next_look_at=None)
    payer.pay(top_up)
    deliver()
    assert (get(top_up).status, payer.cents) == ("paid", 1000)


def test_crash_between_posting_and_all_else(payer: Payer, deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    top_up = payer.start()
    payer.pay(top_up)
    with monkeypatch.context() as patch:
        patch.setattr(top_ups.credits, "add_lot", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            settle(top_up)
        deliver()
    assert (get(top_up).status, payer.cents, credited(payer)) == ("open", 0, [])
    deliver(now=now() + LATER)
    assert (get(top_up).status, payer.cents, credited(payer)) == ("paid", 1000, [1000])
    assert_proven()


def test_stripe_out_of_reach_while_settling(payer: Payer, deliver: Deliver, settings: Any) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    top_up = payer.start()
    payer.pay(top_up)
    payer.stripe.fail_next("timeout", method="GET", path="/v1/checkout/sessions", times=2)
    deliver()
    assert get(top_up).status == "open"
    deliver(now=now() + timedelta(hours=2))
    assert credited(payer) == [1000]


# ---- what differs is never credited silently ----


def change(payer: Payer, top_up: Any, **session: Any) -> None:
    with payer.stripe.state.lock:
        payer.stripe.objects[session_of(top_up)] |= session


@pytest.mark.parametrize(
    ("session", "problem"),
    [
        ({"amount_subtotal": 900, "amount_total": 900}, "the amount is 900"),
        ({"currency": "eur"}, "the currency is eur"),
        ({"livemode": True}, "livemode is True"),
        ({"metadata": {"modelfaucet": "another", "top_up": "top_x"}}, "another top-up's mark"),
        ({"total_details": {"amount_tax": 100}}, "1000 cents were received"),
        ({"payment_intent": None}, "0 cents were received"),
    ],
)
def test_difference_is_flagged_and_told(payer: Payer, session: dict[str, Any], problem: str) -> None:
    top_up = payer.start()
    payer.pay(top_up)
    before = payer.stripe.objects[session_of(top_up)] | {}
    change(payer, top_up, **session)
    for _ in range(2):
        assert settle(top_up) == "pending"
    assert problem in get(top_up).problem
    assert (payer.cents, LedgerTransaction.objects.count()) == (0, 0)
    alert = Alert.objects.get(kind="top_up")
    assert (alert.scope_id, alert.developer_id) == (top_up.id, None)
    change(payer, top_up, **before)
    assert settle(top_up) == "paid"
    assert (get(top_up).problem, payer.cents) == ("", 1000)
    assert_proven()


def test_session_that_stripe_does_not_know_any_more_is_flagged(payer: Payer) -> None:
    top_up = payer.start()
    del payer.stripe.objects[session_of(top_up)]
    assert settle(top_up) == "pending"
    assert "does not know it" in get(top_up).problem


def test_customer_deleted_at_stripe(payer: Payer, deliver: Deliver) -> None:
    payer.bought(deliver, save_card=True)
    stripe_api.call(lambda api: api.v1.customers.delete(BillingCustomer.objects.get().customer_id or ""))
    with pytest.raises(stripe_api.StripeRefused):
        payer.start()
    assert card_of(payer.account) is None
    assert payer.bought(deliver).status == "paid"


def test_payment_of_another_top_up_is_not_counted_twice(payer: Payer) -> None:
    first, second = payer.start(), payer.start()
    payer.pay(first)
    payer.pay(second)
    settle(first)
    intent = row_of(first).payment_intent_id
    change(payer, second, payment_intent=intent)
    assert settle(second) == "pending"
    assert "paid for another top-up" in get(second).problem
    assert credited(payer) == [1000]


def test_second_session_for_one_top_up_is_told(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    twin = payer.start(1000)
    change(payer, twin, metadata=payer.stripe.objects[session_of(top_up)]["metadata"])
    payer.pay(twin)
    deliver()
    assert "as well" in get(top_up).problem
    assert (payer.cents, credited(payer)) == (1000, [1000])


def test_other_instances_events_are_passed_over(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    theirs = {"modelfaucet": "somebody else", "top_up": top_up.id}
    change(payer, top_up, metadata=theirs, _intent={"metadata": theirs})
    payer.pay(top_up)
    deliver()
    assert (get(top_up).status, get(top_up).problem) == ("open", "")


# ---- saved cards ----


def test_card_is_saved_on_wish_and_charged_later(payer: Payer, deliver: Deliver) -> None:
    payer.bought(deliver)
    assert card_of(payer.account) is None
    with pytest.raises(Conflict) as caught:
        payer.charge()
    assert caught.value.code == "no_saved_card"
    payer.bought(deliver, save_card=True)
    card = card_of(payer.account)
    assert card is not None
    assert (card.brand, card.last4, card.exp_year) == ("visa", "4242", 2040)
    paid = payer.charge(2500)
    assert (paid.status, paid.source, payer.cents) == ("paid", "saved_card", 4500)
    deliver()
    assert sorted(credited(payer)) == [1000, 1000, 2500]
    assert BillingCustomer.objects.get().customer_id == payer.stripe.all("customer")[0]["id"]
    assert_proven()


@pytest.mark.parametrize(
    ("behaviour", "code"), [("card_declined", "generic_decline"), ("requires_action", "authentication_required")]
)
def test_saved_card_that_is_declined(payer: Payer, deliver: Deliver, behaviour: str, code: str) -> None:
    payer.bought(deliver, save_card=True)
    payer.stripe.set_card(payer.card(), behaviour)
    with pytest.raises(stripe_api.CardDeclined) as caught:
        payer.charge(idempotency_key="k")
    assert caught.value.status == 402
    deliver()
    failed = payer.charge(idempotency_key="k")
    assert (failed.status, failed.error_code, payer.cents) == ("failed", code, 1000)


def test_saved_card_whose_payment_takes_days(payer: Payer, deliver: Deliver) -> None:
    payer.bought(deliver, save_card=True)
    payer.stripe.set_card(payer.card(), "processing")
    top_up = payer.charge()
    assert (top_up.status, payer.cents) == ("pending", 1000)
    payer.stripe.confirm(row_of(top_up).payment_intent_id or "")
    deliver()
    assert (get(top_up).status, payer.cents) == ("paid", 2000)


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "error_after", "reset_after"])
def test_charge_without_an_answer_is_looked_for(payer: Payer, deliver: Deliver, settings: Any, fault: str) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    payer.bought(deliver, save_card=True)
    payer.stripe.fail_next(fault, method="POST", path="/v1/payment_intents")
    with pytest.raises(stripe_api.StripeUnknown):
        payer.charge()
    settle_due(now=now() + LATER)
    top_up = top_ups_of(payer.account, limit=1)[0]
    assert (top_up.status, payer.cents) == ("paid", 2000)
    assert len(payer.stripe.all("payment_intent")) == 2
    deliver()
    assert payer.cents == 2000
    assert_proven()


def test_tax_of_a_saved_card(payer: Payer, deliver: Deliver, settings: Any) -> None:
    payer.bought(deliver, save_card=True)
    settings.STRIPE_AUTOMATIC_TAX = True
    payer.stripe.state.tax_bps = 1900
    top_up = payer.charge(1000)
    assert (top_up.tax_cents, top_up.total_cents, payer.cents, tax_cents()) == (190, 1190, 2000, 190)
    assert_proven()


# ---- what is refused ----


def test_limits_and_switches(payer: Payer, settings: Any) -> None:
    settings.TOP_UP_MIN_USD, settings.TOP_UP_MAX_USD, settings.MAX_BALANCE_USD = 5, 100, 50
    for amount in (499, 10_001):
        with pytest.raises(BadRequest) as caught:
            payer.start(amount)
        assert caught.value.code == "invalid_amount"
    with pytest.raises(BadRequest) as caught:
        payer.start(5_001)
    assert caught.value.code == "balance_limit"
    freeze_wallet(payer.account, now=now(), actor=ACTOR)
    with pytest.raises(Forbidden) as frozen:
        payer.start()
    assert frozen.value.code == "wallet_frozen"
    settings.STRIPE_ENABLED = False
    with pytest.raises(Unavailable) as off:
        payer.start()
    assert off.value.code == "payments_off"
    assert not TopUp.objects.exists()
    assert payer.stripe.calls == []


def test_what_is_paid_is_credited_even_above_the_limit(payer: Payer, deliver: Deliver, settings: Any) -> None:
    first, second = payer.start(4000), payer.start(4000)
    settings.MAX_BALANCE_USD = 50
    payer.pay(first)
    payer.pay(second)
    deliver()
    assert payer.cents == 8000


# ---- what the database refuses ----


@pytest.mark.parametrize(
    "change",
    [
        {"status": TopUpStatus.PAID},
        {"amount_cents": 5},
        {"credit_nano": 5},
        {"refunded_cents": 1},
        {"status": "nonsense"},
        {"next_look_at": None},
    ],
)
def test_database_refuses(payer: Payer, change: dict[str, Any]) -> None:
    top_up = payer.start()
    with pytest.raises(IntegrityError), transaction.atomic():
        TopUp.objects.filter(pk=top_up.id).update(**change)


def test_paid_stays_paid(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    unpaid = {"status": "failed", "transaction_id": None, "paid_at": None}
    for change in (unpaid, {"tax_cents": 5}, {"account_id": 5}):
        with pytest.raises(IntegrityError), transaction.atomic():
            TopUp.objects.filter(pk=top_up.id).update(**change)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM top_ups WHERE id = %s", [top_up.id])


def test_recording_twice_with_other_tax_credits_once(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    intent = row_of(top_up).payment_intent_id
    assert intent is not None
    record_paid(top_up.id, payment_intent_id=intent, tax_cents=7, now=now())
    assert (payer.cents, tax_cents()) == (1000, 0)
