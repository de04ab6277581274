from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from apps.catalog.services.offers import add_provider
from apps.core import addresses
from apps.core.clock import now
from apps.developers.models import AuditEvent, Scope
from apps.features.services.apps import update_app
from apps.features.services.end_users import ensure_end_user
from apps.features.services.features import create_feature
from apps.features.services.tokens import open_session, revoke_session
from apps.vault.queries import credentials_of
from tests.core.answering import Answering, answer
from tests.gateway.api_factories import Api, make_api, make_developer_token, make_stranger
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
SECRET = "sk-theirs-0123456789abcdef-WXYZ"
NEWER = "sk-newer-0123456789abcdef-QRST"
KEYS = "/v1/user/provider-keys"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


@pytest.fixture
def provider(settings: Settings) -> Iterator[Answering]:
    """Give a provider `local` that takes every key."""
    with Answering(answer(200)) as server:
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{server.port}",)
        add_provider(
            id="local",
            name="Local",
            base_url=f"http://127.0.0.1:{server.port}/v1",
            resale_allowed=False,
            trains_on_data=True,
            now=now(),
            actor=ACTOR,
        )
        yield server


def of(api: Api) -> tuple[str, str, str]:
    """Return the developer's address, a token for it, and its id."""
    return f"/v1/developers/{api.developer_id}/provider-keys", api.developer_token, api.developer_id


def patch(api: Api, path: str, body: Any, token: str) -> Any:
    headers = {"authorization": f"Bearer {token}"}
    return api.client.patch(path, body, content_type="application/json", headers=headers)


def store(api: Api, token: str = "", path: str = KEYS, **body: Any) -> Any:
    response = api.post(path, {"provider": "local", "secret": SECRET, **body}, token or api.world.token)
    assert response.status_code == 201, response.content
    return response.json()


def session(api: Api, *, app_id: str = "", user: str = "bob", assurance: str = "user_token") -> str:
    moment, app = now(), app_id or api.app_id
    end_user = ensure_end_user(app_id=app, external_id=user, anonymous=assurance == "anonymous", now=moment)
    opened = open_session(app_id=app, feature_key=None, end_user_id=end_user, assurance=assurance, ttl=60, now=moment)
    return opened.token


def both(api: Api) -> list[tuple[str, str]]:
    return [(KEYS, api.world.token), of(api)[:2]]


def test_end_user_stores_a_key(api: Api, provider: Answering) -> None:
    key = store(api, label="Mine", models=["m1"], features=["default"], weight=2, priority=5)
    assert key | {"validation": None, "created_at": None, "fee": None} == {
        "object": "provider_key",
        "id": key["id"],
        "provider": "local",
        "label": "Mine",
        "hint": "WXYZ",
        "base_url": None,
        "status": "active",
        "models": ["m1"],
        "apps": [api.app_id],
        "features": ["default"],
        "weight": 2,
        "priority": 5,
        "monthly_budget_usd": None,
        "monthly_budget": None,
        "validation": None,
        "failing_since": None,
        "replaces": None,
        "last_used_at": None,
        "created_at": None,
        "fee": None,
    }
    assert (key["validation"]["result"], key["validation"]["warning"]) == ("ok", None)
    assert (key["fee"]["mode"], key["fee"]["fee_usd"], key["fee"]["acknowledged"]) == ("byok", "0.0000", False)
    (stored,) = credentials_of(developer_id=None, end_user_id=api.world.end_user_id)
    assert stored.headers.items() == (("authorization", f"Bearer {SECRET}"),)


