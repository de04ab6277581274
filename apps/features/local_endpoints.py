"""What end users noted of servers on their own machines, and whether any route of theirs is local."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.features.bridges import connected_bridges
from apps.features.models import LocalEndpoint
from apps.features.services.inputs import storable


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """A server of models as its end user noted it."""

    id: str
    end_user_id: str
    name: str
    kind: str
    base_url: str
    models: tuple[dict[str, Any], ...]
    bridge_id: str | None
    created_at: datetime
    changed_at: datetime


def endpoints_of(end_user_id: str) -> tuple[EndpointInfo, ...]:
    """Return what an end user noted, newest first."""
    return tuple(_info(row) for row in LocalEndpoint.objects.filter(end_user_id=end_user_id).order_by("-id"))


def endpoint_by_id(endpoint_id: str) -> EndpointInfo | None:
    """Return the endpoint with this id."""
    row = LocalEndpoint.objects.filter(pk=endpoint_id).first() if storable(endpoint_id) else None
    return None if row is None else _info(row)


def has_local_models(end_user_id: str, *, now: datetime) -> bool:
    """Tell whether an end user has models of their own: an endpoint that is noted, or a bridge that is connected."""
    noted = LocalEndpoint.objects.filter(end_user_id=end_user_id).exists()
    return noted or bool(connected_bridges(end_user_id, now=now))


def _info(row: LocalEndpoint) -> EndpointInfo:
    return EndpointInfo(
        id=row.id,
        end_user_id=row.end_user_id,
        name=row.name,
        kind=row.kind,
        base_url=row.base_url,
        models=tuple(row.served_models),
        bridge_id=row.bridge_id,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )
