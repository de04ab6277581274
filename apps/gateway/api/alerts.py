"""/v1/developers/{id}/alert-endpoint and /alerts: who is told of budgets that run low and the like, and what was."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import BadRequest, NotFound
from apps.core.money import usd
from apps.developers.models import Scope
from apps.gateway.api.budgets import count_change
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.views import ApiView, actor_of, identity_of, list_of, require_developer
from apps.usage.budgets.queries import AlertInfo, alerts_of
from apps.usage.services.alerts import EndpointInfo, endpoint_of, remove_endpoint, set_endpoint

MAX_URL = 500
_PREFIX = "alert_"


class AlertEndpoint(ApiView):
    http_method_names = ["get", "put", "delete", "head"]

    def get(self, request: Request, developer_id: str) -> Response:
        """Show where the developer's alerts are posted."""
        require_developer(identity_of(request, Scope.BUDGETS_READ), developer_id)
        return Response(_endpoint(_find(developer_id)))

    def put(self, request: Request, developer_id: str) -> Response:
        """Say where alerts are posted. Each time with a new secret, which is shown here and never again."""
        identity = identity_of(request, Scope.BUDGETS_WRITE)
        require_developer(identity, developer_id)
        url = read_json(request).required_text("url", most=MAX_URL)
        count_change(developer_id)
        _, secret = set_endpoint(developer_id, url, now=now(), actor=actor_of(identity))
        return Response({**_endpoint(_find(developer_id)), "secret": secret})

    def delete(self, request: Request, developer_id: str) -> Response:
        """Post alerts nowhere any more."""
        identity = identity_of(request, Scope.BUDGETS_WRITE)
        require_developer(identity, developer_id)
        remove_endpoint(developer_id, now=now(), actor=actor_of(identity))
        return Response(status=204)


class Alerts(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """List the developer's alerts, newest first."""
        require_developer(identity_of(request, Scope.BUDGETS_READ), developer_id)
        query = Query(request)
        limit = query.limit()
        rows = alerts_of(developer_id, before=_cursor(query.text("cursor")), limit=limit + 1)
        return Response(list_of([_alert(row) for row in rows], limit))


def _find(developer_id: str) -> EndpointInfo:
    found = endpoint_of(developer_id)
    if found is None:
        raise NotFound("No alert endpoint is set.", code="alert_endpoint_not_found")
    return found


def _cursor(text: str | None) -> int | None:
    if text is None:
        return None
    number = text.removeprefix(_PREFIX)
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise BadRequest("cursor takes what the page before gave.", code="invalid_type", param="cursor")
    return int(number)


def _endpoint(row: EndpointInfo) -> dict[str, Any]:
    return {"object": "alert_endpoint", "id": row.id, "url": row.url, "hint": row.hint, "enabled": row.enabled}


def _alert(row: AlertInfo) -> dict[str, Any]:
    told = row.data
    if row.period_start is not None and row.limit is not None and row.spent is not None:
        told = {
            "budget_id": row.budget_id,
            "period_start": row.period_start.isoformat(),
            "threshold_percent": row.threshold,
            "limit_usd": usd(row.limit),
            "spent_usd": usd(row.spent),
        }
    return {
        "object": "alert",
        "id": f"{_PREFIX}{row.id}",
        "kind": row.kind,
        "scope": row.scope,
        "scope_id": row.scope_id,
        **told,
        "alerted_at": row.created_at.isoformat(),
        "delivered_at": row.delivered_at and row.delivered_at.isoformat(),
        "attempts": row.attempts,
        "last_error": row.last_error,
    }
