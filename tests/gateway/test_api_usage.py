"""GET /v1/apps/{id}/usage."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.core.clock import now
from apps.features.services.features import create_feature
from apps.features.services.tokens import open_session
from apps.usage.models import UsageEvent
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

S0_NAMES = {
    "request_id",
    "app_id",
    "developer_id",
    "end_user_id",
    "feature_key",
    "route_mode",
    "provider",
    "model",
    "input_tokens",
    "output_tokens",
    "upstream_cost_usd",
    "retail_price_usd",
    "gross_margin_usd",
    "channel_revenue_usd",
    "platform_revenue_usd",
}
COST, PRICE, MARGIN = "0.0060675", "0.0084945", "0.002427"
SHARE, REST = "0.0009708", "0.0014562"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def test_usage_row_of_a_rated_call(api: Api) -> None:
    request_id = settle_call(api.world.token)
    rate_all()
    page = api.usage()
    (row,) = page["data"]
    assert row.keys() >= S0_NAMES
    assert {name: row[name] for name in S0_NAMES} == {
        "request_id": request_id,
        "app_id": api.app_id,
        "developer_id": api.developer_id,
        "end_user_id": api.world.end_user_id,
        "feature_key": "default",
        "route_mode": "platform",
        "provider": "double-0",
        "model": "upstream-model",
        "input_tokens": 1000,
        "output_tokens": 200,
        "upstream_cost_usd": COST,
        "retail_price_usd": PRICE,
        "gross_margin_usd": MARGIN,
        "channel_revenue_usd": SHARE,
        "platform_revenue_usd": REST,
    }
    assert (row["cache_read_tokens"], row["cache_write_tokens"], row["reasoning_tokens"]) == (100, 10, 50)
    assert (row["requested_model"], row["served_model"]) == ("test-model", "upstream-model")
    assert (row["outcome"], row["status"], row["stream"], row["estimated"]) == ("finished", 200, False, False)
    assert (row["first_byte_ms"], row["duration_ms"]) == (40, 80)
    assert row["rated"] is True and row["rated_at"] is not None
    assert page["totals"]["calls"] == page["totals"]["rated_calls"] == 1
    assert page["totals"]["rated"]["channel_revenue_usd"] == SHARE


def test_usage_row_before_rating_has_the_split_that_rating_makes(api: Api) -> None:
    settle_call(api.world.token)
    settle_call(api.world.token, charged=False, outcome="provider_failed")
    before = api.usage()
    assert [row["rated"] for row in before["data"]] == [False, False]
    assert before["totals"]["rated_calls"] == 0
    assert before["totals"]["retail_price_usd"] == PRICE
    assert before["totals"]["rated"]["retail_price_usd"] == "0.0000"
    rate_all()
    after = api.usage()
    marks = {"rated", "rated_at"}
    strip = lambda page: [{k: v for k, v in row.items() if k not in marks} for row in page["data"]]  # noqa: E731
    assert strip(before) == strip(after)
    assert after["totals"]["rated"] == {
        "upstream_cost_usd": "0.012135",
        "retail_price_usd": PRICE,
        "gross_margin_usd": "-0.0036405",
        "infra_cost_usd": "0.0000",
        "payment_cost_usd": "0.0000",
        "channel_revenue_usd": SHARE,
        "platform_revenue_usd": "-0.0046113",
    }


def test_usage_row_that_rating_set_aside_has_no_split(api: Api) -> None:
    settle_call(api.world.token, price_nano=5)  # not what rate() makes of it
    rate_all()
    (row,) = api.usage()["data"]
    assert (row["rated"], row["channel_revenue_usd"], row["platform_revenue_usd"]) == (False, None, None)
    assert row["retail_price_usd"] == "0.000000005"


def test_usage_never_tells_which_credential_was_used(api: Api) -> None:
    settle_call(api.world.token)
    response = api.get(f"/v1/apps/{api.app_id}/usage", api.developer_token)
    assert b"cred_" not in response.content
    assert response.json()["data"][0]["attempts"] == [
        {"provider": "double-9", "model": "m", "code": "down", "status": 503, "ms": 4}
    ]


def test_usage_by_public_id(api: Api) -> None:
    settle_call(api.world.token)
    response = api.get(f"/v1/apps/{api.public_id}/usage", api.developer_token)
    assert response.status_code == 200
    assert response.json()["app_id"] == api.app_id
    assert len(response.json()["data"]) == 1


def test_usage_of_a_period(api: Api) -> None:
    days = [datetime(2026, 5, day, 12, tzinfo=UTC) for day in (1, 2, 3)]
    made = [settle_call(api.world.token, at=day) for day in days]

    def ids(query: str) -> list[str]:
        page = api.usage(query)
        assert page["totals"]["calls"] == len(page["data"])
        return [row["request_id"] for row in page["data"]]

    assert ids("?from=2026-05-02") == [made[2], made[1]]
    assert ids("?to=2026-05-02") == [made[0]]
    assert ids("?from=2026-05-01T12:00:00Z&to=2026-05-02T12:00:00Z") == [made[0]]  # from is inclusive, to exclusive
    assert ids("?from=2026-05-02T13:00:00+02:00&to=2026-05-02T15:00:00%2B02:00") == [made[1]]
    assert ids("?from=2030-01-01") == []
    assert api.usage("?from=2026-05-02")["period"] == {"from": "2026-05-02T00:00:00+00:00", "to": None}


def test_usage_by_feature_outcome_and_model(api: Api) -> None:
    create_feature(app_id=api.app_id, key="summary", name="Summary", now=now(), actor=ACTOR)
    session = open_session(
        app_id=api.app_id,
        feature_key="summary",
        end_user_id=api.world.end_user_id,
        assurance="user_token",
        ttl=60,
        now=now(),
    )
    plain = settle_call(api.world.token)
    summary = settle_call(session.token, served_model="other-model")
    failed = settle_call(api.world.token, charged=False, outcome="provider_failed")

    def ids(query: str) -> set[str]:
        page = api.usage(f"?{query}")
        assert page["totals"]["calls"] == len(page["data"])
        return {row["request_id"] for row in page["data"]}

    assert ids("feature_key=summary") == {summary}
    assert ids("outcome=provider_failed") == {failed}
    assert ids("model=other-model") == {summary}
    assert ids("model=test-model") == {plain, summary, failed}
    assert ids("model=test-model&outcome=finished&feature_key=default") == {plain}
    assert ids("feature_key=unknown") == set()
    assert ids("route_mode=platform") == {plain, summary, failed}
    assert ids("route_mode=byok") == set()
    response = api.get(f"/v1/apps/{api.app_id}/usage?route_mode=magic", api.developer_token)
    assert (response.status_code, error_of(response)["param"]) == (400, "route_mode")


def test_usage_row_says_how_the_call_was_routed_and_changed(api: Api) -> None:
    cached = {"cache": "exact", "cache_price_bps": 5000, "price_nano": 4_247_250, "cost_nano": 0}
    settle_call(api.world.token, policy="byok_first", task_class="code", degraded=True, redactions=3, **cached)
    (row,) = api.usage()["data"]
    told = {name: row[name] for name in ("policy", "task_class", "degraded", "cache", "redactions")}
    assert told == {
        "policy": "byok_first",
        "task_class": "code",
        "degraded": True,
        "cache": "exact",
        "redactions": 3,
    }


def test_usage_pages_have_no_gaps_and_no_repeats_while_calls_arrive(api: Api) -> None:
    moment = now() - timedelta(hours=1)
    made = [settle_call(api.world.token, at=moment + timedelta(seconds=n // 3)) for n in range(10)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = api.usage(f"?limit=3&totals=false{cursor}")
        assert page["totals"] is None
        seen += [row["request_id"] for row in page["data"]]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
        settle_call(api.world.token)
        rate_all()
    assert seen == made[::-1]
    assert page["next_cursor"] is None


def test_usage_takes_as_many_queries_for_three_calls_as_for_one(api: Api) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            api.usage()
        return len(captured)

    settle_call(api.world.token)
    api.usage()  # what a process reads once: prices and terms
    unrated_one = queries()
    rate_all()
    rated_one = queries()
    settle_call(api.world.token)
    settle_call(api.world.token)
    rate_all()
    assert queries() == rated_one
    for _ in range(3):
        settle_call(api.world.token)
    assert queries() == unrated_one


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("from=2026-05-02&to=2026-05-02", "to"),
        ("from=9999-12-31T23:59:59-14:00", "from"),
        ("outcome=good", "outcome"),
        ("cursor=0", "cursor"),
        ("limit=1000", "limit"),
        ("totals=maybe", "totals"),
        ("model=%00", "model"),
        ("feature_key=" + "x" * 301, "feature_key"),
    ],
)
def test_usage_names_a_wrong_parameter(api: Api, query: str, param: str) -> None:
    response = api.get(f"/v1/apps/{api.app_id}/usage?{query}", api.developer_token)
    assert response.status_code == 400
    assert error_of(response)["param"] == param


def test_usage_is_for_the_apps_developer_alone(api: Api) -> None:
    _, strange_app, strange_token = make_stranger()
    settle_call(api.world.token)
    path = f"/v1/apps/{api.app_id}/usage"
    assert code_of(api.get(path, strange_token)) == (404, "app_not_found")
    assert code_of(api.get(f"/v1/apps/{strange_app}/usage", api.developer_token)) == (404, "app_not_found")
    assert code_of(api.get("/v1/apps/app_unknown/usage", api.developer_token)) == (404, "app_not_found")
    assert code_of(api.get("/v1/apps/%00/usage", api.developer_token)) == (404, "app_not_found")
    assert code_of(api.get("/v1/apps/app_pub_%00/usage", api.developer_token)) == (404, "app_not_found")
    assert code_of(api.get(path, make_developer_token(api.developer_id, ["revenue:read"]))) == (
        403,
        "insufficient_scope",
    )
    assert code_of(api.get(path, api.world.token)) == (401, "invalid_token")
    assert code_of(api.get(path)) == (401, "missing_token")
    assert UsageEvent.objects.count() == 1
