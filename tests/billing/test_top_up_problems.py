"""What an operator does about a payment that differs: credit what was received, once, or close it when it went back."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from apps.billing.models.top_ups import TopUp
from apps.billing.services.top_up_problems import close_problem, credit_received
from apps.billing.services.top_ups import settle_due, settle_top_up
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT
from apps.developers.models import AuditEvent
from tests.billing.conftest import Deliver
from tests.billing.test_top_up_pages import change_url
from tests.billing.top_up_factories import ACTOR, Payer, assert_proven, get, make_payer, row_of, session_of
from tests.fakestripe import FakeStripe

pytestmark = pytest.mark.django_db
WHY = {"reason": "asked the payer", "actor": ACTOR}


@pytest.fixture
def payer(fakestripe: FakeStripe) -> Payer:
    return make_payer(fakestripe)


def flagged(payer: Payer, received: int = 900, **session: Any) -> Any:
    """Have Stripe receive another amount than was asked for."""
    top_up = payer.start(1000)
    payer.pay(top_up)
    with payer.stripe.state.lock:
        row = payer.stripe.objects[session_of(top_up)]
        payer.stripe.objects[row["payment_intent"]]["amount_received"] = received
        row |= session
    settle_top_up(top_up.id, now=now())
    assert get(top_up).problem and payer.cents == 0
    return top_up


def intent(payer: Payer, top_up: Any) -> str:
    return str(payer.stripe.objects[session_of(top_up)]["payment_intent"])


def test_what_was_received_is_credited_once(payer: Payer, deliver: Deliver) -> None:
    top_up = flagged(payer)
    found = credit_received(top_up.id, now=now(), **WHY)
    assert (found.status, found.problem, payer.cents) == ("paid", "", 900)
    assert row_of(top_up).amount_cents == 900
    event = AuditEvent.objects.get(action="top_up.credit_problem")
    assert (event.detail["reason"], event.detail["usd"]) == ("asked the payer", "9.0000")
    for again in (credit_received, close_problem):
        with pytest.raises(Conflict, match="Nothing about"):
            again(top_up.id, now=now(), **WHY)
    deliver()
    assert payer.cents == 900
    assert_proven()


def test_what_is_not_ours_or_not_dollars_is_not_credited(payer: Payer) -> None:
    for wrong in ({"currency": "eur"}, {"metadata": {}}, {"payment_status": "unpaid", "status": "open"}):
        top_up = flagged(payer)
        with payer.stripe.state.lock:
            payer.stripe.objects[session_of(top_up)] |= wrong
        with pytest.raises(Conflict) as caught:
            credit_received(top_up.id, now=now(), **WHY)
        assert caught.value.code == "not_creditable"
    assert payer.cents == 0


def test_it_needs_a_reason_and_a_problem(payer: Payer) -> None:
    top_up = flagged(payer)
    for decide in (credit_received, close_problem):
        with pytest.raises(BadRequest):
            decide(top_up.id, reason=" ", now=now(), actor=ACTOR)
    with pytest.raises(Conflict):
        credit_received(payer.start().id, now=now(), **WHY)


def test_it_is_closed_when_the_money_went_back(payer: Payer, deliver: Deliver) -> None:
    top_up = flagged(payer)
    with pytest.raises(Conflict) as caught:
        close_problem(top_up.id, now=now(), **WHY)
    assert caught.value.code == "not_refunded"
    payer.stripe.refund_in_dashboard(intent(payer, top_up))
    with pytest.raises(Conflict):
        credit_received(top_up.id, now=now(), **WHY)
    assert close_problem(top_up.id, now=now(), **WHY).status == "failed"
    deliver()  # of the payment and its refund, late
    settle_top_up(top_up.id, now=now())
    found = get(top_up)
    assert (found.status, found.problem, payer.cents) == ("failed", "", 0)
    assert_proven()


def test_one_that_stripe_does_not_know_is_closed(payer: Payer) -> None:
    top_up = payer.start()
    del payer.stripe.objects[session_of(top_up)]
    settle_top_up(top_up.id, now=now())
    close_problem(top_up.id, now=now(), **WHY)
    assert (get(top_up).status, row_of(top_up).next_look_at) == ("failed", None)


def test_the_amount_of_a_top_up_without_a_problem_never_changes(payer: Payer, deliver: Deliver) -> None:
    credited = flagged(payer)
    credit_received(credited.id, now=now(), **WHY)
    for top_up in (payer.start(), payer.bought(deliver), credited):
        with pytest.raises(IntegrityError), transaction.atomic():
            TopUp.objects.filter(pk=top_up.id).update(amount_cents=1, credit_nano=NANO_PER_CENT)


def test_an_operator_decides_in_the_admin(payer: Payer, admin_client: Client) -> None:
    top_up = flagged(payer)
    form = {"refund_usd": "", "refund_key": new_id("key"), "problem_decision": "close", "problem_reason": ""}
    assert "Say why." in admin_client.post(change_url(top_up), form).text
    form["problem_reason"] = "looked at it"
    assert "not refunded" in admin_client.post(change_url(top_up), form, follow=True).text
    admin_client.post(change_url(top_up), form | {"problem_decision": "credit"})
    assert (get(top_up).status, payer.cents) == ("paid", 900)


def test_a_page_that_stays_open_is_closed(payer: Payer) -> None:
    top_up = payer.start()
    settle_due(now=now() + timedelta(hours=23))
    assert get(top_up).status == "open"
    settle_due(now=now() + timedelta(days=2))
    assert get(top_up).status == "expired"
    assert payer.stripe.objects[session_of(top_up)]["status"] == "expired"
