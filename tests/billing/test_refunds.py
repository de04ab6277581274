"""Credit that goes back: what is unused, with its tax, once; and what is made, or fails, at Stripe."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.billing import stripe_api
from apps.billing.models.top_ups import Refund, TopUp
from apps.billing.queries.credits import unused_paid
from apps.billing.queries.top_ups import RefundInfo, TopUpInfo, refunds_of
from apps.billing.services.refunds import refund_top_up, refundable_cents, settle_due, settle_refund
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.core.ids import new_id
from apps.ledger.services.accounts import freeze_wallet
from apps.usage.models import Alert
from tests.billing.conftest import Deliver
from tests.billing.credit_factories import given
from tests.billing.top_up_factories import (
    ACTOR,
    Payer,
    assert_proven,
    charge_of,
    funding_cents,
    get,
    make_payer,
    tax_cents,
)
from tests.fakestripe import FakeStripe
from tests.ledger.factories import at_once, take

CENT = 10_000_000


@pytest.fixture
def payer(transactional_db: None, fakestripe: FakeStripe) -> Payer:
    return make_payer(fakestripe)


def refund(top_up: TopUpInfo, amount: int | None = None, **asked: Any) -> RefundInfo:
    defaults = {"source": "operator", "reason": "asked by mail", "idempotency_key": new_id("key"), "now": now()}
    return refund_top_up(top_up.id, amount_cents=amount, **{**defaults, "actor": ACTOR, **asked})


def refusal(top_up: TopUpInfo, amount: int | None = None, **asked: Any) -> str:
    with pytest.raises(FaucetError) as caught:
        refund(top_up, amount, **asked)
    return caught.value.code


def test_unused_credit_goes_back_with_its_tax(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000, tax_cents=190)
    payer.spend(400)
    done = refund(top_up)
    assert (done.status, done.amount_cents, done.tax_cents) == ("succeeded", 600, 114)
    assert (payer.cents, tax_cents(), funding_cents()) == (0, 76, -476)
    (made,) = payer.stripe.all("refund")
    assert (made["amount"], made["metadata"]["refund"]) == (714, done.id)
    deliver()
    assert (get(top_up).refunded_cents, get(top_up).refunded_tax_cents) == (600, 114)
    assert refusal(top_up) == "nothing_to_refund"
    assert Refund.objects.count() == 1
    assert_proven()


def test_parts_add_up_to_the_cent(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000, tax_cents=77)
    for amount in (333, 333, 334):
        refund(top_up, amount)
    assert (payer.cents, tax_cents(), funding_cents()) == (0, 0, 0)
    assert_proven()


def test_only_the_top_ups_own_credit_goes_back(payer: Payer, deliver: Deliver) -> None:
    first, second = payer.bought(deliver, 1000), payer.bought(deliver, 2000)
    given(payer.account, 500 * CENT, now=now())
    refund(second, 1500)
    assert (unused_paid(payer.account, first.id), unused_paid(payer.account, second.id)) == (1000 * CENT, 500 * CENT)
    payer.spend(1100)  # the gift first, then the oldest credit that was bought
    assert (refundable_cents(first.id), refundable_cents(second.id)) == (400, 500)
    assert refusal(first, 401) == "refund_too_large"
    assert_proven()


def test_what_is_held_for_a_call_stays(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000)
    take("req_1", payer.account, 300 * CENT)
    assert refund(top_up).amount_cents == 700
    assert refusal(top_up) == "nothing_to_refund"


def test_refunds_at_once_pay_once(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000)
    results = at_once([lambda: refund(top_up, 800)] * 4)
    assert sum(isinstance(result, RefundInfo) for result in results) == 1
    assert (payer.cents, len(payer.stripe.all("refund"))) == (200, 1)
    same = at_once([lambda: refund(top_up, 50, idempotency_key="k")] * 4)
    assert len({result.id for result in same if isinstance(result, RefundInfo)}) == 1
    assert (payer.cents, len(payer.stripe.all("refund"))) == (150, 2)
    assert_proven()


def test_owner_has_some_days(payer: Payer, deliver: Deliver, settings: Any) -> None:
    settings.REFUND_DAYS = 14
    top_up = payer.bought(deliver)
    late = {"source": "owner", "reason": "", "now": now() + timedelta(days=15)}
    assert refusal(top_up, **late) == "refund_too_late"
    freeze_wallet(payer.account, now=now(), actor=ACTOR)
    assert refusal(top_up, source="owner", reason="") == "wallet_frozen"
    assert refund(top_up, 100).status == "succeeded"
    assert refund(top_up, 100, now=now() + timedelta(days=90)).status == "succeeded"


def test_what_cannot_be_refunded(payer: Payer, deliver: Deliver) -> None:
    open_one, paid = payer.start(), payer.bought(deliver)
    assert refusal(open_one) == "not_refundable"
    assert refusal(paid, reason=" ") == "reason_required"
    assert refusal(paid, 0) == refusal(paid, -5) == refusal(paid, 1001) == "refund_too_large"
    refund(paid, 300, idempotency_key="k")
    assert refusal(paid, 400, idempotency_key="k") == "idempotency_key_reused"
    payer.stripe.open_dispute(charge_of(paid))
    deliver()
    assert refusal(paid, 100) == "disputed"


def test_refund_that_stripe_refuses_is_credited_again(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000, tax_cents=100)
    payer.stripe.open_dispute(charge_of(top_up))  # its webhook is not here yet
    payer.stripe.webhooks.delay = True
    assert refusal(top_up) == "payment_refused"
    (failed,) = refunds_of(top_up.id)
    assert (failed.status, failed.error_code) == ("failed", "charge_disputed")
    assert (payer.cents, tax_cents(), unused_paid(payer.account, top_up.id)) == (1000, 100, 1000 * CENT)
    assert get(top_up).refunded_cents == 0
    assert_proven()


def test_refund_that_fails_weeks_later(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000, tax_cents=100)
    refund(top_up, 500)
    (made,) = payer.stripe.all("refund")
    payer.stripe.fail_refund(made["id"])
    payer.stripe.webhooks.duplicate = payer.stripe.webhooks.reorder = True
    deliver()
    (failed,) = refunds_of(top_up.id)
    assert (failed.status, failed.error_code) == ("failed", "lost_or_stolen_card")
    assert (payer.cents, tax_cents(), funding_cents()) == (1000, 100, -1100)
    assert unused_paid(payer.account, top_up.id) == 1000 * CENT
    assert refund(top_up).amount_cents == 1000
    assert_proven()


def test_refund_that_stripe_makes_after_all_is_an_alarm(payer: Payer, deliver: Deliver) -> None:
    payer.stripe.state.refund_status = "pending"
    top_up = payer.bought(deliver)
    under_way = refund(top_up)
    (made,) = payer.stripe.all("refund")
    payer.stripe.fail_refund(made["id"])
    deliver()
    assert payer.cents == 1000
    payer.stripe.objects[made["id"]]["status"] = "succeeded"
    payer.stripe.state.emit("refund.updated", payer.stripe.objects[made["id"]])
    deliver()
    assert (payer.cents, Alert.objects.get(kind="refund").alert_key) == (1000, under_way.id)


def test_refund_that_takes_days(payer: Payer, deliver: Deliver) -> None:
    payer.stripe.state.refund_status = "pending"
    top_up = payer.bought(deliver)
    under_way = refund(top_up)
    assert (under_way.status, payer.cents) == ("sending", 0)
    payer.stripe.succeed_refund(payer.stripe.all("refund")[0]["id"])
    deliver()
    assert refunds_of(top_up.id)[0].status == "succeeded"


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "reset_after", "error_after", "rate_limit"])
def test_no_answer_is_looked_for_before_asking_again(payer: Payer, deliver: Deliver, settings: Any, fault: str) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    top_up = payer.bought(deliver)
    payer.stripe.fail_next(fault, method="POST", path="/v1/refunds")
    under_way = refund(top_up, 600, idempotency_key="k")
    assert (under_way.status, payer.cents) == ("sending", 400)
    assert refund(top_up, 600, idempotency_key="k").id == under_way.id
    settle_due(now=now() + timedelta(minutes=5))
    assert refunds_of(top_up.id)[0].status == "succeeded"
    assert (payer.cents, len(payer.stripe.all("refund"))) == (400, 1)
    deliver()
    assert_proven()


def test_crash_after_the_wallet_was_debited(payer: Payer, deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    top_up = payer.bought(deliver)
    with monkeypatch.context() as patch:
        patch.setattr(stripe_api, "call", lambda operation: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            refund(top_up)
    assert (payer.cents, payer.stripe.all("refund")) == (0, [])
    settle_due(now=now() + timedelta(minutes=5))
    assert (refunds_of(top_up.id)[0].status, len(payer.stripe.all("refund"))) == ("succeeded", 1)
    assert_proven()


def test_webhook_before_the_answer_is_written(payer: Payer, deliver: Deliver, settings: Any) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    top_up = payer.bought(deliver)
    payer.stripe.fail_next("timeout_after", method="POST", path="/v1/refunds")
    under_way = refund(top_up)
    deliver()
    assert refunds_of(top_up.id)[0].status == "succeeded"
    assert settle_refund(under_way.id, now=now()).status == "succeeded"
    assert Refund.objects.count() == 1
    assert payer.cents == 0


# ---- made in Stripe's dashboard ----


def test_refund_made_at_stripe_is_posted_once(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000, tax_cents=190)
    payer.spend(800)
    payer.stripe.refund_in_dashboard(charge_of(top_up), 595)
    payer.stripe.webhooks.duplicate = True
    deliver()
    (made,) = refunds_of(top_up.id)
    assert (made.source, made.status, made.amount_cents, made.tax_cents) == ("stripe", "succeeded", 500, 95)
    assert (payer.cents, tax_cents(), funding_cents()) == (-300, 95, -595)
    payer.stripe.refund_in_dashboard(charge_of(top_up))
    deliver()
    assert (payer.cents, tax_cents(), funding_cents()) == (-800, 0, 0)
    assert_proven()


def test_refund_made_at_stripe_that_fails(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    made = payer.stripe.refund_in_dashboard(charge_of(top_up), 400)
    deliver()
    assert payer.cents == 600
    payer.stripe.fail_refund(made["id"])
    deliver()
    assert (payer.cents, get(top_up).refunded_cents) == (1000, 0)
    assert_proven()


def test_refund_at_stripe_before_the_payment_is_known(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    session = payer.pay(top_up)
    payer.stripe.refund_in_dashboard(session["payment_intent"], 300)
    payer.stripe.webhooks.reorder = True
    deliver()
    assert (payer.cents, get(top_up).refunded_cents) == (700, 300)
    assert_proven()


def test_refund_of_what_is_none_of_ours(payer: Payer, deliver: Deliver) -> None:
    other = payer.stripe.card()
    intent = stripe_api.call(
        lambda api: api.v1.payment_intents.create(
            {"amount": 900, "currency": "usd", "payment_method": other, "confirm": True}
        )
    )
    payer.stripe.refund_in_dashboard(intent.id)
    deliver()
    assert (Refund.objects.count(), TopUp.objects.count()) == (0, 0)


def test_database_refuses(payer: Payer, deliver: Deliver) -> None:
    done = refund(payer.bought(deliver), 100)
    for change in ({"status": "failed"}, {"amount_cents": -1}, {"stripe_refund_id": None}, {"status": "sending"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Refund.objects.filter(pk=done.id).update(**change)