def test_developer_stores_a_key_for_an_app(api: Api, provider: Answering) -> None:
    path, token, developer_id = of(api)
    create_feature(app_id=api.app_id, key="chat", name="Chat", now=now(), actor=ACTOR)
    key = store(api, token, path, apps=[api.public_id], features=["chat"])
    assert (key["apps"], key["features"]) == ([api.app_id], ["chat"])
    assert "fee" not in key
    (stored,) = credentials_of(developer_id=developer_id, end_user_id=None)
    assert (stored.apps_allowed, stored.features_allowed) == ({api.app_id}, {"chat"})
    event = AuditEvent.objects.get(subject_id=key["id"])
    assert (event.developer_id, event.action) == (developer_id, "credential.add")
    assert event.actor.startswith("token:")


def test_key_is_listed_changed_switched_rotated_and_erased(api: Api, provider: Answering) -> None:
    for path, token in both(api):
        first, second = store(api, token, path)["id"], store(api, token, path)["id"]
        page = api.get(f"{path}?limit=1", token).json()
        assert ([row["id"] for row in page["data"]], page["next_cursor"]) == ([second], second)
        rest = api.get(f"{path}?limit=1&cursor={second}", token).json()
        assert [row["id"] for row in rest["data"]] == [first]

        changed = patch(api, f"{path}/{first}", {"label": "Spare", "weight": 9, "status": "disabled"}, token).json()
        assert (changed["label"], changed["weight"], changed["status"]) == ("Spare", 9, "disabled")
        assert patch(api, f"{path}/{first}", {"status": "active"}, token).json()["status"] == "active"
        assert api.get(f"{path}/{first}", token).json()["label"] == "Spare"
        assert api.post(f"{path}/{first}/validate", {}, token).json()["validation"]["result"] == "ok"

        rotated = api.post(f"{path}/{first}/rotate", {"secret": NEWER}, token)
        assert rotated.status_code == 201
        new = rotated.json()
        assert (new["replaces"], new["hint"], new["label"], new["weight"]) == (first, "QRST", "Spare", 9)
        assert {row["id"] for row in api.get(path, token).json()["data"]} == {second, new["id"]}
        assert (
            patch(api, f"{path}/{first}", {"status": "active"}, token).json()["error"]["code"] == "credential_replaced"
        )

        assert api.delete(f"{path}/{new['id']}", token).status_code == 204
        for gone in (first, new["id"]):
            assert api.get(f"{path}/{gone}", token).status_code == 404
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT secret FROM provider_credentials WHERE id IN (%s, %s)", [first, new["id"]])
            assert cursor.fetchall() == [("erased",)]


def test_no_answer_and_no_column_holds_the_key(api: Api, provider: Answering) -> None:
    texts = []
    for path, token in both(api):
        created = api.post(path, {"provider": "local", "secret": SECRET}, token)
        key = created.json()["id"]
        rotated = api.post(f"{path}/{key}/rotate", {"secret": NEWER}, token)
        texts += [created.text, rotated.text, api.get(path, token).text]
        texts.append(api.post(f"{path}/{rotated.json()['id']}/validate", {}, token).text)
    provider.parts = (answer(401, f'{{"error": "bad key {SECRET}"}}'.encode()),)
    refused = api.post(KEYS, {"provider": "local", "secret": SECRET}, api.world.token)
    texts.append(refused.text)
    texts.append(str(list(AuditEvent.objects.values())))
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(t)::text FROM provider_credentials t")
        texts += [row[0] for row in cursor.fetchall()]
    assert refused.status_code == 400
    assert len(provider.requests) == 7
    for text in texts:
        assert SECRET not in text
        assert NEWER not in text


def test_refused_key_is_not_stored(api: Api, provider: Answering) -> None:
    provider.parts = (answer(401),)
    for path, token in both(api):
        response = api.post(path, {"provider": "local", "secret": SECRET}, token)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "key_rejected")
        assert api.get(path, token).json()["data"] == []


