"""JSON resources over a real server: CORS, proofs end to end, and first sessions that race."""

import asyncio
from typing import Any

import httpx
import pytest

from apps.core import addresses
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.money import nano_from_usd
from apps.features.queries import app_by_id
from apps.features.services.apps import update_app
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import grant
from apps.vault.services.app_secrets import issue_app_secret
from tests.gateway.api_factories import Api, make_developer_token
from tests.live import ACTOR, World, differences, rate_all

OURS, OTHERS, FOREIGN = "https://app.example.com", "https://other.example.com", "https://evil.example.com"


@pytest.fixture
def api(world: World) -> Api:
    """Give an app that allows one origin and has an allowance, beside another app that allows another one."""
    from tests.gateway.api_factories import make_stranger

    addresses.forget()
    _, other_app, _ = make_stranger()
    update_app(app_id=other_app, allowed_origins=[OTHERS], now=now(), actor=ACTOR)
    update_app(
        app_id=world.app_id,
        allowed_origins=[OURS],
        anonymous_allowance=nano_from_usd("0.02"),
        now=now(),
        actor=ACTOR,
    )
    info = app_by_id(world.app_id)
    assert info is not None
    secret = issue_app_secret(world.app_id, now=now(), actor=ACTOR)
    return Api(world, info.public_id, secret, make_developer_token(world.developer_id), None)  # type: ignore[arg-type]


def post_session(api: Api, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(
        f"{api.world.base_url}/v1/sessions", json={"public_app_id": api.public_id, **body}, headers=headers
    )


@pytest.mark.parametrize(("origin", "allowed"), [(OURS, True), (OTHERS, True), (FOREIGN, False), ("null", False)])
def test_preflight_is_answered_for_origins_that_some_app_allows(api: Api, origin: str, allowed: bool) -> None:
    # A preflight does not say which app it is for: the request itself is then held to its own app's origins.
    response = httpx.options(
        f"{api.world.base_url}/v1/sessions",
        headers={"origin": origin, "access-control-request-method": "POST"},
    )
    assert response.status_code == 204
    assert response.headers.get("access-control-allow-origin") == (origin if allowed else None)
    if allowed:
        assert "DELETE" in response.headers["access-control-allow-methods"]
        assert "authorization" in response.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("origin", "status", "readable"),
    [(None, 201, False), (OURS, 201, True), (OTHERS, 403, True), (FOREIGN, 403, False), ("null", 403, False)],
)
def test_session_from_each_origin(api: Api, origin: str | None, status: int, readable: bool) -> None:
    headers = {"origin": origin} if origin else {}
    response = post_session(api, {"user_token": api.user_token()}, **headers)
    assert response.status_code == status
    assert response.headers.get("access-control-allow-origin") == (origin if readable else None)
    assert "Origin" in response.headers["vary"]
    if status == 403:
        assert response.json()["error"]["code"] == "origin_not_allowed"
    if readable:
        assert "x-request-id" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize(("origin", "status"), [(None, 403), (OURS, 201), (OTHERS, 403), (FOREIGN, 403)])
def test_anonymous_session_is_for_the_apps_own_pages(api: Api, origin: str | None, status: int) -> None:
    headers = {"origin": origin} if origin else {}
    response = post_session(api, {"device_id": "device"}, **headers)
    assert response.status_code == status


def test_anonymous_session_of_an_app_without_origins_needs_none(api: Api) -> None:
    update_app(app_id=api.app_id, allowed_origins=[], now=now(), actor=ACTOR)
    assert post_session(api, {"device_id": "device"}).status_code == 201


def test_own_pages_are_not_another_site(api: Api) -> None:
    assert post_session(api, {"device_id": "device"}, origin=api.world.base_url).status_code == 201


def test_errors_are_readable_by_allowed_origins(api: Api) -> None:
    base = f"{api.world.base_url}/v1"
    for response in (
        httpx.get(f"{base}/user/wallet", headers={"origin": OURS}),
        httpx.get(f"{base}/nothing", headers={"origin": OURS}),
        httpx.get(f"{base}/sessions", headers={"origin": OURS}),
        httpx.post(f"{base}/sessions", content=b"{", headers={"origin": OURS, "content-type": "application/json"}),
    ):
        assert response.is_client_error
        assert response.headers["access-control-allow-origin"] == OURS
        assert response.json()["error"]["request_id"] == response.headers["x-request-id"]


