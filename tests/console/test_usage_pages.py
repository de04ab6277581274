"""Pages of usage and revenue: who sees them, what they show, their downloads, and the tiles that renew themselves."""

import csv
import io
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.test import Client

from apps.console.developer.periods import PeriodForm
from apps.core.clock import now
from apps.developers.models import Role
from apps.features.services.apps import create_app
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import grant
from apps.usage.rate import Tokens
from tests.console.factories import Page
from tests.console.seats import ACTOR, House, make_house, new_person
from tests.gateway.api_factories import make_stranger
from tests.live import MODEL, rate_all

pytestmark = pytest.mark.django_db
READ = ("usage/", "usage/live", "requests/", "advice")
MONEY = ("revenue",)
# A call of TOKENS costs 0.0006, is billed for 0.00084, and 0.000096 of that is the developer's.
TOKENS = Tokens(input=100, output=20)


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    cache.clear()


@pytest.fixture
def house() -> House:
    return make_house()


def text_of(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return " ".join(Page(response.content.decode()).text)


@pytest.mark.parametrize("path", [*READ, *MONEY])
def test_owner_sees_it_a_stranger_and_a_visitor_do_not(house: House, path: str, client: Client) -> None:
    answered = house.owner.get(house.url(path))
    assert answered.status_code == 200
    found = Page(answered.content.decode())
    assert found.inline == [] and len(found.ids) == len(set(found.ids))
    assert new_person("eve")[0].get(house.url(path)).status_code == 404
    assert client.get(house.url(path))["location"].startswith("/accounts/login/")


@pytest.mark.parametrize("role", Role.values)
def test_every_role_sees_usage_and_some_the_money(house: House, role: str) -> None:
    member = house.owner if role == Role.OWNER else house.member(role)
    for path in READ:
        assert member.get(house.url(path)).status_code == 200
    sees_money = role != Role.ANALYST
    assert member.get(house.url("revenue")).status_code == (200 if sees_money else 403)
    page = text_of(member.get(house.url("usage/")))
    assert ("Prepaid credit" in page, "Ledger entries" in page) == (sees_money, sees_money)
    menu = text_of(member.get(house.url()))
    assert "Request log" in menu and ("Revenue" in menu) == sees_money


@pytest.mark.parametrize("path", [*READ, *MONEY])
def test_pages_take_twelve_queries_at_most_however_many_rows(
    house: House, path: str, django_assert_max_num_queries: Any
) -> None:
    house.desk.served()
    rate_all()
    counts = []
    for _ in range(2):
        house.owner.get(house.url(path))  # what a process reads once
        cache.clear()
        with django_assert_max_num_queries(12) as queries:
            assert house.owner.get(house.url(path)).status_code == 200
        counts.append(len(queries))
        for number in range(2):
            app = create_app(developer_id=house.developer_id, name=f"App {number}", now=now(), actor=ACTOR)
            house.desk.served(app_id=app, end_user_id=f"usr_{app}", served_model=f"model-{number}", feature_key="b")
        rate_all()
    assert counts[0] == counts[1]


def test_usage_shows_what_was_called_billed_and_earned(house: House) -> None:
    for _ in range(2):
        house.desk.served(TOKENS)
    house.desk.served(TOKENS, charged=False, served_model="other")
    rate_all()
    page = text_of(house.owner.get(house.url("usage/")))
    assert "1 failed, 33.3 %" in page
    assert "$0.0017" in page and "$0.00019" in page  # two calls, billed and shared
    assert "66.7 %" in page and MODEL in page and "platform’s key" in page and "double-0" in page
    assert house.desk.world.end_user_id in page


def test_usage_is_narrowed_to_an_app_a_feature_and_days(house: House) -> None:
    other = create_app(developer_id=house.developer_id, name="Second app", now=now(), actor=ACTOR)
    old = time.time() - 40 * 86_400
    house.desk.served(served_model="first-model")
    house.desk.served(served_model="second-model", app_id=other, end_user_id="usr_second")
    house.desk.served(served_model="old-model", effective_at=old)
    rate_all()
    page = text_of(house.owner.get(house.url("usage/")))
    assert "first-model" in page and "second-model" in page and "old-model" not in page
    page = text_of(house.owner.get(house.url(f"usage/?app={other}")))
    assert "second-model" in page and "first-model" not in page
    day = datetime.fromtimestamp(old, UTC).date().isoformat()
    page = text_of(house.owner.get(house.url(f"usage/?begin={day}&end={day}&step=month&feature=default")))
    assert "old-model" in page and "first-model" not in page and "Month (UTC)" in page
    assert "No call in this period." in text_of(house.owner.get(house.url("usage/?begin=2021-01-01&end=2021-01-31")))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("begin=2026-02-02&end=2026-01-01", "The last day is before the first."),
        ("begin=2001-01-01&end=2026-01-01", "A period is three years at most."),
        ("begin=9999-12-31&end=9999-12-31", "This day is still to come."),
        ("begin=yesterday", "Enter a valid date."),
        ("app=app_of_somebody", "Select a valid choice."),
        ("feature=%00", "Select a valid choice."),
    ],
)
def test_usage_says_what_is_wrong_with_a_filter(house: House, query: str, told: str) -> None:
    assert told in house.owner.get(house.url(f"usage/?{query}")).content.decode()


