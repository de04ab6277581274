"""Wallets that are topped up by themselves: one at a time, within the month's cap, and not for ever with a bad card."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from apps.billing.models import Notice
from apps.billing.models.top_ups import AutoTopUp, TopUp
from apps.billing.queries.top_ups import auto_top_up_of, top_ups_of
from apps.billing.services.auto_top_ups import set_auto_top_up, switch_off, top_up_low
from apps.billing.services.customers import forget_card
from apps.billing.services.top_up_rows import insert_automatic
from apps.billing.services.top_ups import settle_due
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.developers.services.developers import disable_developer, enable_developer
from apps.features.queries import app_by_id
from apps.features.services.apps import disable_app, enable_app
from apps.features.services.end_users import disable_end_user, enable_end_user
from apps.ledger.services.accounts import freeze_wallet
from tests.billing.conftest import Deliver
from tests.billing.top_up_factories import ACTOR, Payer, assert_proven, make_payer
from tests.fakestripe import FakeStripe
from tests.ledger.factories import at_once, take

CENT = 10_000_000
HOUR = timedelta(hours=1)


@pytest.fixture
def payer(transactional_db: None, fakestripe: FakeStripe, deliver: Deliver) -> Payer:
    """Give a payer with $10, a saved card, and $20 bought whenever there is less than $5; $50 a month at most."""
    found = make_payer(fakestripe)
    found.bought(deliver, 1000, save_card=True)
    wish(found)
    return found


def wish(payer: Payer, **changed: Any) -> None:
    wanted = {"threshold": 500 * CENT, "amount_cents": 2000, "monthly_cap_cents": 5000, "now": now(), **changed}
    set_auto_top_up(payer.account, owner=payer.owner, actor=ACTOR, **wanted)


def automatic(payer: Payer) -> list[str]:
    return [row.status for row in top_ups_of(payer.account, limit=50) if row.source == "auto"]


def told(payer: Payer) -> list[str]:
    kinds = Notice.objects.filter(account_id=payer.account, kind__startswith="auto_top_up").order_by("id")
    return list(kinds.values_list("kind", flat=True))


def state(payer: Payer) -> tuple[int, str]:
    row = AutoTopUp.objects.get(pk=payer.account)
    return row.failures, row.paused_reason


def test_below_the_threshold_it_buys_once(payer: Payer, deliver: Deliver) -> None:
    payer.spend(500)
    assert top_up_low(now=now()) == 0
    payer.spend(1)
    assert top_up_low(now=now()) == 1
    assert top_up_low(now=now()) == 0
    deliver()
    assert (automatic(payer), payer.cents) == (["paid"], 2499)
    assert_proven()


def test_what_is_held_for_calls_counts_as_gone(payer: Payer) -> None:
    take("req_1", payer.account, 600 * CENT)
    assert top_up_low(now=now()) == 1


def test_tasks_at_once_charge_once(payer: Payer) -> None:
    payer.spend(900)
    results = at_once([lambda: top_up_low(now=now())] * 5)
    assert [result for result in results if isinstance(result, Exception)] == []
    assert (automatic(payer), payer.cents) == (["paid"], 2100)
    assert len(payer.stripe.all("payment_intent")) == 2


def test_one_that_is_open_stands_in_the_way(payer: Payer) -> None:
    payer.spend(900)
    payer.stripe.set_card(payer.card(), "processing")
    assert (top_up_low(now=now()), top_up_low(now=now())) == (1, 0)
    assert automatic(payer) == ["pending"]
    with pytest.raises(IntegrityError):
        insert_automatic(AutoTopUp.objects.get(), now=now())


def test_month_has_a_cap_in_utc(payer: Payer) -> None:
    january = datetime(2027, 1, 31, 23, 30, tzinfo=UTC)
    for _ in range(2):
        payer.spend(int(payer.cents))
        assert top_up_low(now=january) == 1
    payer.spend(int(payer.cents))
    assert top_up_low(now=january) == 0
    assert top_up_low(now=january) == 0
    assert told(payer) == ["auto_top_up_cap"]
    assert top_up_low(now=january + HOUR) == 1
    assert automatic(payer) == ["paid"] * 3


def test_failed_ones_are_not_in_the_cap(payer: Payer) -> None:
    wish(payer, monthly_cap_cents=2000)
    payer.spend(900)
    payer.stripe.set_card(payer.card(), "card_declined")
    top_up_low(now=now())
    payer.stripe.set_card(payer.card(), "ok")
    assert top_up_low(now=now() + 2 * HOUR) == 1
    assert automatic(payer) == ["paid", "failed"]


@pytest.mark.parametrize(
    ("behaviour", "code"), [("card_declined", "generic_decline"), ("requires_action", "authentication_required")]
)
def test_three_failures_in_a_row_pause(payer: Payer, deliver: Deliver, behaviour: str, code: str) -> None:
    payer.spend(900)
    payer.stripe.set_card(payer.card(), behaviour)
    moment = now()
    assert (top_up_low(now=moment), top_up_low(now=moment + HOUR / 2)) == (1, 0)
    deliver()
    assert state(payer) == (1, "")
    assert top_up_low(now=moment + 2 * HOUR) == 1
    assert top_up_low(now=moment + 30 * HOUR) == 1
    assert state(payer) == (3, code)
    assert top_up_low(now=moment + 900 * HOUR) == 0
    assert automatic(payer) == ["failed"] * 3
    assert told(payer) == ["auto_top_up_failed"] * 3 + ["auto_top_up_paused"]
    payer.stripe.set_card(payer.card(), "ok")
    wish(payer)
    assert top_up_low(now=now()) == 1
    assert (state(payer), payer.cents) == ((0, ""), 2100)


def test_success_ends_the_row_of_failures(payer: Payer) -> None:
    payer.spend(900)
    payer.stripe.set_card(payer.card(), "card_declined")
    top_up_low(now=now())
    payer.stripe.set_card(payer.card(), "ok")
    top_up_low(now=now() + 2 * HOUR)
    assert state(payer) == (0, "")


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "reset_after", "error_after"])
def test_charge_without_an_answer_is_looked_for(payer: Payer, settings: Any, fault: str) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    payer.spend(900)
    payer.stripe.fail_next(fault, method="POST", path="/v1/payment_intents")
    top_up_low(now=now())
    assert automatic(payer) == ["sending"]
    assert top_up_low(now=now()) == 0
    settle_due(now=now() + timedelta(minutes=5))
    assert (automatic(payer), payer.cents) == (["paid"], 2100)
    assert len(payer.stripe.all("payment_intent")) == 2
    assert_proven()


def test_frozen_and_full_wallets_are_left_alone(payer: Payer, settings: Any) -> None:
    payer.spend(900)
    settings.MAX_BALANCE_USD = 15
    assert top_up_low(now=now()) == 0
    assert top_up_low(now=now()) == 0
    assert told(payer) == ["auto_top_up_balance_limit"]
    settings.MAX_BALANCE_USD = 500
    freeze_wallet(payer.account, now=now(), actor=ACTOR)
    assert top_up_low(now=now()) == 0
    assert automatic(payer) == []


def test_who_is_disabled_is_not_charged(payer: Payer) -> None:
    payer.spend(900)
    app = app_by_id(payer.owner.app_id)
    assert app is not None
    who: dict[str, Any] = {"now": now(), "actor": ACTOR}
    for disable, enable in (
        (lambda: disable_app(app_id=app.id, **who), lambda: enable_app(app_id=app.id, **who)),
        (
            lambda: disable_end_user(end_user_id=payer.owner.id, **who),
            lambda: enable_end_user(end_user_id=payer.owner.id, **who),
        ),
        (lambda: disable_developer(app.developer_id, **who), lambda: enable_developer(app.developer_id, **who)),
    ):
        disable()
        assert top_up_low(now=now()) == 0
        enable()
    assert automatic(payer) == []
    assert top_up_low(now=now()) == 1


def test_forgotten_card_pauses(payer: Payer) -> None:
    payer.spend(900)
    forget_card(payer.account, now=now(), actor=ACTOR)
    assert (top_up_low(now=now()), state(payer)) == (0, (0, "no_saved_card"))
    assert told(payer) == ["auto_top_up_paused"]


def test_switched_off(payer: Payer) -> None:
    payer.spend(900)
    switch_off(payer.account, now=now(), actor=ACTOR)
    assert top_up_low(now=now()) == 0
    found = auto_top_up_of(payer.account)
    assert found is not None and not found.enabled
    with pytest.raises(NotFound):
        switch_off(payer.account + 999, now=now(), actor=ACTOR)


def test_wishes_that_cannot_be(payer: Payer, fakestripe: FakeStripe) -> None:
    for changed in ({"threshold": 0}, {"amount_cents": 100}, {"monthly_cap_cents": 1999}):
        with pytest.raises(BadRequest) as caught:
            wish(payer, **changed)
        assert caught.value.code == "invalid_amount"
    with pytest.raises(Conflict) as conflict:
        wish(make_payer(fakestripe, "usr_2"))
    assert conflict.value.code == "no_saved_card"


def test_looking_takes_the_same_queries_for_one_wallet_and_for_many(payer: Payer, fakestripe: FakeStripe) -> None:
    counts = []
    for more in (0, 5):
        for number in range(more):
            other = make_payer(fakestripe, f"usr_more_{number}")
            AutoTopUp.objects.create(
                account_id=other.account,
                owner_kind="end_user",
                owner_id=other.owner.id,
                threshold_nano=-1 + CENT,
                amount_cents=500,
                monthly_cap_cents=500,
                paused_reason="x" if number else "",
                not_before=now() + HOUR,
                created_at=now(),
                updated_at=now(),
                actor=ACTOR,
            )
        with CaptureQueriesContext(connection) as captured:
            top_up_low(now=now())
        counts.append(len(captured))
    assert counts[0] == counts[1]
    assert not TopUp.objects.filter(source="auto").exists()
