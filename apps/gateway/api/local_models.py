"""/v1/local/endpoints and /v1/local/bridges: what a session's end user has on machines of their own."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import BadRequest, NotFound
from apps.features.bridges import BridgeInfo, bridge_by_id, bridges_of
from apps.features.local_endpoints import EndpointInfo, endpoint_by_id, endpoints_of
from apps.features.queries import Principal
from apps.features.services.bridges import create_bridge, revoke_bridge
from apps.features.services.local_endpoints import MAX_URL, add_endpoint, change_endpoint, remove_endpoint
from apps.gateway.api.fees import end_user_of
from apps.gateway.api.inputs import Body, read_json
from apps.gateway.api.views import ApiView

_CHANGED = ("name", "kind")


class LocalEndpoints(ApiView):
    def get(self, request: Request) -> Response:
        """List what the end user noted, newest first."""
        return Response(_all([_endpoint(row) for row in endpoints_of(_owner(end_user_of(request)))]))

    def post(self, request: Request) -> Response:
        """Note a server of models."""
        owner = _owner(end_user_of(request, keeps="local endpoints"))
        body = read_json(request)
        endpoint_id = add_endpoint(
            end_user_id=owner,
            name=body.required_text("name"),
            kind=body.required_text("kind"),
            base_url=body.required_text("base_url", most=MAX_URL),
            models=body.items("models") or [],
            bridge_id=body.text("bridge_id"),
            now=now(),
        )
        return Response(_endpoint(_own_endpoint(owner, endpoint_id)), status=201)


class LocalEndpointItem(ApiView):
    http_method_names = ["get", "patch", "delete", "head"]

    def get(self, request: Request, endpoint_id: str) -> Response:
        """Show one of them."""
        return Response(_endpoint(_own_endpoint(_owner(end_user_of(request)), endpoint_id)))

    def patch(self, request: Request, endpoint_id: str) -> Response:
        """Change what is noted of it; what is not named stays."""
        owner = _owner(end_user_of(request, keeps="local endpoints"))
        change_endpoint(endpoint_id, end_user_id=owner, now=now(), **_changes(read_json(request)))
        return Response(_endpoint(_own_endpoint(owner, endpoint_id)))

    def delete(self, request: Request, endpoint_id: str) -> Response:
        """Forget it."""
        remove_endpoint(endpoint_id, end_user_id=_owner(end_user_of(request)))
        return Response(status=204)


class Bridges(ApiView):
    def get(self, request: Request) -> Response:
        """List the end user's bridges, newest first, with what they offer while they are connected."""
        return Response(_all([_bridge(row) for row in bridges_of(_owner(end_user_of(request)), now=now())]))

    def post(self, request: Request) -> Response:
        """Make a bridge; its token is in this answer only."""
        principal = end_user_of(request, keeps="bridges")
        body = read_json(request)
        moment = now()
        made = create_bridge(
            end_user_id=_owner(principal),
            name=body.required_text("name"),
            now=moment,
            actor=f"session:{principal.id}",
        )
        row = bridge_by_id(made.bridge_id, now=moment)
        assert row is not None
        return Response({**_bridge(row), "token": made.token}, status=201)


class BridgeItem(ApiView):
    def delete(self, request: Request, bridge_id: str) -> Response:
        """Revoke a bridge: its token is refused and its connection closed."""
        principal = end_user_of(request)
        moment = now()
        found = bridge_by_id(bridge_id, now=moment)
        if found is None or found.end_user_id != principal.end_user_id:
            raise NotFound("There is no such bridge.", code="bridge_not_found", param="bridge_id")
        revoke_bridge(bridge_id=bridge_id, now=moment, actor=f"session:{principal.id}")
        return Response(status=204)


def _owner(principal: Principal) -> str:
    assert principal.end_user_id is not None
    return principal.end_user_id


def _own_endpoint(owner: str, endpoint_id: str) -> EndpointInfo:
    row = endpoint_by_id(endpoint_id)
    if row is None or row.end_user_id != owner:
        raise NotFound("There is no such local endpoint.", code="endpoint_not_found", param="endpoint_id")
    return row


def _changes(body: Body) -> dict[str, Any]:
    """Return what a body asks to change. Raises BadRequest where it names nothing."""
    changes: dict[str, Any] = {name: body.required_text(name) for name in _CHANGED if body.has(name)}
    if body.has("base_url"):
        changes["base_url"] = body.required_text("base_url", most=MAX_URL)
    if body.has("models"):
        changes["models"] = body.items("models")
    if body.has("bridge_id") or body.is_null("bridge_id"):
        changes["bridge_id"] = body.text("bridge_id")
    if not changes:
        raise BadRequest("Name what is to change.", code="missing_parameter")
    return changes


def _all(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a list that is bounded and so never paged, in the shape of the others."""
    return {"object": "list", "data": rows, "has_more": False, "next_cursor": None}


def _endpoint(row: EndpointInfo) -> dict[str, Any]:
    return {
        "object": "local_endpoint",
        "id": row.id,
        "name": row.name,
        "kind": row.kind,
        "base_url": row.base_url,
        "models": list(row.models),
        "bridge_id": row.bridge_id,
        "created_at": row.created_at.isoformat(),
        "changed_at": row.changed_at.isoformat(),
    }


def _bridge(row: BridgeInfo) -> dict[str, Any]:
    return {
        "object": "bridge",
        "id": row.id,
        "name": row.name,
        "connected": row.connected,
        "connected_at": row.connected_at and row.connected_at.isoformat(),
        "last_seen_at": row.last_seen_at and row.last_seen_at.isoformat(),
        "version": row.version or None,
        "models": list(row.models),
        "created_at": row.created_at.isoformat(),
    }
