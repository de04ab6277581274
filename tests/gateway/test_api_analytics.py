"""GET /v1/developers/{id}/analytics/…: cost by day, model usage, forecast."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.core.clock import now
from apps.developers.models import Scope
from apps.developers.services.tokens import revoke_token
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

PATHS = ("cost-daily", "model-usage", "forecast")
COST, PRICE, SHARE = "0.0060675", "0.0084945", "0.0009708"
LINE = {
    "calls": 1,
    "failed_calls": 0,
    "cached_calls": 0,
    "input_tokens": 1_110,
    "output_tokens": 200,
    "upstream_cost_usd": COST,
    "retail_price_usd": PRICE,
    "channel_revenue_usd": SHARE,
    "provider_bill_usd": "0.0000",
}


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def path_of(api: Api, what: str, query: str = "") -> str:
    return f"/v1/developers/{api.developer_id}/analytics/{what}{query}"


def asked(api: Api, what: str, query: str = "") -> dict[str, Any]:
    response = api.get(path_of(api, what, query), api.developer_token)
    assert response.status_code == 200, response.content
    content: dict[str, Any] = response.json()
    return content


def test_cost_of_every_day_of_a_period(api: Api) -> None:
    for day in (1, 3):
        settle_call(api.world.token, at=datetime(2026, 5, day, 23, 59, tzinfo=UTC))
    settle_call(api.world.token, at=datetime(2026, 5, 4, tzinfo=UTC))
    rate_all()
    nothing = {name: "0.0000" if name.endswith("_usd") else 0 for name in LINE}
    found = asked(api, "cost-daily", "?from=2026-05-01&to=2026-05-04")
    assert found == {
        "object": "cost_daily",
        "developer_id": api.developer_id,
        "currency": "usd",
        "time_zone": "UTC",
        "period": {"from": "2026-05-01", "to": "2026-05-04"},
        "totals": found["totals"],
        "data": [
            {"date": "2026-05-01", **LINE},
            {"date": "2026-05-02", **nothing},
            {"date": "2026-05-03", **LINE},
        ],
    }
    assert (found["totals"]["calls"], found["totals"]["upstream_cost_usd"]) == (2, "0.012135")


def test_cost_is_by_default_of_the_last_thirty_days_with_today(api: Api) -> None:
    settle_call(api.world.token)
    rate_all()
    found = asked(api, "cost-daily")
    today = now().astimezone(UTC).date()
    assert len(found["data"]) == 30 and found["data"][-1] == {"date": today.isoformat(), **LINE}
    assert found["period"]["to"] == (today + timedelta(days=1)).isoformat()


def test_cost_is_narrowed_to_an_app_and_a_feature(api: Api) -> None:
    settle_call(api.world.token)
    settle_call(api.world.token, feature_key="other")
    rate_all()
    assert asked(api, "cost-daily")["totals"]["calls"] == 2
    assert asked(api, "cost-daily", f"?app_id={api.public_id}&feature_key=other")["totals"]["calls"] == 1
    assert asked(api, "cost-daily", "?feature_key=none")["totals"]["calls"] == 0


def test_models_that_served(api: Api) -> None:
    for model in ("one", "two", "two"):
        settle_call(api.world.token, served_model=model)
    settle_call(api.world.token, charged=False, served_model="two", duration_ms=400)
    rate_all()
    found = asked(api, "model-usage")
    assert [(row["model"], row["calls"], row["failed_calls"], row["calls_bps"]) for row in found["data"]] == [
        ("two", 3, 1, 7_500),
        ("one", 1, 0, 2_500),
    ]
    assert found["data"][0]["mean_ms"] == round((80 + 80 + 400) / 3)
    assert found["data"][1].items() >= {**LINE, "provider": "double-0", "route_mode": "platform"}.items()
    assert found["totals"]["calls"] == 4 and found["object"] == "model_usage"


def test_forecast_of_the_month(api: Api) -> None:
    moment = now()
    for days_ago in range(4):
        settle_call(api.world.token, at=moment - timedelta(days=days_ago))
    rate_all()
    found = asked(api, "forecast")
    day = moment.astimezone(UTC)
    this_month = min(day.day, 4)
    amounts = {"calls": 1, "cost_usd": COST, "retail_price_usd": PRICE, "channel_revenue_usd": SHARE}
    assert (found["enough_data"], found["averaged_days"], found["daily_average"]) == (True, 3, amounts)
    assert found["month"] == f"{day:%Y-%m}" and found["month_to_date"]["calls"] == this_month
    assert found["projected"]["calls"] == this_month + found["days_left"]
    assert found["days_left"] == found["days_in_month"] - day.day
    assert found["recommendations"] == []


def test_forecast_without_calls(api: Api) -> None:
    found = asked(api, "forecast")
    assert (found["enough_data"], found["projected"], found["daily_average"]) == (False, None, None)
    assert found["month_to_date"]["cost_usd"] == "0.0000"


@pytest.mark.parametrize("what", PATHS)
def test_stranger_and_wrong_tokens_are_refused(api: Api, what: str) -> None:
    _, _, stranger = make_stranger()
    assert code_of(api.get(path_of(api, what), stranger)) == (404, "developer_not_found")
    others = make_developer_token(api.developer_id, [scope for scope in Scope.values if scope != Scope.USAGE_READ])
    assert code_of(api.get(path_of(api, what), others)) == (403, "insufficient_scope")
    assert code_of(api.get(path_of(api, what))) == (401, "missing_token")
    assert api.get(path_of(api, what), api.world.token).status_code == 401
    assert api.get(path_of(api, what), make_developer_token(api.developer_id, [Scope.USAGE_READ])).status_code == 200


@pytest.mark.parametrize("what", PATHS)
def test_revoked_token_is_refused(api: Api, what: str) -> None:
    from apps.developers.models import DeveloperToken

    for token in DeveloperToken.objects.all():
        revoke_token(token.pk, now=now(), actor=ACTOR)
    assert api.get(path_of(api, what), api.developer_token).status_code == 401


@pytest.mark.parametrize("what", PATHS[:2])
@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?from=2026-05-02&to=2026-05-02", "to"),
        ("?from=2024-01-01&to=2026-01-01", "from"),
        ("?from=yesterday", "from"),
        ("?from=2026-05-02T10:00:00", "from"),
        ("?to=0001-01-01", "to"),
        ("?to=9999-12-31", "to"),
        ("?feature_key=%00", "feature_key"),
    ],
)
def test_wrong_periods_are_refused(api: Api, what: str, query: str, param: str) -> None:
    response = api.get(path_of(api, what, query), api.developer_token)
    assert response.status_code == 400 and error_of(response)["param"] == param


def test_app_of_a_stranger_is_unknown(api: Api) -> None:
    _, app, _ = make_stranger()
    for what in PATHS[:2]:
        assert code_of(api.get(path_of(api, what, f"?app_id={app}"), api.developer_token)) == (404, "app_not_found")
