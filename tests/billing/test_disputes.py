"""Payments that banks take back: debited and frozen, given back, clawed back, written off, in whatever order."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from apps.billing.models.disputes import Dispute, DisputeClawback
from apps.billing.models.payouts import PayoutAccount
from apps.billing.models.top_ups import Refund, TopUp
from apps.billing.queries.credits import unused_paid
from apps.billing.queries.disputes import DisputeInfo, disputes_of_account, disputes_of_developer
from apps.billing.queries.top_ups import TopUpInfo
from apps.billing.services import disputes
from apps.billing.services.customers import Owner
from apps.billing.services.disputes import settle_dispute, write_off_lost
from apps.billing.services.refunds import refund_top_up
from apps.core.clock import now
from apps.ledger.models import AccountKind, LedgerTransaction
from apps.ledger.services.accounts import freeze_wallet
from apps.usage.models import Alert, UsageCharge
from tests.billing.conftest import Deliver
from tests.billing.top_up_factories import (
    ACTOR,
    Payer,
    assert_proven,
    charge_of,
    funding_cents,
    get,
    make_payer,
    posted_cents,
    tax_cents,
)
from tests.fakestripe import FakeStripe
from tests.gateway.api_factories import Api, make_api, settle_call
from tests.ledger.factories import at_once
from tests.live import rate_all

CENT = 10_000_000
DAY = timedelta(days=1)


@pytest.fixture
def payer(transactional_db: None, fakestripe: FakeStripe) -> Payer:
    return make_payer(fakestripe)


def dispute(payer: Payer, top_up: TopUpInfo, **how: Any) -> str:
    return str(payer.stripe.open_dispute(charge_of(top_up), **how)["id"])


def the(payer: Payer) -> DisputeInfo:
    (found,) = disputes_of_account(payer.account)
    return found


def test_opened_and_won(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000, tax_cents=190)
    payer.spend(300)
    payer.stripe.webhooks.duplicate = True
    found = dispute(payer, top_up)
    deliver()
    assert (the(payer).status, the(payer).credit_cents, the(payer).tax_cents) == ("open", 1000, 190)
    assert (payer.cents, payer.frozen, tax_cents(), funding_cents()) == (-300, True, 0, 0)
    payer.stripe.close_dispute(found, "won")
    payer.stripe.webhooks.reorder = True
    deliver()
    assert the(payer).status == "won"
    assert (payer.cents, payer.frozen, tax_cents(), funding_cents()) == (700, False, 190, -1190)
    assert unused_paid(payer.account, top_up.id) == 700 * CENT
    assert Alert.objects.filter(kind="dispute").count() == 1
    assert_proven()


def test_lost_and_written_off(payer: Payer, deliver: Deliver, settings: Any) -> None:
    settings.DISPUTE_WRITE_OFF_DAYS = 60
    payer.bought(deliver, 500)
    top_up = payer.bought(deliver, 1000)
    payer.spend(1300)
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, "lost")
    deliver()
    assert (the(payer).status, payer.cents, payer.frozen) == ("lost", -800, True)
    assert write_off_lost(now=now() + 59 * DAY) == 0
    assert write_off_lost(now=now() + 61 * DAY) == 1
    assert write_off_lost(now=now() + 62 * DAY) == 0
    assert (the(payer).status, the(payer).written_off_nano, payer.cents) == ("written_off", 800 * CENT, 0)
    assert posted_cents(AccountKind.PLATFORM_LOSS, "operator") == -800
    assert payer.frozen
    assert_proven()


def test_lost_without_a_debt_costs_nobody(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, "lost")
    deliver()
    assert write_off_lost(now=now() + 100 * DAY) == 1
    assert (the(payer).written_off_nano, payer.cents) == (0, 0)
    assert_proven()


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_closed_before_created(payer: Payer, deliver: Deliver, outcome: str) -> None:
    top_up = payer.bought(deliver)
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, outcome)
    payer.stripe.webhooks.reorder = payer.stripe.webhooks.duplicate = True
    deliver()
    assert the(payer).status == outcome
    assert (payer.cents, payer.frozen) == ((1000, False) if outcome == "won" else (0, True))
    assert Dispute.objects.count() == 1
    assert_proven()


def test_before_the_top_up_is_known(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start()
    session = payer.pay(top_up)
    payer.stripe.open_dispute(session["payment_intent"])
    payer.stripe.webhooks.reorder = True
    deliver()
    assert (get(top_up).status, the(payer).status, payer.cents) == ("paid", "open", 0)
    assert_proven()


def test_inquiry_withdraws_nothing(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    found = dispute(payer, top_up, inquiry=True)
    deliver()
    assert (the(payer).status, payer.cents, payer.frozen) == ("inquiry", 1000, False)
    payer.stripe.close_dispute(found, "warning_closed")
    deliver()
    assert (the(payer).status, payer.cents, LedgerTransaction.objects.filter(kind="dispute").count()) == (
        "closed",
        1000,
        0,
    )


def test_inquiry_that_becomes_a_dispute(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    found = dispute(payer, top_up, inquiry=True)
    deliver()
    payer.stripe.escalate_dispute(found)
    deliver()
    assert (the(payer).status, payer.cents, payer.frozen) == ("open", 0, True)


def test_partial(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000, tax_cents=100)
    dispute(payer, top_up, amount=550)
    deliver()
    assert (the(payer).credit_cents, the(payer).tax_cents, payer.cents, tax_cents()) == (500, 50, 500, 50)
    assert_proven()


def test_after_a_refund(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000)
    particulars: dict[str, Any] = {"idempotency_key": "k", "now": now(), "actor": ACTOR}
    refund_top_up(top_up.id, amount_cents=600, source="operator", reason="test", **particulars)
    found = dispute(payer, top_up)
    deliver()
    assert (payer.cents, payer.frozen) == (-600, True)
    payer.stripe.close_dispute(found, "won")
    deliver()
    assert (payer.cents, payer.frozen, Refund.objects.get().status) == (400, False, "succeeded")
    assert_proven()


def test_wallet_stays_frozen_while_another_is_open(payer: Payer, deliver: Deliver) -> None:
    first, second = payer.bought(deliver), payer.bought(deliver)
    one, two = dispute(payer, first), dispute(payer, second)
    deliver()
    payer.stripe.close_dispute(one, "won")
    deliver()
    assert (payer.frozen, payer.cents) == (True, 1000)
    payer.stripe.close_dispute(two, "won")
    deliver()
    assert (payer.frozen, payer.cents) == (False, 2000)


def test_what_an_operator_froze_stays_frozen(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    freeze_wallet(payer.account, now=now(), actor=ACTOR)
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, "won")
    deliver()
    assert (payer.frozen, payer.cents) == (True, 1000)


def test_at_once(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    found = dispute(payer, top_up)
    results = at_once([lambda: settle_dispute(found, now=now())] * 6)
    assert {result.status for result in results} == {"open"}
    assert (payer.cents, Dispute.objects.count()) == (0, 1)
    payer.stripe.close_dispute(found, "won")
    at_once([lambda: settle_dispute(found, now=now())] * 6)
    assert (payer.cents, payer.frozen) == (1000, False)
    assert_proven()


def test_of_what_is_none_of_ours(payer: Payer, deliver: Deliver) -> None:
    from apps.billing import stripe_api

    card = payer.stripe.card()
    intent = stripe_api.call(
        lambda api: api.v1.payment_intents.create(
            {"amount": 900, "currency": "usd", "payment_method": card, "confirm": True}
        )
    )
    payer.stripe.open_dispute(intent.id)
    deliver()
    assert not Dispute.objects.exists()


def test_status_that_cannot_follow_is_flagged(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, "won")
    deliver()
    payer.stripe.objects[found]["status"] = "lost"
    settle_dispute(found, now=now())
    assert (the(payer).status, payer.cents) == ("won", 1000)
    assert "lost" in Dispute.objects.get().problem


# ---- claw-back ----


@pytest.fixture
def api(transactional_db: None, client: Client) -> Api:
    return make_api(client)


def customer(api: Api, stripe: FakeStripe) -> Payer:
    world = api.world.new_session("carol")
    payer = Payer(stripe, world.account_id, Owner("end_user", world.end_user_id, api.app_id))
    payer.token = world.token  # type: ignore[attr-defined]
    return payer


def use(payer: Payer, *, at: datetime | None = None) -> int:
    """Make one call with the customer's money and return the developer's share, in nano-USD."""
    request_id = settle_call(payer.token, at=at)  # type: ignore[attr-defined]
    rate_all()
    return UsageCharge.objects.get(event__request_id=request_id).developer_nano


def developer_nano(api: Api) -> int:
    return round(posted_cents(AccountKind.DEVELOPER, api.developer_id) * CENT)


def spend_rest(payer: Payer, *, leave: int = 0) -> None:
    """Spend what is left of the wallet but so much, in nano-USD, where no developer has a share."""
    from apps.ledger.queries import balance
    from tests.billing.credit_factories import spend

    spend(payer.account, balance(payer.account).posted - leave, f"rest:{now()}")


def test_lost_takes_back_what_the_money_earned_and_no_more_than_is_owed(
    api: Api, fakestripe: FakeStripe, deliver: Deliver
) -> None:
    payer = customer(api, fakestripe)
    payer.bought(deliver, 1000)
    early = use(payer)
    top_up = payer.bought(deliver, 1000)
    shares = [use(payer) for _ in range(3)]
    spend_rest(payer)
    before = developer_nano(api)
    assert before == early + sum(shares) and min(shares) > 0
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, "lost")
    deliver()
    deliver()
    lost = the(payer)
    assert lost.clawed_back_nano == sum(shares)  # the one before the top-up is not of its money
    assert developer_nano(api) == early
    assert payer.cents == -1000 + sum(shares) / CENT
    assert DisputeClawback.objects.count() == 3
    assert [row.id for row in disputes_of_developer(api.developer_id)] == [lost.id]
    assert Alert.objects.filter(kind="clawback", developer_id=api.developer_id).count() == 1
    write_off_lost(now=now() + 100 * DAY)
    assert payer.cents == 0
    assert_proven()


def test_debt_smaller_than_the_shares_takes_the_newest_and_a_part(
    api: Api, fakestripe: FakeStripe, deliver: Deliver
) -> None:
    payer = customer(api, fakestripe)
    top_up = payer.bought(deliver, 1000)
    shares = [use(payer) for _ in range(3)]
    payer.bought(deliver, 1000)
    spend_rest(payer, leave=1000 * CENT - shares[2] - 1)
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, "lost")
    deliver()
    assert the(payer).clawed_back_nano == shares[2] + 1
    amounts = DisputeClawback.objects.order_by("amount_nano").values_list("amount_nano", flat=True)
    assert list(amounts) == [1, shares[2]]
    assert payer.cents == 0
    assert_proven()


def test_matured_shares_are_left_alone(api: Api, fakestripe: FakeStripe, deliver: Deliver, settings: Any) -> None:
    settings.PAYOUT_HOLD_DAYS = 30
    payer = customer(api, fakestripe)
    top_up = payer.bought(deliver, 1000)

    TopUp.objects.filter(pk=top_up.id).update(paid_at=now() - 50 * DAY)
    use(payer, at=now() - 31 * DAY)
    within = use(payer, at=now() - 29 * DAY)
    spend_rest(payer)
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, "lost")
    deliver()
    assert the(payer).clawed_back_nano == within


def test_window_is_the_developers_own(api: Api, fakestripe: FakeStripe, deliver: Deliver) -> None:
    """Days mature as a whole, so with no hold yesterday's calls have matured and today's have not."""
    PayoutAccount.objects.create(developer_id=api.developer_id, hold_days=0, created_at=now(), updated_at=now())
    payer = customer(api, fakestripe)
    top_up = payer.bought(deliver, 1000)
    TopUp.objects.update(paid_at=now() - timedelta(days=3))
    use(payer, at=now() - timedelta(days=1))
    spend_rest(payer)
    payer.stripe.close_dispute(dispute(payer, top_up), "lost")
    deliver()
    assert the(payer).clawed_back_nano == 0


def test_a_call_is_taken_back_once(api: Api, fakestripe: FakeStripe, deliver: Deliver) -> None:
    payer = customer(api, fakestripe)
    first, second = payer.bought(deliver, 1000), payer.bought(deliver, 1000)
    share = use(payer)
    spend_rest(payer)
    for top_up in (first, second):
        payer.stripe.close_dispute(dispute(payer, top_up), "lost")
        deliver()
    assert DisputeClawback.objects.count() == 1
    assert developer_nano(api) == 0
    assert payer.cents == -2000 + share / CENT
    assert_proven()


def test_crash_before_the_claw_back(
    api: Api, fakestripe: FakeStripe, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    payer = customer(api, fakestripe)
    top_up = payer.bought(deliver, 1000)
    share = use(payer)
    spend_rest(payer)
    payer.stripe.close_dispute(dispute(payer, top_up), "lost")
    with monkeypatch.context() as patch:
        patch.setattr(disputes, "claw_back", lambda *_, **__: 1 / 0)
        deliver()
    assert (the(payer).status, the(payer).clawed_back_nano) == ("lost", 0)
    write_off_lost(now=now())
    assert the(payer).clawed_back_nano == share
    assert_proven()


def test_lost_and_won_after_all(api: Api, fakestripe: FakeStripe, deliver: Deliver) -> None:
    payer = customer(api, fakestripe)
    top_up = payer.bought(deliver, 1000)
    share = use(payer)
    spend_rest(payer)
    found = dispute(payer, top_up)
    payer.stripe.close_dispute(found, "lost")
    deliver()
    write_off_lost(now=now() + 100 * DAY)
    payer.stripe.objects[found]["status"] = "won"
    settle_dispute(found, now=now())
    assert (the(payer).status, payer.cents, payer.frozen) == ("won", 0, False)
    assert developer_nano(api) == share
    assert posted_cents(AccountKind.PLATFORM_LOSS, "operator") == 0
    assert_proven()


def test_disputes_of_another_developer_are_not_shown(api: Api, fakestripe: FakeStripe, deliver: Deliver) -> None:
    from tests.gateway.api_factories import make_stranger

    payer = customer(api, fakestripe)
    dispute(payer, payer.bought(deliver))
    deliver()
    assert len(disputes_of_developer(api.developer_id)) == 1
    assert disputes_of_developer(make_stranger()[0]) == ()


def test_database_refuses(payer: Payer, deliver: Deliver) -> None:
    dispute(payer, payer.bought(deliver))
    deliver()
    for change in ({"status": "inquiry"}, {"status": "won"}, {"clawed_back_nano": 5}, {"amount_cents": 5}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Dispute.objects.update(**change)
