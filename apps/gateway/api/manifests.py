"""/v1/apps/{id}/features/{key}/manifest: what a feature's developer says about its calls, in versions."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.services.plans import noting_gates
from apps.catalog.queries import load_catalog
from apps.core.clock import now
from apps.core.errors import BadRequest, NotFound, TooLarge
from apps.developers.models import Scope
from apps.developers.services.tokens import DeveloperIdentity
from apps.features.library import templates
from apps.features.manifest import schema
from apps.features.manifest_diff import changes, models_named
from apps.features.manifest_source import MAX_SOURCE
from apps.features.queries import (
    FeatureInfo,
    ManifestInfo,
    feature_by_key,
    manifest_in_force,
    manifest_version,
    manifests_of,
)
from apps.features.services.manifests import put_manifest, roll_back
from apps.gateway.api.errors import UnsupportedMediaType
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.views import ApiView, actor_of, app_of, identity_of, list_of

_FORMATS = {
    "application/json": "json",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
    "text/x-yaml": "yaml",
}
_MAX_NUMBER = 2**31 - 1


class FeatureManifest(ApiView):
    http_method_names = ["get", "put", "head"]

    def get(self, request: Request, app_id: str, feature_key: str) -> Response:
        """Show the manifest in force."""
        return Response(_in_force(_feature_of(identity_of(request, Scope.APPS_READ), app_id, feature_key)))

    def put(self, request: Request, app_id: str, feature_key: str) -> Response:
        """Write the next version, from YAML or JSON by the content type, and put it in force."""
        identity = identity_of(request, Scope.APPS_WRITE)
        feature = _feature_of(identity, app_id, feature_key)
        source, source_format = _source(request)
        who: dict[str, Any] = {"now": now(), "actor": actor_of(identity)}
        with noting_gates(identity.developer_id, subject=feature.id, **who):
            put_manifest(feature_id=feature.id, source=source, source_format=source_format, may_price=False, **who)
        return Response(_in_force(feature))


class FeatureManifestVersions(ApiView):
    def get(self, request: Request, app_id: str, feature_key: str) -> Response:
        """List the versions, newest first, without their sources."""
        feature = _feature_of(identity_of(request, Scope.APPS_READ), app_id, feature_key)
        query = Query(request)
        limit = query.limit()
        before = query.whole("cursor", least=1, most=_MAX_NUMBER, default=_MAX_NUMBER)
        rows = manifests_of(feature.id, before=before, limit=limit + 1)
        content = list_of([_version(row, feature) for row in rows], limit)
        content["next_cursor"] = str(rows[limit - 1].number) if content["has_more"] else None
        return Response(content)


class FeatureManifestVersion(ApiView):
    def get(self, request: Request, app_id: str, feature_key: str, number: int) -> Response:
        """Show one version, and what it changed of the one before."""
        feature = _feature_of(identity_of(request, Scope.APPS_READ), app_id, feature_key)
        row = manifest_version(feature.id, min(number, _MAX_NUMBER))
        if row is None:
            raise NotFound("This feature has no such version of a manifest.", code="manifest_not_found", param="number")
        before = manifest_version(feature.id, row.number - 1)
        return Response({**_whole(row, feature), "changes": changes(before.content if before else {}, row.content)})


class FeatureManifestRollback(ApiView):
    def post(self, request: Request, app_id: str, feature_key: str) -> Response:
        """Put an earlier version in force again."""
        identity = identity_of(request, Scope.APPS_WRITE)
        feature = _feature_of(identity, app_id, feature_key)
        number = read_json(request).whole("number", least=1, most=_MAX_NUMBER)
        if number is None:
            raise BadRequest("number is required.", code="missing_parameter", param="number")
        who: dict[str, Any] = {"now": now(), "actor": actor_of(identity)}
        with noting_gates(identity.developer_id, subject=feature.id, **who):
            roll_back(feature_id=feature.id, number=number, may_price=False, **who)
        return Response(_in_force(feature))


class ManifestSchema(ApiView):
    def get(self, request: Request) -> Response:
        """Show the JSON Schema of a manifest, for editors. Needs no token."""
        return Response(schema())


class ManifestTemplates(ApiView):
    def get(self, request: Request) -> Response:
        """List manifests to begin with. Needs no token."""
        rows = [
            {
                "object": "manifest_template",
                "id": template.name,
                "language": template.language,
                "format": "yaml",
                "source": template.source,
            }
            for template in templates().values()
        ]
        return Response(list_of(rows, len(rows)))


def _feature_of(identity: DeveloperIdentity, app_id: str, key: str) -> FeatureInfo:
    feature = feature_by_key(app_of(identity, app_id).id, key)
    if feature is None:
        raise NotFound("This app has no such feature.", code="feature_not_found", param="feature_key")
    return feature


def _source(request: Request) -> tuple[str, str]:
    raw = request.read(MAX_SOURCE + 1)
    if len(raw) > MAX_SOURCE:
        raise TooLarge(f"A manifest takes at most {MAX_SOURCE} bytes.")
    kind = (request.content_type or "").partition(";")[0].strip().lower()
    if kind not in _FORMATS:
        raise UnsupportedMediaType("Send the manifest as application/yaml or application/json.")
    try:
        return raw.decode(), _FORMATS[kind]
    except UnicodeDecodeError as error:
        raise BadRequest("The manifest is not UTF-8.", code="invalid_manifest") from error


def _in_force(feature: FeatureInfo) -> dict[str, Any]:
    row = manifest_in_force(feature.id)
    if row is None:
        raise NotFound("This feature has no manifest yet.", code="manifest_not_found")
    return _whole(row, feature)


def _whole(row: ManifestInfo, feature: FeatureInfo) -> dict[str, Any]:
    served = load_catalog(now=now()).offers
    named = models_named(row.content)
    return {
        **_version(row, feature),
        "manifest": row.content,
        "source": row.source,
        "warnings": [f"{model} is not served here" for model in named if model not in served],
    }


def _version(row: ManifestInfo, feature: FeatureInfo) -> dict[str, Any]:
    return {
        "object": "feature_manifest",
        "id": row.id,
        "app_id": feature.app_id,
        "feature_key": feature.key,
        "number": row.number,
        "in_force": row.in_force,
        "format": row.source_format,
        "created_by": row.created_by,
        "created_at": row.created_at.isoformat(),
    }
