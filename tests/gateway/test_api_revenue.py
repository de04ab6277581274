"""GET /v1/developers/{id}/revenue."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id
from apps.ledger.services.transfers import adjust
from apps.usage import queries as usage
from tests.gateway.api_factories import (
    Api,
    code_of,
    error_of,
    make_api,
    make_developer_token,
    make_stranger,
    settle_call,
)
from tests.live import ACTOR, rate_all

pytestmark = pytest.mark.django_db

PRICE, SHARE = "0.0084945", "0.0009708"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def revenue_of(api: Api, query: str = "") -> dict[str, Any]:
    response = api.get(f"/v1/developers/{api.developer_id}/revenue{query}", api.developer_token)
    assert response.status_code == 200, response.content
    content: dict[str, Any] = response.json()
    return content


def test_revenue_of_a_developer_without_calls(api: Api) -> None:
    assert revenue_of(api) == {
        "object": "revenue",
        "developer_id": api.developer_id,
        "currency": "usd",
        "balance_usd": "0.0000",
        "pending_usd": "0.0000",
        "pending_calls": 0,
        "lifetime_usd": "0.0000",
        "payable_usd": "0.0000",
        "matured_usd": "0.0000",
        "maturing_usd": "0.0000",
        "reserve_usd": "0.0000",
        "hold_days": 30,
        "maturing": [],
        "period": {
            "from": None,
            "to": None,
            "calls": 0,
            "retail_price_usd": "0.0000",
            "channel_revenue_usd": "0.0000",
        },
        "by_app": [],
        "by_day": [],
        "entries": [],
        "has_more": False,
        "next_cursor": None,
    }


def test_revenue_is_pending_until_it_is_rated(api: Api) -> None:
    request_id = settle_call(api.world.token)
    before = revenue_of(api)
    assert (before["balance_usd"], before["pending_usd"], before["pending_calls"]) == ("0.0000", SHARE, 1)
    assert (before["lifetime_usd"], before["by_app"], before["entries"]) == ("0.0000", [], [])
    rate_all()
    after = revenue_of(api)
    assert (after["balance_usd"], after["pending_usd"], after["pending_calls"]) == (SHARE, "0.0000", 0)
    assert after["lifetime_usd"] == SHARE
    line = {"calls": 1, "retail_price_usd": PRICE, "channel_revenue_usd": SHARE}
    assert after["by_app"] == [{"app_id": api.app_id, **line}]
    assert after["by_day"] == [{"date": datetime.now(UTC).date().isoformat(), **line}]
    assert after["period"] == {"from": None, "to": None, **line}
    (entry,) = after["entries"]
    assert (entry["kind"], entry["amount_usd"], entry["request_id"]) == ("usage", SHARE, request_id)


def test_revenue_of_a_period(api: Api) -> None:
    for day in (1, 2, 2, 3):
        settle_call(api.world.token, at=datetime(2026, 5, day, 23, 59, tzinfo=UTC))
    rate_all()
    page = revenue_of(api, "?from=2026-05-02&to=2026-05-03")
    assert [(line["date"], line["calls"]) for line in page["by_day"]] == [("2026-05-02", 2)]
    assert page["period"]["channel_revenue_usd"] == page["by_app"][0]["channel_revenue_usd"] == "0.0019416"
    assert len(page["entries"]) == 2
    assert page["balance_usd"] == page["lifetime_usd"] == "0.0038832"  # now, and in all: not of the period


def test_revenue_of_parts_of_days_is_a_recount_of_the_calls(api: Api) -> None:
    days = [datetime(2026, 5, day, hour, tzinfo=UTC) for day in (1, 2, 3, 4) for hour in (0, 6, 12, 23)]
    for at in days:
        settle_call(api.world.token, at=at)
    rate_all()
    bounds = [None, *(datetime(2026, 5, day, hour, tzinfo=UTC) for day in (1, 2, 4) for hour in (0, 6, 7))]
    for begin in bounds:
        for end in bounds:
            if begin is not None and end is not None and end <= begin:
                continue
            found = usage.revenue_of(api.developer_id, begin=begin, end=end)
            counted = [at for at in days if (begin is None or at >= begin) and (end is None or at < end)]
            assert sum(line.calls for line in found.by_app) == found.calls == len(counted), (begin, end)
            assert [line.date for line in found.by_day] == sorted({at.date() for at in counted})
            assert found.developer * 16 == found.lifetime * len(counted)


def test_revenue_adjusted_moves_the_balance_and_not_what_was_earned(api: Api) -> None:
    settle_call(api.world.token)
    rate_all()
    account = account_id(AccountKind.DEVELOPER, api.developer_id)
    assert account is not None
    adjust(account, -800, reason="test", idempotency_key="adjust", now=datetime.now(UTC), actor=ACTOR)
    page = revenue_of(api)
    assert (page["balance_usd"], page["lifetime_usd"]) == ("0.00097", SHARE)
    assert [entry["kind"] for entry in page["entries"]] == ["adjustment", "usage"]


def test_revenue_pages_have_no_gaps_and_no_repeats_while_calls_arrive(api: Api) -> None:
    made = [settle_call(api.world.token) for _ in range(5)]
    rate_all()
    seen: list[str] = []
    cursor = ""
    while True:
        page = revenue_of(api, f"?limit=2{cursor}")
        seen += [entry["request_id"] for entry in page["entries"]]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
        settle_call(api.world.token)
        rate_all()
    assert sorted(seen) == sorted(made)


def test_revenue_takes_as_many_queries_for_three_calls_as_for_one(api: Api) -> None:
    def queries() -> int:
        settle_call(api.world.token)  # one that is pending
        with CaptureQueriesContext(connection) as captured:
            revenue_of(api)
        return len(captured)

    settle_call(api.world.token)
    rate_all()
    revenue_of(api)
    one = queries()
    rate_all()
    for _ in range(2):
        settle_call(api.world.token)
    rate_all()
    assert queries() == one


def test_revenue_is_for_the_developer_alone(api: Api) -> None:
    strange_id, _, strange_token = make_stranger()
    path = f"/v1/developers/{api.developer_id}/revenue"
    assert code_of(api.get(path, strange_token)) == (404, "developer_not_found")
    assert code_of(api.get(f"/v1/developers/{strange_id}/revenue", api.developer_token)) == (404, "developer_not_found")
    assert code_of(api.get(path, make_developer_token(api.developer_id, ["usage:read"]))) == (403, "insufficient_scope")
    assert code_of(api.get(path)) == (401, "missing_token")
    assert code_of(api.get(path, api.world.token)) == (401, "invalid_token")


@pytest.mark.parametrize(("query", "param"), [("cursor=x", "cursor"), ("from=x", "from"), ("limit=0", "limit")])
def test_revenue_names_a_wrong_parameter(api: Api, query: str, param: str) -> None:
    response = api.get(f"/v1/developers/{api.developer_id}/revenue?{query}", api.developer_token)
    assert response.status_code == 400
    assert error_of(response)["param"] == param
