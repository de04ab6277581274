"""POST /v1/sessions by each kind of proof, and the end of a session."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.models import VirtualSession
from apps.features.services.apps import disable_app, update_app
from apps.features.services.features import create_feature
from apps.features.services.tokens import issue_virtual_key
from apps.ledger.queries import balance
from apps.vault.models import ProviderCredential
from apps.vault.services.app_secrets import revoke_app_secret
from apps.vault.services.credentials import disable_credential
from tests.gateway.api_factories import Api, code_of, error_of, make_api, make_stranger
from tests.live import ACTOR

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client, settings: Any) -> Api:
    settings.TRUSTED_PROXIES = 1
    return make_api(client)


def allow_devices(api: Api, usd: str = "0.02") -> None:
    update_app(app_id=api.app_id, anonymous_allowance=nano_from_usd(usd), now=now(), actor=ACTOR)


def opened(response: Any) -> dict[str, Any]:
    assert response.status_code == 201, response.content
    content: dict[str, Any] = response.json()
    return content


def test_session_by_user_token_spends_that_users_wallet(api: Api) -> None:
    session = opened(api.post("/v1/sessions", {"public_app_id": api.public_id, "user_token": api.user_token()}))
    assert session["end_user_id"] == api.world.end_user_id
    assert session["assurance"] == "user_token"
    assert session["balance_usd"] == session["available_usd"] == "10.0000"
    assert session["feature_key"] == "default"
    assert session["expires_in"] == 3600
    left = datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=3590) < left <= timedelta(seconds=3600)
    assert session["gateway_base_url"] == "http://testserver/v1"
    assert session["available_modes"] == ["platform"]
    assert "allowance" not in session
    wallet = api.get("/v1/user/wallet", session["session_token"])
    assert wallet.json()["available_usd"] == "10.0000"


def test_session_by_app_secret_makes_the_user_known(api: Api) -> None:
    body = {"external_user_id": "bob", "ttl": 60, "public_app_id": api.public_id}
    session = opened(api.post("/v1/sessions", body, api.secret))
    assert session["assurance"] == "app_secret"
    assert session["expires_in"] == 60
    again = opened(api.post("/v1/sessions", {"external_user_id": "bob"}, api.secret))
    assert again["end_user_id"] == session["end_user_id"]
    assert again["session_token"] != session["session_token"]
    both = opened(api.post("/v1/sessions", {"public_app_id": api.public_id, "user_token": api.user_token("bob")}))
    assert both["end_user_id"] == session["end_user_id"]


def test_session_by_device_is_granted_the_allowance_once(api: Api) -> None:
    allow_devices(api)
    account = api.fund_allowance("1")
    body = {"public_app_id": api.public_id, "device_id": "device-1"}
    first, second = (opened(api.post("/v1/sessions", body)) for _ in range(2))
    assert first["end_user_id"] == second["end_user_id"]
    assert (first["assurance"], first["balance_usd"]) == ("anonymous", "0.0200")
    assert first["allowance"] == {
        "state": "granted",
        "amount_usd": "0.0200",
        "expires_at": None,
        "message": None,
    }
    assert (second["balance_usd"], second["allowance"]["state"]) == ("0.0200", "granted_before")
    assert balance(account).posted == nano_from_usd("0.98")


def test_session_by_device_after_the_allowance_was_changed_grants_nothing_more(api: Api) -> None:
    allow_devices(api)
    account = api.fund_allowance("1")
    body = {"public_app_id": api.public_id, "device_id": "device-1"}
    opened(api.post("/v1/sessions", body))
    allow_devices(api, "0.05")
    assert opened(api.post("/v1/sessions", body))["balance_usd"] == "0.0200"
    assert balance(account).posted == nano_from_usd("0.98")


def test_session_by_device_opens_empty_when_the_allowance_is_exhausted(api: Api) -> None:
    allow_devices(api)
    api.fund_allowance("0.03")
    body = {"public_app_id": api.public_id}
    opened(api.post("/v1/sessions", {**body, "device_id": "one"}))
    session = opened(api.post("/v1/sessions", {**body, "device_id": "two"}))
    assert (session["balance_usd"], session["allowance"]["state"]) == ("0.0000", "exhausted")
    assert session["allowance"]["message"]
    api.fund_allowance("1")
    session = opened(api.post("/v1/sessions", {**body, "device_id": "two"}))
    assert (session["balance_usd"], session["allowance"]["state"]) == ("0.0200", "granted")


def test_session_by_device_is_not_the_user_of_that_name(api: Api) -> None:
    allow_devices(api)
    session = opened(api.post("/v1/sessions", {"public_app_id": api.public_id, "device_id": "alice"}))
    assert session["end_user_id"] != api.world.end_user_id
    assert session["balance_usd"] == "0.0000"


def test_session_without_allowance_refuses_devices(api: Api) -> None:
    response = api.post("/v1/sessions", {"public_app_id": api.public_id, "device_id": "d"})
    assert code_of(response) == (403, "anonymous_not_allowed")
    assert not VirtualSession.objects.filter(assurance="anonymous").exists()


@pytest.mark.parametrize("body", [{}, {"external_user_id": "alice"}, {"user_token": None, "device_id": None}])
def test_session_without_proof_is_refused(api: Api, body: dict[str, Any]) -> None:
    response = api.post("/v1/sessions", {"public_app_id": api.public_id, **body})
    assert code_of(response) == (401, "missing_proof")


@pytest.mark.parametrize(
    ("body", "with_secret"),
    [
        ({"user_token": "x", "device_id": "d"}, False),
        ({"user_token": "x", "external_user_id": "alice"}, True),
        ({"device_id": "d", "external_user_id": "alice"}, True),
    ],
)
def test_session_with_two_proofs_is_refused(api: Api, body: dict[str, Any], with_secret: bool) -> None:
    response = api.post("/v1/sessions", {"public_app_id": api.public_id, **body}, api.secret if with_secret else None)
    assert code_of(response) == (400, "ambiguous_proof")


def test_user_token_of_another_secret_is_refused(api: Api) -> None:
    token = api.user_token(secret="mf_app_" + "x" * 43)
    response = api.post("/v1/sessions", {"public_app_id": api.public_id, "user_token": token})
    assert code_of(response) == (401, "user_token_invalid")


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1}, "user_token_lives_too_long"),
        ({"iat": 1_000_000, "exp": 1_000_300}, "user_token_expired"),
        ({"aud": "app_pub_other"}, "user_token_wrong_app"),
        ({"sub": 7}, "user_token_invalid"),
        ({"sub": "a\0b"}, "user_token_invalid"),
    ],
)
def test_user_token_with_wrong_claims_is_refused(api: Api, claims: dict[str, Any], code: str) -> None:
    token = api.user_token(**claims)
    response = api.post("/v1/sessions", {"public_app_id": api.public_id, "user_token": token})
    assert code_of(response) == (401, code)


def test_user_token_of_a_revoked_secret_is_refused(api: Api) -> None:
    token = api.user_token()
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM app_secrets")
        (secret_id,) = cursor.fetchone()
    revoke_app_secret(secret_id, now=now(), actor=ACTOR)
    response = api.post("/v1/sessions", {"public_app_id": api.public_id, "user_token": token})
    assert code_of(response) == (401, "user_token_invalid")
    response = api.post("/v1/sessions", {"external_user_id": "alice"}, api.secret)
    assert code_of(response) == (401, "invalid_app_secret")


def test_app_secret_of_another_app_is_refused_for_this_one(api: Api) -> None:
    body = {"external_user_id": "alice", "public_app_id": "app_pub_another"}
    response = api.post("/v1/sessions", body, api.secret)
    assert code_of(response) == (400, "app_mismatch")
    assert error_of(response)["param"] == "public_app_id"


def test_other_tokens_are_no_app_secret(api: Api) -> None:
    for token in (api.developer_token, api.world.token, "mf_app_unknown", "ключ"):
        response = api.post("/v1/sessions", {"external_user_id": "alice"}, token)
        assert response.status_code == 401
        error_of(response)


def test_unknown_app_is_not_found(api: Api) -> None:
    for public_id in ("app_pub_unknown", make_stranger()[1], "a\u0001b"):
        response = api.post("/v1/sessions", {"public_app_id": public_id, "device_id": "d"})
        assert code_of(response) == (404, "app_not_found")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"user_token": 7}, "user_token"),
        ({"user_token": "x", "public_app_id": 7}, "public_app_id"),
        ({"user_token": "x", "public_app_id": None}, "public_app_id"),
        ({"device_id": ["d"]}, "device_id"),
        ({"device_id": ""}, "device_id"),
        ({"device_id": "d" * 257}, "device_id"),
        ({"device_id": "a\0b"}, "device_id"),
    ],
)
def test_session_of_wrong_types_names_the_parameter(api: Api, body: dict[str, Any], param: str) -> None:
    response = api.post("/v1/sessions", {"public_app_id": api.public_id, **body})
    assert response.status_code == 400
    assert error_of(response)["param"] == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"external_user_id": 7}, "external_user_id"),
        ({}, "external_user_id"),
        ({"external_user_id": "a", "ttl": "60"}, "ttl"),
        ({"external_user_id": "a", "ttl": True}, "ttl"),
        ({"external_user_id": "a", "ttl": 0}, "ttl"),
        ({"external_user_id": "a", "ttl": 86_401}, "ttl"),
        ({"external_user_id": "a", "ttl": 1.5}, "ttl"),
        ({"external_user_id": "a", "feature_key": {}}, "feature_key"),
    ],
)
def test_session_by_secret_of_wrong_types_names_the_parameter(api: Api, body: dict[str, Any], param: str) -> None:
    response = api.post("/v1/sessions", body, api.secret)
    assert response.status_code == 400
    assert error_of(response)["param"] == param


def test_session_ignores_members_it_does_not_know(api: Api) -> None:
    opened(api.post("/v1/sessions", {"external_user_id": "a", "colour": "blue", "nested": {"x": [1]}}, api.secret))


def test_session_for_a_feature(api: Api) -> None:
    create_feature(app_id=api.app_id, key="summary", name="Summary", models=("nowhere",), now=now(), actor=ACTOR)
    session = opened(api.post("/v1/sessions", {"external_user_id": "a", "feature_key": "summary"}, api.secret))
    assert session["feature_key"] == "summary"
    assert session["available_modes"] == []  # no route serves its model
    response = api.post("/v1/sessions", {"external_user_id": "a", "feature_key": "unknown"}, api.secret)
    assert code_of(response) == (404, "feature_not_found")
    assert error_of(response)["param"] == "feature_key"


def test_session_tells_no_mode_without_credentials(api: Api) -> None:
    body = {"external_user_id": "a"}
    assert opened(api.post("/v1/sessions", body, api.secret))["available_modes"] == ["platform"]
    disable_credential(ProviderCredential.objects.get().id, now=now(), actor=ACTOR)
    assert opened(api.post("/v1/sessions", body, api.secret))["available_modes"] == []


def test_session_names_the_public_address(api: Api, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://ai.example.com/"
    session = opened(api.post("/v1/sessions", {"external_user_id": "a"}, api.secret))
    assert session["gateway_base_url"] == "https://ai.example.com/v1"


def test_session_of_a_disabled_app_is_refused(api: Api) -> None:
    disable_app(app_id=api.app_id, now=now(), actor=ACTOR)
    response = api.post("/v1/sessions", {"external_user_id": "a"}, api.secret)
    assert code_of(response) == (403, "app_disabled")


def test_neither_ids_nor_tokens_nor_addresses_are_kept_in_plain_text(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    allow_devices(api)
    user, device, address = "very-private-user", "very-private-device", "203.0.113.99"
    with caplog.at_level(logging.DEBUG):
        tokens = [
            opened(api.post("/v1/sessions", body, token, x_forwarded_for=address))["session_token"]
            for body, token in (
                ({"external_user_id": user}, api.secret),
                ({"public_app_id": api.public_id, "user_token": api.user_token(user)}, None),
                ({"public_app_id": api.public_id, "device_id": device}, None),
            )
        ]
        api.get("/v1/user/wallet", tokens[0])
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            for private in (user, device, address, api.secret, *tokens):
                query = f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s'  # noqa: S608 (our own tables)
                cursor.execute(query, [f"%{private}%"])
                assert cursor.fetchone() == (0,), table
                assert private not in caplog.text


def test_ending_a_session_refuses_its_token(api: Api) -> None:
    token = opened(api.post("/v1/sessions", {"external_user_id": "a"}, api.secret))["session_token"]
    response = api.delete("/v1/sessions/current", token)
    assert (response.status_code, response.content) == (204, b"")
    assert code_of(api.get("/v1/user/wallet", token)) == (401, "token_revoked")
    assert code_of(api.delete("/v1/sessions/current", token)) == (401, "token_revoked")
    assert api.get("/v1/user/wallet", api.world.token).status_code == 200


def test_ending_a_session_takes_a_session(api: Api) -> None:
    key, _ = issue_virtual_key(app_id=api.app_id, name="key", now=now(), actor=ACTOR)
    assert code_of(api.delete("/v1/sessions/current", key)) == (403, "not_a_session")
    assert code_of(api.delete("/v1/sessions/current")) == (401, "missing_token")
    assert code_of(api.delete("/v1/sessions/current", api.developer_token)) == (401, "invalid_token")
