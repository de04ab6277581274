"""What of an account's balance has matured."""

from datetime import timedelta
from typing import Any

import pytest

from apps.ledger.models import AccountKind
from apps.ledger.queries import KindTotals, maturity, owners_in_credit
from apps.ledger.services.batches import Leg, post
from apps.ledger.services.transfers import reverse
from tests.ledger.factories import NOW, account

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def move(account_id: int, amount: int, ago: timedelta, *, kind: str = "usage") -> int:
    other = account("operator", kind=AccountKind.PLATFORM)
    legs = (Leg(account_id, amount), Leg(other, -amount))
    key = f"{kind}:{account_id}:{amount}:{ago}"
    return post(kind=kind, legs=legs, idempotency_key=key, now=NOW, actor="test", effective_at=NOW - ago)


def found(account_id: int, **more: Any) -> Any:
    today = NOW.date()
    given = {"cutoff": today - 10 * DAY, "recent_from": today - 20 * DAY, "hold_days": 10, "kinds": ["usage"], **more}
    return maturity(account_id, **given)


def test_credits_mature_and_debits_count_at_once() -> None:
    own = account("dev_1", kind=AccountKind.DEVELOPER)
    for amount, days in ((1, 30), (2, 21), (4, 20), (8, 11), (16, 10), (32, 0)):
        move(own, amount, days * DAY)
    move(own, -5, 0 * DAY, kind="clawback")
    state = found(own)
    assert (state.balance, state.matured, state.immature, state.recent) == (58, 10, 48, 12)
    today = NOW.date()
    assert state.maturing == ((today + DAY, 16), (today + 11 * DAY, 32))
    assert state.kinds == (KindTotals("clawback", 0, 0, -5), KindTotals("usage", 15, 48, 0))


def test_a_day_matures_as_a_whole() -> None:
    own = account("dev_1", kind=AccountKind.DEVELOPER)
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - 10 * DAY
    move(own, 1, NOW - midnight)
    move(own, 2, NOW - (midnight - timedelta(microseconds=1)))
    assert (found(own).matured, found(own).immature) == (2, 1)


def test_what_is_not_revenue_is_mature_at_once_and_under_no_reserve() -> None:
    own = account("dev_1", kind=AccountKind.DEVELOPER)
    move(own, 100, 30 * DAY)
    out = move(own, -60, 2 * DAY, kind="payout")
    reverse(out, cause="failed", now=NOW, actor="test")
    move(own, 7, 0 * DAY, kind="adjustment")
    state = found(own)
    assert (state.matured, state.immature, state.recent) == (107, 0, 0)


def test_an_account_without_entries_has_nothing() -> None:
    state = found(account("dev_1", kind=AccountKind.DEVELOPER))
    assert (state.balance, state.matured, state.maturing, state.kinds) == (0, 0, (), ())


def test_owners_in_credit_are_those_above_zero() -> None:
    for owner, amount in (("dev_1", 5), ("dev_2", -5)):
        move(account(owner, kind=AccountKind.DEVELOPER), amount, 0 * DAY)
    account("dev_3", kind=AccountKind.DEVELOPER)
    assert owners_in_credit(AccountKind.DEVELOPER) == {"dev_1": 5}
