"""What a developer can be paid: what has matured, less what is kept back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis.strategies import integers, lists, sampled_from, tuples

from apps.billing.models.payouts import PayoutAccount
from apps.billing.services.maturing import matured, matured_by_entries
from apps.billing.services.payout_accounts import set_terms
from apps.billing.services.payout_reviews import reject
from apps.billing.services.payout_terms import payout_terms
from apps.billing.services.payouts import hold_days, next_run, payable, period_of
from apps.billing.services.verify import differences
from apps.core.ids import new_id
from apps.core.money import nano_from_usd, usd
from apps.usage.models import UsageDay
from tests.billing.payout_factories import NOW, WHY, approved, developer, earn, operator, paid_by_hand, payout
from tests.live import rate_all
from tests.usage.factories import make_desk

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
NO_TERMS: dict[str, Any] = {"trusted": False, "hold_days": None, "reserve_bps": None, "minimum": None}


@pytest.fixture(autouse=True)
def no_reserve(settings: Any) -> None:
    settings.PAYOUT_RESERVE_BPS = 0


def terms(developer_id: str, **changed: Any) -> None:
    set_terms(developer_id, **(NO_TERMS | changed), now=NOW, actor="user:1")


def usd_of(developer_id: str, **at: Any) -> str:
    return f"{payable(developer_id, now=at.get('now', NOW)).payable / 10**9:.2f}"


def test_nothing_is_payable_to_who_earned_nothing() -> None:
    found = payable(developer(), now=NOW)
    assert (found.balance, found.matured, found.payable, found.maturing, found.by_app) == (0, 0, 0, (), ())


def test_revenue_is_payable_on_the_day_that_it_is_old_enough() -> None:
    acme = developer()
    midnight = NOW.replace(hour=0, minute=0, second=0)
    earn(acme, "10", ago=NOW - midnight + 30 * DAY + timedelta(seconds=1))
    earn(acme, "7", ago=NOW - midnight + 30 * DAY)
    earn(acme, "5", ago=timedelta(0))
    found = payable(acme, now=NOW)
    assert found.payable == found.matured == nano_from_usd("10")
    assert (found.balance, found.immature) == (nano_from_usd("22"), nano_from_usd("12"))
    assert found.maturing == (((NOW + DAY).date(), nano_from_usd("7")), ((NOW + 31 * DAY).date(), nano_from_usd("5")))
    assert usd_of(acme, now=midnight + DAY - timedelta(microseconds=1)) == "10.00"
    assert usd_of(acme, now=midnight + DAY) == "17.00"
    assert usd_of(acme, now=midnight + 31 * DAY) == "22.00"


def test_hold_days_follow_trust_and_the_operator() -> None:
    acme = developer()
    assert hold_days(acme) == 30
    terms(acme, trusted=True)
    assert hold_days(acme) == 14
    terms(acme, trusted=True, hold_days=3)
    assert hold_days(acme) == 3
    earn(acme, "10", ago=4 * DAY)
    assert usd_of(acme) == "10.00"


def test_debits_count_at_once_and_never_make_it_negative() -> None:
    acme = developer()
    earn(acme, "10")
    earn(acme, "20", ago=DAY)
    earn(acme, "-4", ago=timedelta(0), kind="clawback")
    assert usd_of(acme) == "6.00"
    earn(acme, "-16", ago=timedelta(0), kind="clawback")
    found = payable(acme, now=NOW)
    assert (found.payable, found.free, found.balance) == (0, nano_from_usd("-10"), nano_from_usd("10"))


def test_it_is_cut_to_whole_cents() -> None:
    acme = developer()
    earn(acme, "12.349999999")
    assert usd_of(acme) == "12.34"


def test_the_reserve_keeps_back_a_part_of_what_matured_lately(settings: Any) -> None:
    settings.PAYOUT_RESERVE_BPS = 1_000
    acme = developer()
    earn(acme, "100", ago=91 * DAY)
    earn(acme, "50", ago=89 * DAY)
    earn(acme, "0.000000005", ago=60 * DAY)
    earn(acme, "30", ago=DAY)
    found = payable(acme, now=NOW)
    assert found.under_reserve == nano_from_usd("50.000000005")
    assert found.reserve == nano_from_usd("5.000000001")  # rounded up
    assert found.payable == nano_from_usd("145")
    assert payable(acme, now=NOW + DAY).reserve == nano_from_usd("5.000000001")  # 90 days after, of a whole day
    assert payable(acme, now=NOW + 2 * DAY).reserve == 1
    terms(acme, reserve_bps=0)
    assert payable(acme, now=NOW).reserve == 0


def test_an_approved_payout_is_off_the_balance_and_what_comes_back_is_mature_at_once() -> None:
    acme = paid_by_hand("100")
    payout_id = approved(acme)
    earn(acme, "7")
    assert usd_of(acme) == "7.00"
    reject(payout_id, actor=operator(), **WHY)
    found = payable(acme, now=NOW)
    assert (found.immature, found.payable) == (0, nano_from_usd("107"))


def test_lines_by_kind_sum_to_the_balance() -> None:
    acme = developer()
    earn(acme, "10")
    earn(acme, "20", ago=DAY)
    earn(acme, "-4", ago=DAY, kind="clawback")
    found = payable(acme, now=NOW)
    lines = {line.kind: (line.matured, line.immature, line.debits) for line in found.kinds}
    assert lines == {
        "usage": (nano_from_usd("10"), nano_from_usd("20"), 0),
        "other": (0, 0, nano_from_usd("-4")),
    }
    assert sum(sum(amounts) for amounts in lines.values()) == found.balance
    found_by_entries = matured_by_entries(acme, payout_terms(acme), now=NOW)
    assert {line.kind for line in found_by_entries.kinds} == {"usage", "clawback"}


@examples(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=lists(
        tuples(
            sampled_from(["usage", "usage", "adjustment", "clawback", "payout"]),
            integers(1, 10**12),
            integers(0, 100 * 86_400),
        ),
        max_size=12,
    ),
    later=integers(0, 40 * 86_400),
)
def test_the_days_say_what_a_look_at_every_entry_says(history: list[tuple[str, int, int]], later: int) -> None:
    acme = developer(new_id("acme"))
    for kind, nano, seconds in history:
        sign = "-" if kind in ("clawback", "payout") else ""
        earn(acme, f"{sign}{usd(nano)}", ago=timedelta(seconds=seconds), kind=kind)
    moment = NOW + timedelta(seconds=later)
    fast, slow = (how(acme, payout_terms(acme), now=moment) for how in (matured, matured_by_entries))
    assert replace(fast, kinds=()) == replace(slow, kinds=())
    revenue = [[(k.matured, k.immature) for k in found.kinds if k.kind == "usage"] for found in (fast, slow)]
    assert revenue[0] == revenue[1]
    assert sum(k.matured + k.immature + k.debits for k in fast.kinds) == fast.balance


def test_so_do_calls_as_they_are_rated() -> None:
    desk = make_desk()
    for ago in (45, 31, 30, 29, 0):
        desk.served(effective_at=(NOW - ago * DAY).timestamp())
    rate_all()
    acme = desk.world.developer_id
    found = payable(acme, now=NOW)
    share = found.balance // 5
    assert (found.matured, found.immature, found.under_reserve) == (2 * share, 3 * share, 2 * share)
    slow = matured_by_entries(acme, payout_terms(acme), now=NOW)
    assert replace(slow, kinds=()) == replace(matured(acme, payout_terms(acme), now=NOW), kinds=())
    assert [(part.calls, part.developer) for part in found.by_app] == [(2, found.matured)]
    assert list(differences()) == []
    UsageDay.objects.filter(day=(NOW - 31 * DAY).date()).update(developer_nano=share - 1)
    assert [(row.table, f"days say {share - 1}" in row.message) for row in differences()] == [("wallets", True)]


def test_the_time_since_the_last_payout_is_what_a_payout_covers() -> None:
    acme = paid_by_hand("100")
    assert payable(acme, now=NOW).since is None
    first = payout(approved(acme))
    assert payable(acme, now=NOW + DAY).since == first.cutoff_at == payout_terms(acme).cutoff(NOW)


def test_periods_are_months_or_weeks(settings: Any) -> None:
    moment = NOW.replace(year=2026, month=12, day=31, hour=23)
    assert period_of(moment) == "2026-12"
    settings.PAYOUT_PERIOD = "week"
    assert period_of(moment) == "2026-W53"


def test_the_next_run_is_tomorrow_or_the_first_day_of_the_next_period(settings: Any) -> None:
    acme = paid_by_hand("100")
    assert next_run(acme, now=NOW) == (NOW + DAY).date()
    approved(acme)
    following = next_run(acme, now=NOW)
    assert (following.day, following > NOW.date()) == (1, True)
    PayoutAccount.objects.filter(pk=acme).update(trusted=True)  # terms do not matter
    assert next_run(acme, now=NOW) == following
