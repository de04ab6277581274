"""Features over the API: made from a template or plain, changed, switched; nobody else's."""

from typing import Any

import pytest
from django.test import Client

from apps.developers.models import AuditEvent
from apps.features.models import AppFeature
from tests.gateway.api_factories import Api, code_of, make_api, make_developer_token, make_stranger
from tests.live import MODEL

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def send(api: Api, method: str, path: str, body: Any, token: str = "") -> Any:
    headers = {"authorization": f"Bearer {token or api.developer_token}"}
    call = getattr(api.client, method)
    return call(path, body, content_type="application/json", headers=headers)


def path(api: Api, key: str = "") -> str:
    return f"/v1/apps/{api.app_id}/features{key and '/' + key}"


def test_feature_is_made_from_a_template_and_listed(api: Api) -> None:
    made = send(api, "post", path(api), {"key": "notes", "template": "summary.en", "default_model": MODEL})
    assert made.status_code == 201, made.content
    content = made.json()
    assert (content["key"], content["name"], content["has_manifest"]) == ("notes", "Summary", True)
    assert content == api.get(path(api, "notes"), api.developer_token).json()
    listed = api.get(path(api), api.developer_token).json()
    assert [row["key"] for row in listed["data"]] == ["default", "notes"]
    manifest = api.get(f"{path(api, 'notes')}/manifest", api.developer_token).json()
    assert manifest["manifest"]["input"]["required"] == ["text"]
    assert AuditEvent.objects.get(action="feature.create").actor.startswith("token:")


def test_feature_is_made_plain_changed_and_switched(api: Api) -> None:
    plain = {"key": "plain", "models": [MODEL], "default_model": MODEL, "max_output_tokens": 77}
    assert send(api, "post", path(api), plain).json()["max_output_tokens"] == 77
    changed = send(api, "patch", path(api, "plain"), {"name": "Plainer", "active": False, "affordable_clamp": False})
    assert (changed.json()["name"], changed.json()["active"]) == ("Plainer", False)
    row = AppFeature.objects.get(key="plain")
    assert (row.status, row.affordable_clamp, row.models_allowed) == ("disabled", False, [MODEL])
    assert send(api, "patch", path(api, "plain"), {"active": True}).json()["active"] is True


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "missing_parameter", "key"),
        ({"key": "default"}, 409, "feature_key_taken", "key"),
        ({"key": "No Slug"}, 400, None, "key"),
        ({"key": "x", "template": "no.such"}, 400, "invalid_template", "template"),
        ({"key": "x", "max_output_tokens": 0}, 400, None, "max_output_tokens"),
    ],
)
def test_what_is_wrong_is_refused(api: Api, body: Any, status: int, code: str | None, param: str) -> None:
    answered = send(api, "post", path(api), body)
    error = answered.json()["error"]
    assert (answered.status_code, error["param"]) == (status, param)
    assert code in (None, error["code"])
    assert AppFeature.objects.filter(app_id=api.app_id).count() == 1


def test_strangers_and_lesser_tokens_are_refused(api: Api) -> None:
    stranger = make_stranger()[2]
    reader = make_developer_token(api.developer_id, ["apps:read"])
    for method, address, body in (("post", path(api), {"key": "x"}), ("patch", path(api, "default"), {"name": "x"})):
        assert code_of(send(api, method, address, body, stranger)) == (404, "app_not_found")
        assert code_of(send(api, method, address, body, reader))[0] == 403
        assert code_of(send(api, method, address, body, "mf_dev_none"))[0] == 401
    for address in (path(api), path(api, "default")):
        assert code_of(api.get(address, stranger)) == (404, "app_not_found")
        assert api.get(address, reader).status_code == 200
    assert code_of(api.get(path(api, "unheard"), reader)) == (404, "feature_not_found")
    assert AppFeature.objects.get(app_id=api.app_id).name != "x"
