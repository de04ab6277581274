"""Notices: a low balance is told once a crossing, expiring credit once a lot."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings

from apps.billing.models import Notice
from apps.billing.services.credits import draw
from apps.billing.services.notices import note_expiring, notices_of, notify
from apps.billing.services.wallet_limits import set_wallet_limit
from apps.core.money import NANO_PER_USD
from tests.billing.credit_factories import ACTOR, NOW, account, given, paid, spend
from tests.ledger.factories import at_once

pytestmark = pytest.mark.django_db
USD = NANO_PER_USD
DAY = timedelta(days=1)


def kinds(account_id: int) -> list[str]:
    return [notice.kind for notice in notices_of(account_id, now=NOW)]


def drawn(account_id: int, minute: int = 0) -> int:
    """Draw a wallet's lots and return how many notices there are."""
    draw(account_id, now=NOW + timedelta(minutes=minute))
    return Notice.objects.count()


def test_low_balance_is_told_once_a_crossing(settings: Settings):
    settings.LOW_BALANCE_USD = 2
    user = account()
    paid(user, 3 * USD, "top_1")
    spend(user, USD, "req_1")
    assert drawn(user) == 0
    spend(user, 1, "req_2")
    assert drawn(user, 1) == 1
    spend(user, 1, "req_3")
    assert drawn(user, 2) == 1
    (notice,) = notices_of(user, now=NOW)
    assert notice.data == {"balance_usd": "1.999999999", "threshold_usd": "2.0000"}

    paid(user, 3 * USD, "top_2")
    assert kinds(user) == []
    spend(user, 4 * USD, "req_4")
    assert drawn(user, 3) == 2


def test_low_balance_never_had_is_not_told(settings: Settings):
    settings.LOW_BALANCE_USD = 2
    user = account()
    paid(user, USD, "top_1")
    spend(user, USD, "req_1")

    assert drawn(user) == 0


def test_low_balance_is_the_wallets_own(settings: Settings):
    settings.LOW_BALANCE_USD = 2
    silent, late = account("usr_1"), account("usr_2")
    for user, low in ((silent, 0), (late, USD)):
        set_wallet_limit(user, max_balance=None, daily_spend=None, low_balance=low, now=NOW, actor=ACTOR)
        paid(user, 3 * USD, f"top_{user}")
        spend(user, 3 * USD // 2, f"req_{user}")
        assert drawn(user) == 0
        spend(user, USD, f"more_{user}")
        draw(user, now=NOW)
    assert list(Notice.objects.values_list("account_id", flat=True)) == [late]


@pytest.mark.django_db(transaction=True)
def test_low_balance_at_once_is_told_once(settings: Settings):
    settings.LOW_BALANCE_USD = 2
    user = account()
    paid(user, 3 * USD, "top_1")
    spend(user, 2 * USD, "req_1")

    at_once([lambda number=number: drawn(user, number) for number in range(8)])

    assert Notice.objects.count() == 1


def test_expiring_credit_is_told_once_a_lot_and_in_time(settings: Settings):
    settings.CREDIT_EXPIRY_NOTICE_DAYS = 7
    user = account()
    soon = given(user, USD, expires_at=NOW + 7 * DAY)
    given(user, USD, kind="grant", expires_at=NOW + 8 * DAY)
    given(user, USD)

    assert [note_expiring(now=NOW), note_expiring(now=NOW)] == [1, 0]
    (notice,) = notices_of(user, now=NOW)
    assert (notice.kind, notice.data["lot_id"], notice.data["remaining_usd"]) == ("credit_expiring", soon, "1.0000")
    assert note_expiring(now=NOW + DAY) == 1
    settings.CREDIT_EXPIRY_NOTICE_DAYS = 0
    given(user, USD, expires_at=NOW + DAY)
    assert note_expiring(now=NOW) == 0


def test_spent_credit_that_expires_is_not_told():
    user = account()
    given(user, USD, expires_at=NOW + DAY)
    spend(user, USD, "req_1")
    draw(user, now=NOW)

    assert note_expiring(now=NOW) == 0


def test_notice_is_told_once_a_key_and_stays():
    user = account()
    news = [notify(user, "auto_top_up", period_key=key, data={"n": 1}, now=NOW) for key in ("a", "a", "b")]

    assert news == [True, False, True]
    assert kinds(user) == ["auto_top_up", "auto_top_up"]
    assert notices_of(user, now=NOW + timedelta(days=31)) == ()
    with pytest.raises(IntegrityError), transaction.atomic():
        Notice.objects.update(kind="other")
