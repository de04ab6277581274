"""Developer tokens, virtual keys and apps, managed over the API."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.core.clock import now
from apps.developers.models import AuditEvent, DeveloperToken, Scope
from apps.features.models import App
from apps.features.services.features import create_feature
from tests.gateway.api_factories import Api, code_of, error_of, make_api, make_developer_token, make_stranger
from tests.live import ACTOR

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def tokens_path(api: Api, token_id: str = "") -> str:
    return f"/v1/developers/{api.developer_id}/tokens" + (f"/{token_id}" if token_id else "")


def keys_path(api: Api, key_id: str = "") -> str:
    return f"/v1/apps/{api.app_id}/keys" + (f"/{key_id}" if key_id else "")


def apps_path(api: Api) -> str:
    return f"/v1/developers/{api.developer_id}/apps"


def created(response: Any) -> dict[str, Any]:
    assert response.status_code == 201, response.content
    content: dict[str, Any] = response.json()
    return content


def issue(api: Api, **body: Any) -> dict[str, Any]:
    content = {"name": "child", "scopes": ["usage:read"], **body}
    return created(api.post(tokens_path(api), content, api.developer_token))


def test_token_issued_works_within_its_scopes(api: Api) -> None:
    child = issue(api, scopes=["usage:read", "tokens:write"])
    assert child["token"].startswith("mf_dev_") and child["token"].endswith(child["hint"])
    assert child["scopes"] == ["tokens:write", "usage:read"]
    assert child["parent_id"] == DeveloperToken.objects.exclude(id=child["id"]).get().id
    assert api.get(f"/v1/apps/{api.app_id}/usage", child["token"]).status_code == 200
    assert code_of(api.get(f"/v1/developers/{api.developer_id}/revenue", child["token"])) == (403, "insufficient_scope")
    event = AuditEvent.objects.get(action="token.issue", subject_id=child["id"])
    assert event.actor == f"token:{child['parent_id']}"


def test_token_never_issues_more_than_it_has(api: Api) -> None:
    child = issue(api, scopes=["usage:read", "tokens:write"])
    body = {"name": "grandchild", "scopes": ["revenue:read"]}
    response = api.post(tokens_path(api), body, child["token"])
    assert code_of(response) == (400, "invalid_request")
    assert error_of(response)["param"] == "scopes"


def test_token_never_outlives_its_parent(api: Api) -> None:
    soon = now() + timedelta(hours=1)
    parent = issue(api, scopes=["tokens:write"], expires_at=soon.isoformat())
    body = {"name": "grandchild", "scopes": ["tokens:write"]}
    grandchild = created(api.post(tokens_path(api), body, parent["token"]))
    assert grandchild["expires_at"] == parent["expires_at"] == soon.isoformat()
    later = {**body, "expires_at": (soon + timedelta(hours=1)).isoformat()}
    response = api.post(tokens_path(api), later, parent["token"])
    assert error_of(response)["param"] == "expires_at"


def test_tokens_are_listed_without_the_tokens(api: Api) -> None:
    made = [issue(api, name=f"t{n}") for n in range(3)]
    first = api.get(f"{tokens_path(api)}?limit=2", api.developer_token).json()
    assert [row["id"] for row in first["data"]] == [made[2]["id"], made[1]["id"]]
    second = api.get(f"{tokens_path(api)}?limit=2&cursor={first['next_cursor']}", api.developer_token).json()
    assert [row["id"] for row in second["data"]] == [made[0]["id"], made[0]["parent_id"]]
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)
    assert "token" not in first["data"][0]


def test_token_revoked_is_refused_with_its_children(api: Api) -> None:
    child = issue(api, scopes=["usage:read", "tokens:write"])
    body = {"name": "grandchild", "scopes": ["usage:read"]}
    grandchild = created(api.post(tokens_path(api), body, child["token"]))
    response = api.delete(tokens_path(api, child["id"]), api.developer_token)
    assert (response.status_code, response.content) == (204, b"")
    for token in (child["token"], grandchild["token"]):
        assert code_of(api.get(f"/v1/apps/{api.app_id}/usage", token)) == (401, "token_revoked")


def test_token_revokes_itself_and_none_that_can_do_more(api: Api) -> None:
    child = issue(api, scopes=["tokens:write"])
    stronger = child["parent_id"]
    assert code_of(api.delete(tokens_path(api, stronger), child["token"])) == (403, "insufficient_scope")
    assert api.delete(tokens_path(api, child["id"]), child["token"]).status_code == 204
    assert code_of(api.get(tokens_path(api), child["token"])) == (401, "token_revoked")
    assert api.get(tokens_path(api), api.developer_token).status_code == 200


def test_token_expired_is_refused(api: Api) -> None:
    child = issue(api, expires_at=(now() + timedelta(hours=1)).isoformat())
    DeveloperToken.objects.filter(id=child["id"]).update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert code_of(api.get(f"/v1/apps/{api.app_id}/usage", child["token"])) == (401, "token_expired")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scopes": ["usage:read"]}, "name"),
        ({"name": 1, "scopes": ["usage:read"]}, "name"),
        ({"name": "t"}, "scopes"),
        ({"name": "t", "scopes": "usage:read"}, "scopes"),
        ({"name": "t", "scopes": [1]}, "scopes"),
        ({"name": "t", "scopes": []}, "scopes"),
        ({"name": "t", "scopes": ["everything"]}, "scopes"),
        ({"name": "t", "scopes": ["usage:read"], "expires_at": 5}, "expires_at"),
        ({"name": "t", "scopes": ["usage:read"], "expires_at": "2020-01-01"}, "expires_at"),
    ],
)
def test_token_of_wrong_types_names_the_parameter(api: Api, body: dict[str, Any], param: str) -> None:
    response = api.post(tokens_path(api), body, api.developer_token)
    assert response.status_code == 400
    assert error_of(response)["param"] == param


def test_key_issued_spends_the_developers_credit(api: Api) -> None:
    key = created(api.post(keys_path(api), {"name": "CI"}, api.developer_token))
    assert key["key"].startswith("mf_key_") and key["key"].endswith(key["hint"])
    assert (key["app_id"], key["feature_key"], key["expires_at"]) == (api.app_id, None, None)
    assert api.get("/v1/user/wallet", key["key"]).json()["owner"] == "developer_credit"
    assert AuditEvent.objects.get(action="virtual_key.issue").actor.startswith("token:dtok_")


def test_key_of_a_feature_with_an_end(api: Api) -> None:
    create_feature(app_id=api.app_id, key="summary", name="Summary", now=now(), actor=ACTOR)
    body = {"name": "CI", "feature_key": "summary", "expires_at": "2999-01-01"}
    key = created(api.post(keys_path(api), body, api.developer_token))
    assert (key["feature_key"], key["expires_at"]) == ("summary", "2999-01-01T00:00:00+00:00")
    response = api.post(keys_path(api), {**body, "feature_key": "unknown"}, api.developer_token)
    assert code_of(response) == (404, "feature_not_found")


def test_keys_are_listed_and_revoked(api: Api) -> None:
    made = [created(api.post(keys_path(api), {"name": f"k{n}"}, api.developer_token)) for n in range(3)]
    assert api.delete(keys_path(api, made[1]["id"]), api.developer_token).status_code == 204
    assert api.delete(keys_path(api, made[1]["id"]), api.developer_token).status_code == 204
    page = api.get(f"{keys_path(api)}?limit=2", api.developer_token).json()
    rest = api.get(f"{keys_path(api)}?limit=2&cursor={page['next_cursor']}", api.developer_token).json()
    assert [row["id"] for row in page["data"] + rest["data"]] == [key["id"] for key in made[::-1]]
    assert [row["revoked_at"] is not None for row in page["data"]] == [False, True]
    assert "key" not in page["data"][0]
    assert code_of(api.get("/v1/user/wallet", made[1]["key"])) == (401, "token_revoked")
    assert api.get("/v1/user/wallet", made[0]["key"]).status_code == 200


def test_key_of_another_app_is_not_found(api: Api) -> None:
    _, strange_app, strange_token = make_stranger()
    key = created(api.post(keys_path(api), {"name": "CI"}, api.developer_token))
    path = f"/v1/apps/{strange_app}/keys/{key['id']}"
    assert code_of(api.delete(path, strange_token)) == (404, "virtual_key_not_found")
    assert code_of(api.delete(keys_path(api, "key_unknown"), api.developer_token)) == (404, "virtual_key_not_found")
    assert code_of(api.delete(keys_path(api, "%00"), api.developer_token)) == (404, "virtual_key_not_found")
    assert api.get("/v1/user/wallet", key["key"]).status_code == 200


def test_app_created_opens_sessions_at_once(api: Api) -> None:
    body = {
        "name": "Notes",
        "allowed_origins": ["https://notes.example.com"],
        "anonymous_allowance_usd": "0.05",
        "default_model": "test-model",
        "models": ["test-model"],
        "max_output_tokens": 500,
    }
    app = created(api.post(apps_path(api), body, api.developer_token))
    assert app["public_app_id"].startswith("app_pub_") and app["app_secret"].startswith("mf_app_")
    assert (app["name"], app["active"], app["developer_id"]) == ("Notes", True, api.developer_id)
    assert (app["allowed_origins"], app["anonymous_allowance_usd"]) == (["https://notes.example.com"], "0.0500")
    session = created(api.post("/v1/sessions", {"external_user_id": "a"}, app["app_secret"]))
    assert session["available_modes"] == ["platform"]
    apps = api.get(apps_path(api), api.developer_token).json()
    assert [row["id"] for row in apps["data"]] == [api.app_id, app["id"]]
    assert "app_secret" not in apps["data"][1]


def test_app_created_with_a_taken_public_id_is_a_conflict(api: Api) -> None:
    body = {"name": "Notes", "public_app_id": "app_pub_notes-1"}
    assert created(api.post(apps_path(api), body, api.developer_token))["public_app_id"] == "app_pub_notes-1"
    count = App.objects.count()
    response = api.post(apps_path(api), body, api.developer_token)
    assert code_of(response) == (409, "public_id_taken")
    assert error_of(response)["param"] == "public_app_id"
    assert App.objects.count() == count


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ["n"]}, "name"),
        ({"name": "n", "public_app_id": "mine"}, "public_app_id"),
        ({"name": "n", "allowed_origins": "https://a.example"}, "allowed_origins"),
        ({"name": "n", "allowed_origins": ["*"]}, "allowed_origins"),
        ({"name": "n", "anonymous_allowance_usd": 0.02}, "anonymous_allowance_usd"),
        ({"name": "n", "anonymous_allowance_usd": "-1"}, "anonymous_allowance_usd"),
        ({"name": "n", "anonymous_allowance_usd": "10000000"}, "anonymous_allowance_usd"),
        ({"name": "n", "anonymous_allowance_usd": "NaN"}, "anonymous_allowance_usd"),
        ({"name": "n", "anonymous_allowance_usd": "1e30"}, "anonymous_allowance_usd"),
        ({"name": "n", "models": [""]}, "models"),
        ({"name": "n", "models": ["a"], "default_model": "b"}, "default_model"),
        ({"name": "n", "max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_app_of_wrong_types_names_the_parameter(api: Api, body: dict[str, Any], param: str) -> None:
    response = api.post(apps_path(api), body, api.developer_token)
    assert response.status_code == 400
    assert error_of(response)["param"] == param


ENDPOINTS = [
    ("get", "/v1/developers/{developer}/tokens", Scope.TOKENS_WRITE, "developer_not_found"),
    ("post", "/v1/developers/{developer}/tokens", Scope.TOKENS_WRITE, "developer_not_found"),
    ("delete", "/v1/developers/{developer}/tokens/dtok_x", Scope.TOKENS_WRITE, "developer_not_found"),
    ("get", "/v1/apps/{app}/keys", Scope.KEYS_READ, "app_not_found"),
    ("post", "/v1/apps/{app}/keys", Scope.KEYS_WRITE, "app_not_found"),
    ("delete", "/v1/apps/{app}/keys/key_x", Scope.KEYS_WRITE, "app_not_found"),
    ("get", "/v1/developers/{developer}/apps", Scope.APPS_READ, "developer_not_found"),
    ("post", "/v1/developers/{developer}/apps", Scope.APPS_WRITE, "developer_not_found"),
]


@pytest.mark.parametrize(("method", "path", "scope", "not_found"), ENDPOINTS)
def test_management_is_for_the_developer_with_the_scope(
    api: Api, method: str, path: str, scope: Scope, not_found: str
) -> None:
    ask = getattr(api, method)
    address = path.format(developer=api.developer_id, app=api.app_id)

    def asked(token: str | None) -> tuple[int, str]:
        return code_of(ask(address, None, token) if method == "post" else ask(address, token))

    assert asked(make_stranger()[2]) == (404, not_found)
    others = [other for other in Scope.values if other != scope]
    assert asked(make_developer_token(api.developer_id, others)) == (403, "insufficient_scope")
    assert asked(None) == (401, "missing_token")
    assert asked(api.world.token) == (401, "invalid_token")
    assert asked("mf_dev_unknown") == (401, "invalid_token")


@pytest.mark.parametrize("what", ["tokens", "keys", "apps"])
def test_lists_take_as_many_queries_for_three_rows_as_for_one(api: Api, what: str) -> None:
    path, body = {
        "tokens": (tokens_path(api), {"name": "t", "scopes": ["usage:read"]}),
        "keys": (keys_path(api), {"name": "k", "feature_key": "default"}),
        "apps": (apps_path(api), {"name": "a"}),
    }[what]

    def queries() -> int:
        created(api.post(path, body, api.developer_token))
        with CaptureQueriesContext(connection) as captured:
            assert api.get(path, api.developer_token).status_code == 200
        return len(captured)

    counts = [queries() for _ in range(3)]
    assert counts[2] == counts[0]
