"""/v1/apps/{id}/keys: virtual keys, which spend the developer's prepaid credit."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import NotFound
from apps.developers.models import Scope
from apps.features.queries import VirtualKeyInfo, virtual_key_by_id, virtual_keys_of_app
from apps.features.services.tokens import issue_virtual_key, revoke_virtual_key
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.views import ApiView, actor_of, app_of, identity_of, list_of


class VirtualKeys(ApiView):
    def get(self, request: Request, app_id: str) -> Response:
        """List an app's keys, newest first."""
        app = app_of(identity_of(request, Scope.KEYS_READ), app_id)
        query = Query(request)
        limit = query.limit()
        rows = virtual_keys_of_app(app.id, before=query.text("cursor"), limit=limit + 1)
        return Response(list_of([_key(row) for row in rows], limit))

    def post(self, request: Request, app_id: str) -> Response:
        """Issue a key for an app, or for one of its features."""
        identity = identity_of(request, Scope.KEYS_WRITE)
        app = app_of(identity, app_id)
        body = read_json(request)
        key, key_id = issue_virtual_key(
            app_id=app.id,
            name=body.required_text("name"),
            feature_key=body.text("feature_key"),
            expires_at=body.moment("expires_at"),
            now=now(),
            actor=actor_of(identity),
        )
        issued = virtual_key_by_id(key_id)
        assert issued is not None
        return Response({**_key(issued), "key": key}, status=201)


class VirtualKeyItem(ApiView):
    def delete(self, request: Request, app_id: str, key_id: str) -> Response:
        """Revoke a key."""
        identity = identity_of(request, Scope.KEYS_WRITE)
        app = app_of(identity, app_id)
        found = virtual_key_by_id(key_id)
        if found is None or found.app_id != app.id:
            raise NotFound("There is no such virtual key.", code="virtual_key_not_found", param="key_id")
        revoke_virtual_key(key_id=key_id, now=now(), actor=actor_of(identity))
        return Response(status=204)


def _key(row: VirtualKeyInfo) -> dict[str, Any]:
    return {
        "object": "virtual_key",
        "id": row.id,
        "app_id": row.app_id,
        "name": row.name,
        "hint": row.hint,
        "feature_key": row.feature_key,
        "expires_at": row.expires_at and row.expires_at.isoformat(),
        "revoked_at": row.revoked_at and row.revoked_at.isoformat(),
        "created_at": row.created_at.isoformat(),
    }
