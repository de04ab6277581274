"""Manifests over the API: written, read back, listed, rolled back; nobody else's, and no terms but the operator's."""

from typing import Any

import pytest
from django.test import Client

from apps.core.clock import now
from apps.developers.models import AuditEvent
from apps.features.models import AppFeature, FeatureManifest
from apps.features.queries import authenticate
from apps.features.services.features import create_feature
from apps.features.services.manifests import put_manifest
from tests.gateway.api_factories import Api, code_of, error_of, make_api, make_developer_token, make_stranger
from tests.live import ACTOR, MODEL

pytestmark = pytest.mark.django_db
YAML = "application/yaml"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def path(api: Api, rest: str = "", *, key: str = "default") -> str:
    return f"/v1/apps/{api.app_id}/features/{key}/manifest{rest}"


def put(api: Api, source: str | bytes, token: str = "", *, kind: str = YAML, address: str = "") -> Any:
    headers = {"authorization": f"Bearer {token or api.developer_token}"}
    return api.client.put(address or path(api), source, content_type=kind, headers=headers)


def test_manifest_is_written_read_back_and_acts(api: Api) -> None:
    assert code_of(api.get(path(api), api.developer_token)) == (404, "manifest_not_found")
    source = f"# ours\nmodels: {{allow: [{MODEL}, unheard-of], default: {MODEL}}}\nlimits: {{rpm: 5}}\n"
    written = put(api, source)
    assert written.status_code == 200, written.content
    assert written.json() == api.get(path(api), api.developer_token).json()
    content = written.json()
    assert content.pop("created_at") and content.pop("id").startswith("man_")
    assert content.pop("created_by").startswith("token:")
    assert content == {
        "object": "feature_manifest",
        "app_id": api.app_id,
        "feature_key": "default",
        "number": 1,
        "in_force": True,
        "format": "yaml",
        "manifest": {"models": {"allow": [MODEL, "unheard-of"], "default": MODEL}, "limits": {"rpm": 5}},
        "source": source,
        "warnings": ["unheard-of is not served here"],
    }
    assert authenticate(api.world.token, now=now()).manifest.limits.rpm == 5
    event = AuditEvent.objects.get(action="feature.put_manifest")
    assert event.actor.startswith("token:") and event.developer_id == api.developer_id


@pytest.mark.parametrize("kind", ["application/json", "text/yaml", "application/x-yaml; charset=utf-8"])
def test_content_type_says_the_format(api: Api, kind: str) -> None:
    written = put(api, b'{"limits": {"rpm": 5}}', kind=kind)
    assert (written.status_code, written.json()["manifest"]) == (200, {"limits": {"rpm": 5}})


@pytest.mark.parametrize(
    ("source", "kind", "status", "code", "param"),
    [
        ("limits: {rpm: 0}", YAML, 400, "invalid_manifest", "limits.rpm"),
        ("{}", "text/plain", 415, "unsupported_media_type", None),
        ("limits: {rpm: 5}", "application/json", 400, "invalid_manifest", None),
        (b"\xff", YAML, 400, "invalid_manifest", None),
        (b"x" * 64_001, YAML, 413, "request_too_large", None),
        ("pricing: {share_bps: 10000}", YAML, 403, "pricing_not_allowed", "pricing"),
        ("prompt: {user: '{{ input.__class__() }}'}", YAML, 400, "invalid_manifest", "prompt.user"),
        ("input: {type: object, $ref: 'http://[::1]/'}\nprompt: {user: x}", YAML, 400, "invalid_manifest", "input"),
    ],
)
def test_what_is_wrong_is_refused(api: Api, source: Any, kind: str, status: int, code: str, param: str | None) -> None:
    refused = put(api, source, kind=kind)
    assert code_of(refused) == (status, code)
    assert error_of(refused)["param"] == param
    assert not FeatureManifest.objects.exists()


def test_developer_keeps_pricing_that_the_operator_set(api: Api) -> None:
    feature = AppFeature.objects.get()
    source = "pricing: {markup_bps: 100}"
    put_manifest(feature_id=feature.id, source=source, source_format="yaml", now=now(), actor=ACTOR, may_price=True)
    assert put(api, "limits: {rpm: 5}\n" + source).status_code == 200
    assert code_of(put(api, "pricing: {markup_bps: 99}")) == (403, "pricing_not_allowed")


