"""GET /v1/user/wallet."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.core.clock import now
from apps.features.services.end_users import disable_end_user
from apps.features.services.tokens import issue_virtual_key, revoke_virtual_key
from apps.ledger.services.accounts import freeze_wallet
from tests.gateway.api_factories import Api, code_of, error_of, make_api, settle_call
from tests.live import ACTOR, rate_all

pytestmark = pytest.mark.django_db

# 1000 × 3 + 100 × 0.30 + 10 × 3.75 + 200 × 15 micro-USD, and 40 % on top.
PRICE = "0.0084945"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def wallet_of(api: Api, token: str | None = None, query: str = "") -> dict[str, Any]:
    response = api.get(f"/v1/user/wallet{query}", token or api.world.token)
    assert response.status_code == 200, response.content
    content: dict[str, Any] = response.json()
    return content


def test_wallet_of_a_funded_user(api: Api) -> None:
    wallet = wallet_of(api)
    assert wallet == {
        "object": "wallet",
        "owner": "end_user",
        "currency": "usd",
        "frozen": False,
        "balance_usd": "10.0000",
        "held_usd": "0.0000",
        "overdraft_usd": "0.0000",
        "available_usd": "10.0000",
        "spent_usd": "0.0000",
        "pending_usd": "0.0000",
        "balance_nano": "10000000000",
        "held_nano": "0",
        "overdraft_nano": "0",
        "available_nano": "10000000000",
        "spent_nano": "0",
        "pending_nano": "0",
        "credits": [{"kind": "other", "remaining_usd": "10.0000", "expires_at": None}],
        "notices": [],
        "top_up": {
            "enabled": False,
            "presets_usd": ["5.0000", "10.0000", "20.0000", "50.0000"],
            "min_usd": "5.0000",
            "max_usd": "500.0000",
        },
        "calls": [],
        "has_more": False,
        "next_before": None,
    }


def test_wallet_shows_a_settled_call_before_and_after_rating(api: Api) -> None:
    request_id = settle_call(api.world.token)
    before = wallet_of(api)
    assert (before["balance_usd"], before["held_usd"], before["available_usd"]) == ("10.0000", PRICE, "9.9915055")
    assert (before["spent_usd"], before["pending_usd"]) == ("0.0000", PRICE)
    assert rate_all() == 1
    after = wallet_of(api)
    assert (after["balance_usd"], after["held_usd"], after["available_usd"]) == ("9.9915055", "0.0000", "9.9915055")
    assert (after["spent_usd"], after["pending_usd"]) == (PRICE, "0.0000")
    (call,) = after["calls"]
    assert call["request_id"] == request_id
    assert (call["model"], call["requested_model"], call["price_usd"]) == ("upstream-model", "test-model", PRICE)
    assert (call["input_tokens"], call["output_tokens"], call["total_tokens"]) == (1000, 200, 1310)
    assert (call["outcome"], call["rated"], before["calls"][0]["rated"]) == ("finished", True, False)


def test_wallet_shows_a_free_call(api: Api) -> None:
    settle_call(api.world.token, charged=False, outcome="provider_failed")
    rate_all()
    wallet = wallet_of(api)
    assert wallet["available_usd"] == "10.0000"
    assert [(call["price_usd"], call["outcome"]) for call in wallet["calls"]] == [("0.0000", "provider_failed")]


def test_wallet_of_a_virtual_key_is_the_developers_credit(api: Api) -> None:
    key = api.world.virtual_key(usd="2")
    other = api.world.virtual_key()
    settle_call(key)
    settle_call(api.world.token)
    rate_all()
    wallet = wallet_of(api, key)
    assert (wallet["owner"], wallet["balance_usd"], wallet["spent_usd"]) == ("developer_credit", "1.9915055", PRICE)
    assert len(wallet["calls"]) == 1
    assert wallet_of(api, other)["balance_usd"] == "1.9915055"
    assert wallet_of(api, other)["calls"] == []  # calls of another key are not its business


def test_wallet_shows_no_other_users_calls(api: Api) -> None:
    settle_call(api.world.token)
    other = api.world.new_session("bob", usd="1")
    assert wallet_of(api, other.token)["calls"] == []
    assert wallet_of(api, other.token)["balance_usd"] == "1.0000"


def test_wallet_says_that_it_is_frozen(api: Api) -> None:
    freeze_wallet(api.world.account_id, now=now(), actor=ACTOR)
    assert wallet_of(api)["frozen"] is True


def test_wallet_pages_have_no_gaps_and_no_repeats_while_calls_arrive(api: Api) -> None:
    moment = now() - timedelta(hours=1)
    # Two calls share each moment, so that pages also break between rows of one moment.
    made = [settle_call(api.world.token, at=moment + timedelta(seconds=n // 2)) for n in range(9)]
    seen: list[str] = []
    before = ""
    while True:
        page = wallet_of(api, query=f"?limit=2{before}")
        seen += [call["request_id"] for call in page["calls"]]
        assert page["has_more"] == (page["next_before"] is not None)
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
        settle_call(api.world.token)
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=-1", "limit"),
        ("limit=²", "limit"),
        ("before=x", "before"),
        ("before=-", "before"),
        ("before=1-1-1", "before"),
        ("before=99999999999999999999999999-1", "before"),
        ("before=1-99999999999999999999", "before"),
        ("before=%00", "before"),
    ],
)
def test_wallet_names_a_wrong_parameter(api: Api, query: str, param: str) -> None:
    response = api.get(f"/v1/user/wallet?{query}", api.world.token)
    assert code_of(response) == (400, "invalid_type")
    assert error_of(response)["param"] == param


def test_wallet_takes_as_many_queries_for_three_calls_as_for_one(api: Api) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            wallet_of(api)
        return len(captured)

    settle_call(api.world.token)
    wallet_of(api)  # what a process reads once: prices and terms
    one = queries()
    settle_call(api.world.token)
    settle_call(api.world.token)
    assert queries() == one


def test_wallet_refuses_tokens_that_are_not_its_own(api: Api) -> None:
    assert code_of(api.get("/v1/user/wallet")) == (401, "missing_token")
    assert api.get("/v1/user/wallet").headers["www-authenticate"].startswith("Bearer")
    assert code_of(api.get("/v1/user/wallet", "mf_sess_unknown")) == (401, "invalid_token")
    assert code_of(api.get("/v1/user/wallet", api.developer_token)) == (401, "invalid_token")
    assert code_of(api.get("/v1/user/wallet", api.secret)) == (401, "invalid_token")
    assert code_of(api.get("/v1/user/wallet", "a b")) == (401, "invalid_token")
    response = api.client.get("/v1/user/wallet", headers={"authorization": f"Basic {api.world.token}"})
    assert code_of(response) == (401, "invalid_token")


def test_wallet_refuses_what_was_switched_off(api: Api) -> None:
    key, key_id = issue_virtual_key(app_id=api.app_id, name="key", now=now(), actor=ACTOR)
    assert api.get("/v1/user/wallet", key).status_code == 200
    revoke_virtual_key(key_id=key_id, now=now(), actor=ACTOR)
    assert code_of(api.get("/v1/user/wallet", key)) == (401, "token_revoked")
    disable_end_user(end_user_id=api.world.end_user_id, now=now(), actor=ACTOR)
    assert code_of(api.get("/v1/user/wallet", api.world.token)) == (403, "end_user_disabled")


def test_wallet_lists_the_calls_that_are_asked_for(api: Api) -> None:
    plain = settle_call(api.world.token, policy="latency_first", degraded=True, redactions=1)
    failed = settle_call(api.world.token, charged=False, outcome="provider_failed", served_model="other-model")
    settle_call(api.world.new_session("bob", usd="1").token)

    def ids(query: str, token: str | None = None) -> list[str]:
        return [call["request_id"] for call in wallet_of(api, token, query)["calls"]]

    assert ids("") == ids("?route_mode=platform") == ids("?feature_key=default") == [failed, plain]
    assert ids("?outcome=provider_failed") == ids("?model=other-model") == [failed]
    assert ids("?route_mode=local") == ids("?feature_key=unknown") == []
    call = wallet_of(api, query="?outcome=finished")["calls"][0]
    assert (call["policy"], call["degraded"], call["redactions"], call["cache"]) == ("latency_first", True, 1, None)
    assert error_of(api.get("/v1/user/wallet?outcome=nice", api.world.token))["param"] == "outcome"
    key = api.world.virtual_key(usd="5")
    own = settle_call(key)
    assert ids("?outcome=finished", key) == [own]
    assert ids("?outcome=empty", key) == []