def test_usage_shows_nothing_of_another_developer(house: House) -> None:
    stranger, app, _ = make_stranger()
    house.desk.served(developer_id=stranger, app_id=app, served_model="secret-model", end_user_id="usr_theirs")
    rate_all()
    for path in ("usage/", "requests/", "revenue", f"usage/?app={app}", f"requests/?app={app}"):
        assert "secret-model" not in text_of(house.owner.get(house.url(path)))


def test_long_periods_are_read_by_weeks() -> None:
    today = datetime(2026, 6, 1, tzinfo=UTC).date()
    given = {"begin": "2024-06-01", "end": "2026-06-01"}
    assert PeriodForm(given, (), (), today=today).period().step == "week"
    assert PeriodForm({}, (), (), today=today).period().begin == today - timedelta(days=29)


def test_live_tiles_count_the_last_minutes_before_they_are_rated(house: House) -> None:
    for ago in (5, 300, 600, 1_000):
        house.desk.served(TOKENS, effective_at=time.time() - ago, duration_ms=1_500)
    house.desk.served(TOKENS, charged=False, duration_ms=1_500)
    account = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=house.developer_id, now=now())
    grant(account, 5 * 10**9, idempotency_key="credit", now=now(), actor=ACTOR)
    page = text_of(house.owner.get(house.url("usage/live")))
    assert "Calls a minute 2 4 calls in 15 minutes" in page
    assert "1.50 s" in page and "25 %" in page
    assert "$0.0096" in page  # 4 calls of 0.0006 in a quarter of an hour
    assert "Prepaid credit $5.00" in page
    assert "<html" not in house.owner.get(house.url("usage/live")).content.decode()
    whole = house.owner.get(house.url("usage/")).content.decode()
    assert f'hx-get="{house.url("usage/live")}" hx-trigger="every 5s, refresh"' in whole


def test_revenue_shows_what_is_pending_then_the_entry(house: House) -> None:
    request_id = house.desk.served(TOKENS).request_id
    page = text_of(house.owner.get(house.url("revenue")))
    assert "1 call on its way to the ledger" in page and "No entry yet." in page
    rate_all()
    cache.clear()
    page = text_of(house.owner.get(house.url("revenue")))
    assert "0 calls on their way to the ledger" in page and "from 1 call" in page
    assert "Test app" in page and request_id in page and "$0.000096" in page
    assert "Maturing $0.000096" in page and "Payable $0.00" in page


def test_revenue_entries_are_paged(house: House) -> None:
    calls = [house.desk.served(TOKENS).request_id for _ in range(27)]
    rate_all()
    first = house.owner.get(house.url("revenue"))
    older = house.owner.get(house.url(f"revenue?before={first.context['older']}"))
    seen = [entry.memo["request_id"] for page in (first, older) for _, entry in page.context["entries"]]
    assert sorted(seen) == sorted(calls)
    assert older.context["older"] is None
    assert house.owner.get(house.url("revenue?before=no-number")).status_code == 200


async def _collect(response: Any) -> bytes:
    return b"".join([part async for part in response])


def rows_of(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    content = async_to_sync(_collect)(response)
    response.close()
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


@pytest.mark.django_db(transaction=True)
def test_downloads_are_of_the_period(house: House) -> None:
    recent = house.desk.served(TOKENS).request_id
    house.desk.served(TOKENS, effective_at=time.time() - 40 * 86_400)
    rate_all()
    assert [row["request_id"] for row in rows_of(house.owner.get(house.url("usage/usage.csv")))] == [recent]
    assert len(rows_of(house.owner.get(house.url("usage/usage.csv?begin=2021-01-01&end=2021-01-31")))) == 0
    assert [row["calls"] for row in rows_of(house.owner.get(house.url("usage/revenue.csv")))] == ["1"]
    assert len(rows_of(house.owner.get(house.url("usage/ledger.csv")))) == 1


@pytest.mark.django_db(transaction=True)
def test_downloads_are_for_those_who_may_see_them(house: House, client: Client) -> None:
    analyst = house.member(Role.ANALYST)
    assert rows_of(analyst.get(house.url("usage/usage.csv"))) == []
    for kind in ("revenue", "payouts", "ledger"):
        assert analyst.get(house.url(f"usage/{kind}.csv")).status_code == 403
    assert house.owner.get(house.url("usage/tax.csv")).status_code == 404
    assert house.owner.post(house.url("usage/usage.csv")).status_code == 405
    assert new_person("eve")[0].get(house.url("usage/usage.csv")).status_code == 404
    assert client.get(house.url("usage/usage.csv"))["location"].startswith("/accounts/login/")