def test_versions_are_listed_shown_and_rolled_back(api: Api) -> None:
    for rpm in (1, 2, 3):
        put(api, f"limits: {{rpm: {rpm}}}")
    first = api.get(path(api, "/versions?limit=2"), api.developer_token).json()
    assert [(row["number"], row["in_force"]) for row in first["data"]] == [(3, True), (2, False)]
    assert "source" not in first["data"][0]
    rest = api.get(path(api, f"/versions?limit=2&cursor={first['next_cursor']}"), api.developer_token).json()
    assert [row["number"] for row in rest["data"]] == [1]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    second = api.get(path(api, "/versions/2"), api.developer_token).json()
    assert (second["source"], second["changes"]) == (
        "limits: {rpm: 2}",
        [{"path": "limits.rpm", "before": 1, "after": 2}],
    )
    back = api.post(path(api, "/rollback"), {"number": 1}, api.developer_token)
    assert (back.status_code, back.json()["number"]) == (200, 1)
    assert authenticate(api.world.token, now=now()).manifest.limits.rpm == 1
    for number in ("0", "4", "9" * 30):
        assert code_of(api.get(path(api, f"/versions/{number}"), api.developer_token))[0] == 404
    wrong: dict[str, dict[str, Any]] = {
        "manifest_not_found": {"number": 9},
        "missing_parameter": {},
        "invalid_type": {"number": "1"},
    }
    for code, body in wrong.items():
        assert code_of(api.post(path(api, "/rollback"), body, api.developer_token))[1] == code


def asked(api: Api, token: str | None, *, key: str = "default", app_id: str = "") -> list[tuple[int, str]]:
    """Ask for everything there is, and return the refusals."""
    base = f"/v1/apps/{app_id or api.app_id}/features/{key}/manifest"
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return [
        code_of(api.get(base, token)),
        code_of(api.client.put(base, "limits: {rpm: 66}", content_type=YAML, headers=headers)),
        code_of(api.get(f"{base}/versions", token)),
        code_of(api.get(f"{base}/versions/1", token)),
        code_of(api.post(f"{base}/rollback", {"number": 1}, token)),
    ]


def test_strangers_find_nothing(api: Api) -> None:
    put(api, "limits: {rpm: 1}")
    put(api, "limits: {rpm: 2}")
    _, their_app, their_token = make_stranger()
    assert asked(api, their_token) == [(404, "app_not_found")] * 5
    assert asked(api, api.developer_token, app_id=their_app) == [(404, "app_not_found")] * 5
    assert asked(api, None) == [(401, "missing_token")] * 5
    for token in (api.world.token, api.world.virtual_key(), "mf_dev_unknown"):
        assert asked(api, token) == [(401, "invalid_token")] * 5
    assert asked(api, api.developer_token, key="none") == [(404, "feature_not_found")] * 5
    assert authenticate(api.world.token, now=now()).manifest.limits.rpm == 2


def test_feature_of_another_app_of_the_developer_is_another(api: Api) -> None:
    create_feature(app_id=api.app_id, key="other", name="Other", now=now(), actor=ACTOR)
    put(api, "limits: {rpm: 1}")
    assert code_of(api.get(path(api, key="other"), api.developer_token)) == (404, "manifest_not_found")
    assert api.get(path(api, "/versions", key="other"), api.developer_token).json()["data"] == []
    assert code_of(api.get(path(api, "/versions/1", key="other"), api.developer_token))[0] == 404


def test_scopes_are_asked_for(api: Api) -> None:
    put(api, "limits: {rpm: 1}")
    reader = make_developer_token(api.developer_id, ["apps:read"])
    writer = make_developer_token(api.developer_id, ["apps:write"])
    refused = (403, "insufficient_scope")
    assert api.get(path(api), reader).status_code == api.get(path(api, "/versions"), reader).status_code == 200
    assert code_of(put(api, "limits: {rpm: 2}", reader)) == refused
    assert code_of(api.post(path(api, "/rollback"), {"number": 1}, reader)) == refused
    assert code_of(api.get(path(api), writer)) == refused
    assert put(api, "limits: {rpm: 2}", writer).status_code == 200


def test_schema_is_for_everybody_and_other_methods_are_refused(api: Api) -> None:
    schema = api.get("/v1/manifest-schema")
    assert schema.status_code == 200 and schema.json()["$defs"]["Routing"]
    assert code_of(api.post(path(api), {}, api.developer_token)) == (405, "method_not_allowed")
    assert code_of(api.delete(path(api), api.developer_token)) == (405, "method_not_allowed")


def test_templates_are_for_everybody_and_are_taken(api: Api) -> None:
    rows = api.get("/v1/manifest-templates").json()["data"]
    assert {"summary.en", "extract.zh"} <= {row["id"] for row in rows}
    for row in rows:
        written = put(api, row["source"])
        assert written.status_code == 200, written.content
