from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.console import demo
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.ledger.models import LedgerTransaction
from tests.console.factories import Demo, ask_session, make_demo, open_session, state_of
from tests.gateway.api_factories import settle_call
from tests.live import rate_all


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_visitor_gets_a_short_user_token_and_a_cookie(client: Client, demo_app: Demo) -> None:
    response = ask_session(client)
    content = response.json()
    assert content.keys() == {"user_token", "public_app_id", "granted_usd"}
    claims = jwt.decode(content["user_token"], demo_app.secret, algorithms=["HS256"], audience=demo.PUBLIC_APP_ID)
    assert claims["sub"].startswith("web-") and claims["exp"] - claims["iat"] == demo.USER_TOKEN_SECONDS
    cookie = client.cookies["mf_visitor"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax"
    assert demo_app.secret not in response.content.decode()


@pytest.mark.parametrize(
    "origin", [None, "", "null", "https://evil.example", "http://testserver.evil.example", "http://testserver:81"]
)
def test_session_refuses_foreign_origins(client: Client, demo_app: Demo, origin: str | None) -> None:
    assert refusal(ask_session(client, origin=origin)) == (403, "origin_not_allowed")
    assert "mf_visitor" not in client.cookies
    assert not LedgerTransaction.objects.filter(kind="grant", idempotency_key__startswith="demo:").exists()


def test_own_origin_is_known_behind_a_proxy_that_ends_tls(client: Client, demo_app: Demo) -> None:
    assert ask_session(client, origin="https://testserver").status_code == 200


def test_browser_stays_the_same_visitor_until_it_asks_to_be_another(client: Client, demo_app: Demo) -> None:
    first, second, third = (
        jwt.decode(ask_session(client, new=new).json()["user_token"], options={"verify_signature": False})["sub"]
        for new in (False, False, True)
    )
    assert first == second != third


def test_made_up_cookie_is_a_new_visitor(client: Client, demo_app: Demo) -> None:
    client.cookies["mf_visitor"] = "web-somebody-else"
    assert state_of(client)["visitor"] is None
    token = ask_session(client).json()["user_token"]
    assert jwt.decode(token, options={"verify_signature": False})["sub"] != "web-somebody-else"


def test_user_token_opens_a_session_with_the_grant(client: Client, demo_app: Demo) -> None:
    token = open_session(client)
    wallet = client.get("/v1/user/wallet", headers={"authorization": f"Bearer {token}"})
    assert wallet.json()["balance_usd"] == "0.5000"


@pytest.mark.django_db(transaction=True)
def test_grant_is_given_once_under_concurrency() -> None:
    make_demo()
    client = Client()
    ask_session(client)
    LedgerTransaction.objects.filter(kind="grant", idempotency_key__startswith="demo:").get()
    cookie = client.cookies["mf_visitor"].value

    def again(_: int) -> int:
        twin = Client()
        twin.cookies["mf_visitor"] = cookie
        try:
            status: int = ask_session(twin).status_code
            return status
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(again, range(12))) == [200] * 12
    assert LedgerTransaction.objects.filter(kind="grant", idempotency_key__startswith="demo:").count() == 1
    assert state_of(client)["visitor"]["available_usd"] == "0.5000"


@pytest.mark.django_db(transaction=True)
def test_first_grant_is_given_once_to_requests_that_race() -> None:
    make_demo()

    def first(_: int) -> str:
        try:
            return demo.user_token("web-racer", now=now())
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(first, range(6)))
    assert LedgerTransaction.objects.filter(kind="grant", idempotency_key__startswith="demo:").count() == 1


def test_state_shows_the_parts_of_each_call_and_their_sum(client: Client, demo_app: Demo) -> None:
    token = open_session(client)
    request_id = settle_call(token)
    pending = state_of(client)
    assert not pending["settled"] and pending["visitor"]["latest"][0]["rated"] is False
    rate_all()
    state = state_of(client)
    visitor = state["visitor"]
    [call] = visitor["latest"]
    assert state["settled"] and call["request_id"] == request_id and call["rated"]
    assert call["split"] == visitor["totals"] == pending["visitor"]["latest"][0]["split"]
    split = {name: nano_from_usd(usd) for name, usd in call["split"].items()}
    assert split["price_usd"] == split["cost_usd"] + split["developer_usd"] + split["platform_usd"]
    assert nano_from_usd(visitor["available_usd"]) == demo.GRANT - split["price_usd"]
    assert state["revenue_usd"] == call["split"]["developer_usd"] != "0.0000"