def test_origin_taken_away_is_refused_at_once(api: Api) -> None:
    headers = {"origin": OURS, **api.world.headers()}
    address = f"{api.world.base_url}/v1/user/wallet"
    assert httpx.get(address, headers=headers).status_code == 200
    update_app(app_id=api.app_id, allowed_origins=[], now=now(), actor=ACTOR)
    response = httpx.get(address, headers=headers)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_body_sent_in_chunks_is_read(api: Api) -> None:
    def chunks() -> Any:
        yield b'{"external_'
        yield b'user_id": "a"}'

    headers = {"authorization": f"Bearer {api.secret}", "content-type": "application/json"}
    response = httpx.post(f"{api.world.base_url}/v1/sessions", content=chunks(), headers=headers)
    assert response.status_code == 201


def test_session_pays_for_a_call_that_wallet_usage_and_revenue_then_show(api: Api) -> None:
    session = post_session(api, {"user_token": api.user_token()}).json()
    assert session["gateway_base_url"] == f"{api.world.base_url}/v1"
    caller = World(base_url=api.world.base_url, token=session["session_token"])
    answer = caller.chat()
    assert answer.status_code == 200
    request_id, price = answer.headers["x-request-id"], answer.headers["x-modelfaucet-price-usd"]

    def get(path: str, token: str) -> dict[str, Any]:
        response = httpx.get(f"{api.world.base_url}/v1{path}", headers={"authorization": f"Bearer {token}"})
        assert response.status_code == 200
        content: dict[str, Any] = response.json()
        return content

    before = get("/user/wallet", caller.token)
    rate_all()
    wallet = get("/user/wallet", caller.token)
    assert (before["pending_usd"], wallet["spent_usd"]) == (price, price)
    assert before["available_usd"] == wallet["available_usd"] == wallet["balance_usd"]
    (row,) = get(f"/apps/{api.app_id}/usage", api.developer_token)["data"]
    assert (row["request_id"], row["retail_price_usd"], row["rated"]) == (request_id, price, True)
    revenue = get(f"/developers/{api.developer_id}/revenue", api.developer_token)
    assert revenue["balance_usd"] == row["channel_revenue_usd"]
    assert [entry["request_id"] for entry in revenue["entries"]] == [request_id]
    httpx.delete(f"{api.world.base_url}/v1/sessions/current", headers=caller.headers()).raise_for_status()
    assert httpx.get(f"{api.world.base_url}/v1/user/wallet", headers=caller.headers()).status_code == 401
    assert differences() == []


def test_first_sessions_that_race_are_granted_what_there_is(api: Api) -> None:
    """Six first sessions of three devices at once: each device is granted once, and only while there is money."""
    account = open_account(kind=AccountKind.APP_ALLOWANCE, owner_id=api.app_id, now=now())
    grant(account, nano_from_usd("0.05"), idempotency_key=new_id("fund"), now=now(), actor=ACTOR)
    bodies = [{"public_app_id": api.public_id, "device_id": f"device-{n % 3}"} for n in range(6)]

    async def open_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=api.world.base_url, headers={"origin": OURS}) as client:
            return list(await asyncio.gather(*(client.post("/v1/sessions", json=body) for body in bodies)))

    sessions = [response.json() for response in asyncio.run(open_all())]
    by_user: dict[str, list[dict[str, Any]]] = {}
    for session in sessions:
        by_user.setdefault(session["end_user_id"], []).append(session)
    assert sorted(len(opened) for opened in by_user.values()) == [2, 2, 2]
    funds = []
    for user, opened in by_user.items():
        states = sorted(session["allowance"]["state"] for session in opened)
        assert states in (["granted", "granted_before"], ["exhausted", "exhausted"])
        funds.append(balance(open_account(kind=AccountKind.END_USER, owner_id=user, now=now())).posted)
    assert sorted(funds) == [0, nano_from_usd("0.02"), nano_from_usd("0.02")]
    assert balance(account).posted == nano_from_usd("0.01")
    assert differences() == []