def test_key_of_a_provider_out_of_reach_is_stored_with_a_warning(api: Api, provider: Answering) -> None:
    provider.__exit__()
    validation = store(api)["validation"]
    assert (validation["result"], validation["status"]) == ("unreachable", None)
    assert validation["warning"]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"secret": None}, 400, "missing_parameter", "secret"),
        ({"provider": None}, 400, "missing_parameter", "provider"),
        ({"secret": "two words"}, 400, "invalid_request", "secret"),
        ({"secret": "x" * 4097}, 400, "invalid_type", "secret"),
        ({"provider": "nobody"}, 404, "provider_not_found", "provider"),
        ({"models": "m"}, 400, "invalid_type", "models"),
        ({"models": [" "]}, 400, "invalid_request", "models"),
        ({"features": ["nothing"]}, 404, "feature_not_found", "features"),
        ({"weight": 0}, 400, "invalid_type", "weight"),
        ({"label": SECRET}, 400, "invalid_request", "label"),
        ({"base_url": "http://127.0.0.1:8000/v1"}, 400, "address_not_allowed", "base_url"),
        ({"base_url": "http://[::ffff:169.254.169.254]/"}, 400, "address_not_allowed", "base_url"),
        ({"base_url": "http://redis:6379"}, 400, "address_not_allowed", "base_url"),
    ],
)
def test_request_that_cannot_be_acted_on(
    api: Api, provider: Answering, body: Any, status: int, code: str, param: str | None
) -> None:
    for path, token in both(api):
        response = api.post(path, {"provider": "local", "secret": SECRET, **body}, token)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (status, code, param)
        assert api.get(path, token).json()["data"] == []
    assert provider.connections == 0


def test_operators_own_endpoint_is_not_for_others(api: Api, provider: Answering) -> None:
    """By name: what the operator exempts for providers is no address that end users and developers may enter."""
    for path, token in both(api):
        body = {"provider": "local", "secret": SECRET, "base_url": f"http://127.0.0.1:{provider.port}/v1"}
        assert api.post(path, body, token).json()["error"]["code"] == "address_not_allowed"
    assert provider.connections == 0


@pytest.mark.parametrize("name", ["secret", "base_url", "provider"])
def test_stored_key_is_not_sent_elsewhere(api: Api, provider: Answering, name: str) -> None:
    key = store(api)["id"]
    response = patch(api, f"{KEYS}/{key}", {name: "https://evil.example/v1"}, api.world.token)
    assert (response.status_code, response.json()["error"]["param"]) == (400, name)


def test_status_that_is_none(api: Api, provider: Answering) -> None:
    key = store(api)["id"]
    assert patch(api, f"{KEYS}/{key}", {"status": "deleted"}, api.world.token).status_code == 400


def test_key_is_nobody_elses(api: Api, provider: Answering) -> None:
    """Another end user, another app's, the app's developer, another developer: none of them sees or touches it."""
    other_developer, other_app, other_token = make_stranger()
    mine, theirs = store(api)["id"], store(api, of(api)[1], of(api)[0])["id"]
    other_path = f"/v1/developers/{other_developer}/provider-keys"
    for path, token, key in (
        (KEYS, session(api), mine),
        (KEYS, session(api, app_id=other_app), mine),
        (of(api)[0], of(api)[1], mine),
        (other_path, other_token, mine),
        (KEYS, api.world.token, theirs),
        (other_path, other_token, theirs),
        (of(api)[0], other_token, theirs),
    ):
        assert mine not in api.get(path, token).text or path == KEYS
        for response in (
            api.get(f"{path}/{key}", token),
            patch(api, f"{path}/{key}", {"status": "disabled"}, token),
            api.post(f"{path}/{key}/validate", {}, token),
            api.post(f"{path}/{key}/rotate", {"secret": NEWER}, token),
            api.delete(f"{path}/{key}", token),
        ):
            assert response.status_code == 404, response.content
    assert api.get(f"{KEYS}/{mine}", api.world.token).json()["status"] == "active"
    assert api.get(f"{of(api)[0]}/{theirs}", of(api)[1]).json()["status"] == "active"


