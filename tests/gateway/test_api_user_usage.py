"""GET /v1/user/usage, and the present session: what an end user's app may ask of its own user."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.core.clock import now
from apps.features.services.tokens import issue_virtual_key, revoke_session
from tests.gateway.api_factories import Api, code_of, make_api, settle_call
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
PATH = "/v1/user/usage"
PRICE = "0.0084945"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def usage_of(api: Api, query: str = "", token: str | None = None) -> dict[str, Any]:
    response = api.get(f"{PATH}{query}", token or api.world.token)
    assert response.status_code == 200, response.content
    content: dict[str, Any] = response.json()
    return content


def test_usage_of_nobody_is_empty(api: Api) -> None:
    usage = usage_of(api)
    assert (usage["data"], usage["has_more"], usage["next_cursor"]) == ([], False, None)
    assert usage["totals"] == {
        "calls": 0,
        "input_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 0,
        "reasoning_tokens": 0,
        "total_tokens": 0,
        "price_usd": "0.0000",
    }


def test_usage_is_the_users_own_newest_first_and_paged(api: Api) -> None:
    older, newer = (settle_call(api.world.token, at=now() - timedelta(minutes=ago)) for ago in (2, 1))
    stranger = api.world.new_session("bob", usd="5")
    settle_call(stranger.token)
    usage = usage_of(api, "?limit=1")
    assert [call["request_id"] for call in usage["data"]] == [newer]
    assert usage["data"][0]["price_usd"] == PRICE
    assert (usage["totals"]["calls"], usage["totals"]["price_usd"]) == (2, "0.016989")
    assert usage["totals"]["total_tokens"] == 2620
    rest = usage_of(api, f"?limit=1&cursor={usage['next_cursor']}&totals=0")
    assert [call["request_id"] for call in rest["data"]] == [older]
    assert (rest["has_more"], rest["totals"]) == (False, None)
    (foreign,) = usage_of(api, token=stranger.token)["data"]
    assert foreign["request_id"] not in (older, newer)


def test_usage_is_filtered(api: Api) -> None:
    settle_call(api.world.token, at=now() - timedelta(days=2))
    request_id = settle_call(api.world.token)
    since = (now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    usage = usage_of(api, f"?from={since}")
    assert [call["request_id"] for call in usage["data"]] == [request_id]
    assert usage["totals"]["calls"] == 1
    assert usage_of(api, "?route_mode=byok")["totals"]["calls"] == 0
    assert code_of(api.get(f"{PATH}?route_mode=cloud", api.world.token)) == (400, "invalid_request")
    assert code_of(api.get(f"{PATH}?from=yesterday", api.world.token))[0] == 400


def test_usage_takes_as_many_queries_for_many_calls_as_for_one(api: Api) -> None:
    settle_call(api.world.token)
    usage_of(api)
    with CaptureQueriesContext(
        connection,
    ) as one:
        usage_of(api)
    settle_call(api.world.token)
    settle_call(api.world.token)
    with CaptureQueriesContext(connection) as three:
        usage_of(api)
    assert len(one) == len(three)


@pytest.mark.parametrize("path", [PATH, "/v1/sessions/current"])
def test_session_that_was_revoked_asks_nothing(api: Api, path: str) -> None:
    session = api.get("/v1/sessions/current", api.world.token).json()
    revoke_session(session_id=session["session_id"], now=now(), actor=ACTOR)
    assert code_of(api.get(path, api.world.token)) == (401, "token_revoked")
    assert code_of(api.get(path)) == (401, "missing_token")
    assert code_of(api.get(path, api.developer_token)) == (401, "invalid_token")


def test_virtual_key_has_no_usage_of_an_end_user(api: Api) -> None:
    key, _ = issue_virtual_key(app_id=api.app_id, name="key", now=now(), actor=ACTOR)
    assert code_of(api.get(PATH, key)) == (403, "end_user_required")
    assert code_of(api.get("/v1/sessions/current", key)) == (403, "not_a_session")


def test_present_session_is_told_as_it_was_opened(api: Api) -> None:
    opened = api.post("/v1/sessions", {"public_app_id": api.public_id, "user_token": api.user_token()}).json()
    token = opened.pop("session_token")
    present = api.get("/v1/sessions/current", token).json()
    assert opened["expires_in"] - 5 < present.pop("expires_in") <= opened.pop("expires_in")
    assert present.pop("expires_at")[:16] == opened.pop("expires_at")[:16]
    assert present == opened
    assert opened["privacy_mode"] == "allow"


def test_present_session_is_told_for_another_feature(api: Api) -> None:
    api.world.manifest("secret", privacy={"mode": "local_only"})
    present = api.get("/v1/sessions/current?feature_key=secret", api.world.token).json()
    assert (present["feature_key"], present["privacy_mode"]) == ("secret", "local_only")
    body = {"public_app_id": api.public_id, "user_token": api.user_token(), "feature_key": "secret"}
    assert api.post("/v1/sessions", body).json()["privacy_mode"] == "local_only"
    assert code_of(api.get("/v1/sessions/current?feature_key=none", api.world.token)) == (404, "feature_not_found")
