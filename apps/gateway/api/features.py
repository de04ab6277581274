"""/v1/apps/{id}/features: the features of an app, made from a template or plain, changed, switched off and on."""

from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.services.plans import noting_gates
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.developers.models import Scope
from apps.features.queries import FeatureInfo, feature_by_key, features_of_app
from apps.features.services.features import (
    create_feature,
    disable_feature,
    enable_feature,
    update_feature,
)
from apps.features.services.starting import create_feature_from_template
from apps.gateway.api.developer_apps import MAX_OUTPUT_TOKENS
from apps.gateway.api.inputs import Body, read_json
from apps.gateway.api.views import ApiView, actor_of, app_of, identity_of

_MOST_OUTPUT_TOKENS = 10_000_000


class Features(ApiView):
    def get(self, request: Request, app_id: str) -> Response:
        """List an app's features by key; there are few."""
        app = app_of(identity_of(request, Scope.APPS_READ), app_id)
        rows = [_feature(row) for row in features_of_app(app.id)]
        return Response({"object": "list", "data": rows, "has_more": False, "next_cursor": None})

    def post(self, request: Request, app_id: str) -> Response:
        """Make a feature, with the manifest of a template in force where one is named."""
        identity = identity_of(request, Scope.APPS_WRITE)
        app = app_of(identity, app_id)
        body = read_json(request)
        who: dict[str, Any] = {"now": now(), "actor": actor_of(identity)}
        key = body.required_text("key")
        with noting_gates(identity.developer_id, subject=app.id, **who), transaction.atomic():
            _create(body, app.id, key, who)
        made = feature_by_key(app.id, key)
        assert made is not None
        return Response(_feature(made), status=201)


class FeatureItem(ApiView):
    http_method_names = ["get", "patch", "head"]

    def get(self, request: Request, app_id: str, feature_key: str) -> Response:
        """Show one feature."""
        app = app_of(identity_of(request, Scope.APPS_READ), app_id)
        return Response(_feature(_find(app.id, feature_key)))

    def patch(self, request: Request, app_id: str, feature_key: str) -> Response:
        """Change what is given; `active` switches the feature off or on."""
        identity = identity_of(request, Scope.APPS_WRITE)
        app = app_of(identity, app_id)
        feature = _find(app.id, feature_key)
        body = read_json(request)
        who: dict[str, Any] = {"now": now(), "actor": actor_of(identity)}
        with transaction.atomic():
            update_feature(
                feature_id=feature.id,
                name=body.text("name"),
                models=body.texts("models"),
                default_model=body.text("default_model"),
                max_output_tokens=body.whole("max_output_tokens", least=1, most=_MOST_OUTPUT_TOKENS),
                affordable_clamp=body.flag("affordable_clamp"),
                **who,
            )
            active = body.flag("active")
            if active is not None:
                (enable_feature if active else disable_feature)(feature_id=feature.id, **who)
        return Response(_feature(_find(app.id, feature_key)))


def _create(body: Body, app_id: str, key: str, who: dict[str, Any]) -> None:
    template, name = body.text("template"), body.text("name") or ""
    default_model = body.text("default_model") or ""
    if template:
        create_feature_from_template(
            app_id=app_id, key=key, name=name, template=template, default_model=default_model, **who
        )
        return
    create_feature(
        app_id=app_id,
        key=key,
        name=name or key,
        models=body.texts("models") or (),
        default_model=default_model,
        max_output_tokens=body.whole("max_output_tokens", least=1, most=_MOST_OUTPUT_TOKENS) or MAX_OUTPUT_TOKENS,
        **who,
    )


def _find(app_id: str, key: str) -> FeatureInfo:
    feature = feature_by_key(app_id, key)
    if feature is None:
        raise NotFound("This app has no such feature.", code="feature_not_found", param="feature_key")
    return feature


def _feature(row: FeatureInfo) -> dict[str, Any]:
    return {
        "object": "feature",
        "id": row.id,
        "app_id": row.app_id,
        "key": row.key,
        "name": row.name,
        "active": row.active,
        "models": sorted(row.models),
        "default_model": row.default_model or None,
        "max_output_tokens": row.max_output_tokens,
        "affordable_clamp": row.affordable_clamp,
        "has_manifest": row.manifest_id is not None,
    }