def test_lists_hold_ones_own_keys_alone(api: Api, provider: Answering) -> None:
    mine, theirs = store(api)["id"], store(api, of(api)[1], of(api)[0])["id"]
    assert [row["id"] for row in api.get(KEYS, api.world.token).json()["data"]] == [mine]
    assert [row["id"] for row in api.get(of(api)[0], of(api)[1]).json()["data"]] == [theirs]
    assert api.get(KEYS, session(api)).json()["data"] == []
    assert api.get(of(api)[0], make_stranger()[2]).status_code == 404


@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        ("get", ""),
        ("post", ""),
        ("get", "/cred_x"),
        ("delete", "/cred_x"),
        ("post", "/cred_x/rotate"),
        ("post", "/cred_x/validate"),
    ],
)
def test_who_may_keep_no_keys(api: Api, method: str, suffix: str) -> None:
    def code(token: str | None) -> tuple[int, str]:
        response = getattr(api, method)(f"{KEYS}{suffix}", token=token)
        return response.status_code, response.json()["error"]["code"]

    update_app(app_id=api.app_id, anonymous_allowance=1, now=now(), actor=ACTOR)
    assert code(session(api, user="device", assurance="anonymous")) == (403, "proof_required")
    assert code(api.world.virtual_key(usd="1")) == (403, "end_user_required")
    assert code(api.developer_token) == (401, "invalid_token")
    assert code(None) == (401, "missing_token")
    token = session(api)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM virtual_sessions ORDER BY id DESC LIMIT 1")
        (latest,) = cursor.fetchone()
    revoke_session(session_id=latest, now=now(), actor=ACTOR)
    assert code(token) == (401, "token_revoked")


def test_scopes_of_developer_tokens(api: Api, provider: Answering) -> None:
    path = of(api)[0]
    reader = make_developer_token(api.developer_id, [Scope.PROVIDER_KEYS_READ])
    other = make_developer_token(api.developer_id, [Scope.KEYS_READ, Scope.KEYS_WRITE])
    key = store(api, of(api)[1], path)["id"]
    assert api.get(f"{path}/{key}", reader).status_code == 200
    for token, method, suffix in (
        (reader, "post", ""),
        (reader, "delete", f"/{key}"),
        (reader, "post", f"/{key}/rotate"),
        (reader, "post", f"/{key}/validate"),
        (other, "get", ""),
        (other, "get", f"/{key}"),
    ):
        response = getattr(api, method)(f"{path}{suffix}", token=token)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "insufficient_scope")


def test_number_of_keys_and_of_tries_is_limited(api: Api, provider: Answering, settings: Settings) -> None:
    settings.MAX_PROVIDER_KEYS = 1
    key = store(api)["id"]
    full = api.post(KEYS, {"provider": "local", "secret": SECRET}, api.world.token)
    assert (full.status_code, full.json()["error"]["code"]) == (409, "too_many_provider_keys")

    addresses.forget()
    settings.PROVIDER_KEY_CHECKS = "2/hour"
    for _ in range(2):
        assert api.post(f"{KEYS}/{key}/validate", {}, api.world.token).status_code == 200
    asked = provider.connections
    for path, body in ((f"{KEYS}/{key}/validate", {}), (KEYS, {"provider": "local", "secret": SECRET})):
        limited = api.post(path, body, api.world.token)
        assert limited.status_code == 429
        assert int(limited["retry-after"]) > 0
    assert provider.connections == asked
    assert api.get(KEYS, api.world.token).status_code == 200


def test_list_takes_as_many_queries_for_three_keys_as_for_one(
    api: Api, provider: Answering, django_assert_max_num_queries: Any
) -> None:
    store(api)
    with django_assert_max_num_queries(3):
        assert len(api.get(KEYS, api.world.token).json()["data"]) == 1
    store(api), store(api)
    with django_assert_max_num_queries(3):
        assert len(api.get(KEYS, api.world.token).json()["data"]) == 3
