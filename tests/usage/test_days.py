"""Daily totals: added up by rating, equal to a recount, counted anew by a command."""

import threading
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import Sum

from apps.core.clock import now
from apps.usage.models import UsageCharge, UsageDay, UserDay
from apps.usage.rate import BYOK, Tokens
from apps.usage.services.days import differences, rebuild_days
from apps.usage.services.rating import rate_pending
from tests.live import rate_all
from tests.usage.factories import Desk, make_desk

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
SUMS = ("price_nano", "cost_nano", "developer_nano", "platform_nano", "loss_nano")


@pytest.fixture
def desk(db: None) -> Desk:
    return make_desk()


def some_calls(desk: Desk) -> None:
    desk.served()
    desk.served(Tokens(input=10, cache_read=5, output=3))
    desk.served(charged=False)
    desk.served(mode=BYOK)
    for hours in (11, 13):  # the one on that day, the other on the next
        desk.served(effective_at=(NOON + timedelta(hours=hours)).timestamp())
    rate_all()


def test_days_add_up_to_the_charges(desk: Desk) -> None:
    some_calls(desk)
    charges = UsageCharge.objects.aggregate(**{name: Sum(name) for name in SUMS})
    assert UsageDay.objects.aggregate(**{name: Sum(name) for name in SUMS}) == charges
    assert UsageDay.objects.aggregate(Sum("calls"), Sum("failed")) == {"calls__sum": 6, "failed__sum": 1}
    assert UserDay.objects.aggregate(Sum("calls"), Sum("tokens")) == {"calls__sum": 6, "tokens__sum": 5 * 120 + 18}
    assert UsageDay.objects.filter(day=NOON.date()).get().calls == 1
    assert UsageDay.objects.filter(day=NOON.date() + timedelta(days=1)).get().calls == 1
    assert list(differences()) == []


def test_rating_again_adds_nothing(desk: Desk) -> None:
    some_calls(desk)
    before = list(UsageDay.objects.order_by("id").values())
    assert rate_pending(now=now()) == 0
    assert list(UsageDay.objects.order_by("id").values()) == before


def test_recount_makes_the_same_rows(desk: Desk) -> None:
    some_calls(desk)
    rows = UsageDay.objects.count() + UserDay.objects.count()
    assert rebuild_days() == rows
    assert list(differences()) == []


def test_day_that_was_altered_is_named_and_mended(desk: Desk) -> None:
    some_calls(desk)
    day = UsageDay.objects.filter(day=NOON.date()).get()
    UsageDay.objects.filter(pk=day.pk).update(price_nano=day.price_nano + 1)
    UserDay.objects.filter(day=NOON.date()).delete()
    found = [f"{each.table} {each.row_id}: {each.message}" for each in differences()]
    assert len(found) == 3  # as it is stored, as it is counted, and the one that is gone
    assert all("2026-03-10" in line for line in found)
    out = StringIO()
    call_command("rebuild_days", stdout=out)
    assert "3 differences before" in out.getvalue()
    assert list(differences()) == []


@pytest.mark.django_db(transaction=True)
def test_two_workers_and_a_recount_at_once_count_each_call_once() -> None:
    desk = make_desk()
    for _ in range(40):
        desk.served()
    problems: list[BaseException] = []

    def work(action: str) -> None:
        try:
            for _ in range(10):
                if action == "rate":
                    rate_pending(now=now(), limit=3)
                else:
                    rebuild_days()
        except BaseException as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(action,)) for action in ("rate", "rate", "count")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate_all()
    assert problems == []
    assert list(differences()) == []
    assert UsageDay.objects.aggregate(Sum("calls")) == {"calls__sum": 40}