def test_failed_call_is_free_and_borne_by_the_platform(client: Client, demo_app: Demo) -> None:
    settle_call(open_session(client), charged=False, outcome="provider_failed")
    rate_all()
    [call] = state_of(client)["visitor"]["latest"]
    assert not call["charged"] and call["split"]["price_usd"] == "0.0000"
    assert call["split"]["platform_usd"] == f"-{call['split']['cost_usd']}"


def test_state_of_one_visitor_never_shows_anothers_calls(demo_app: Demo) -> None:
    alice, bob, stranger = Client(), Client(), Client()
    request_id = settle_call(open_session(alice))
    open_session(bob)
    assert [call["request_id"] for call in state_of(alice)["visitor"]["latest"]] == [request_id]
    visitor = state_of(bob)["visitor"]
    assert (visitor["latest"], visitor["calls"], visitor["available_usd"]) == ([], 0, "0.5000")
    assert request_id not in stranger.get("/demo/state").content.decode()
    assert state_of(stranger)["visitor"] is None


def test_new_visitor_starts_with_no_calls_and_a_grant(client: Client, demo_app: Demo) -> None:
    settle_call(open_session(client))
    open_session(client, new=True)
    visitor = state_of(client)["visitor"]
    assert (visitor["calls"], visitor["available_usd"]) == (0, "0.5000")


def test_state_takes_as_many_queries_for_three_calls_as_for_one(client: Client, demo_app: Demo) -> None:
    token = open_session(client)
    counts = []
    for calls in (1, 2):
        for _ in range(calls):
            settle_call(token)
        rate_all()
        with CaptureQueriesContext(connection) as queries:
            state_of(client)
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.fixture
def two_visitors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NEW_VISITORS", "2/hour")


@pytest.mark.usefixtures("two_visitors")
def test_one_address_does_not_get_any_number_of_visitors(client: Client, demo_app: Demo) -> None:
    for _ in range(2):
        assert ask_session(client, new=True).status_code == 200
    refused = ask_session(client, new=True)
    assert refusal(refused) == (429, "too_many_visitors")
    assert int(refused.headers["retry-after"]) > 0
    assert ask_session(client).status_code == 200  # who is here already stays


@pytest.mark.usefixtures("two_visitors")
def test_address_is_what_the_trusted_proxy_saw(client: Client, demo_app: Demo, settings: Any) -> None:
    def ask(*forwarded: str) -> int:
        headers = {"origin": "http://testserver", "x-forwarded-for": ", ".join(forwarded)}
        status: int = Client().post("/demo/session", {}, "application/json", headers=headers).status_code
        return status

    settings.TRUSTED_PROXIES = 1
    assert [ask("203.0.113.1"), ask("9.9.9.9", "203.0.113.1"), ask("203.0.113.1")] == [200, 200, 429]
    assert ask("203.0.113.2") == 200
    settings.TRUSTED_PROXIES = 0
    assert [ask("203.0.113.3"), ask("203.0.113.4"), ask("203.0.113.5")] == [200, 200, 429]


@pytest.mark.parametrize("body", ["[]", "{", '{"new": 1}', '"x"', "[" * 900, '{"new": "' + "x" * 2000 + '"}'])
def test_broken_body_is_a_400(client: Client, demo_app: Demo, body: str) -> None:
    headers = {"origin": "http://testserver"}
    response = client.post("/demo/session", body, content_type="application/json", headers=headers)
    assert refusal(response) == (400, "invalid_request")


def test_instance_without_the_demo_app_says_so(client: Client, db: None) -> None:
    assert refusal(ask_session(client)) == (503, "demo_not_ready")
    assert state_of(client) == {"visitor": None, "revenue_usd": "0.0000", "settled": True}


def test_endpoints_take_one_method(client: Client, demo_app: Demo) -> None:
    assert client.get("/demo/session").status_code == 405
    assert client.post("/demo/state").status_code == 405
    assert client.post("/").status_code == 405
