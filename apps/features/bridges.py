"""Whom a bridge's token stands for, and which bridges an end user has."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from apps.core.errors import Unauthorized
from apps.core.hashing import keyed_hash
from apps.features.models import Bridge, BridgeConnection
from apps.features.principals import BRIDGE_PREFIX, refuse_disabled
from apps.features.services.inputs import storable

# A connection that says nothing for so long is over, whatever its row says: its process may have died. Connections
# are marked seen at least every CONNECTION_PATIENCE / 3.
CONNECTION_PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class BridgeIdentity:
    """What a bridge's token stands for: one end user of one app."""

    id: str
    name: str
    app_id: str
    developer_id: str
    end_user_id: str


@dataclass(frozen=True, slots=True)
class BridgeInfo:
    """A bridge as its end user sees it. `models` and `version` are what its last connection told."""

    id: str
    name: str
    app_id: str
    end_user_id: str
    connected: bool
    connected_at: datetime | None
    last_seen_at: datetime | None
    version: str
    models: tuple[dict[str, Any], ...]
    revoked_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ConnectedBridge:
    """A bridge that can be called: where messages for it go, and what it offers."""

    bridge_id: str
    connection_id: str
    channel: str
    version: str
    models: tuple[dict[str, Any], ...]
    max_concurrency: int


def authenticate_bridge(token: str) -> BridgeIdentity:
    """Return the bridge whose token this is, in one query.

    Raises Unauthorized (invalid_token, token_revoked) and Forbidden (developer_disabled, app_disabled,
    end_user_disabled), in this order.
    """
    if not token.startswith(BRIDGE_PREFIX) or not token.isascii():
        raise Unauthorized("This token is not known here.", code="invalid_token")
    return _identity(Bridge.objects.filter(token_hash=keyed_hash("token", token)))


def bridge_still_welcome(bridge_id: str) -> BridgeIdentity:
    """Return a bridge that proved itself before, for a connection that lasts. Raises as `authenticate_bridge` does."""
    return _identity(Bridge.objects.filter(pk=bridge_id))


def last_connections(connection_ids: Collection[str]) -> set[str]:
    """Return those of these connections that are the last of their bridge."""
    return set(
        BridgeConnection.objects.filter(connection_id__in=connection_ids).values_list("connection_id", flat=True)
    )


def bridges_of(end_user_id: str, *, now: datetime) -> tuple[BridgeInfo, ...]:
    """Return an end user's bridges that are not revoked, newest first."""
    rows = Bridge.objects.filter(end_user_id=end_user_id, revoked_at=None).select_related("connection")
    return tuple(_info(row, now) for row in rows.order_by("-id"))


def bridge_by_id(bridge_id: str, *, now: datetime) -> BridgeInfo | None:
    """Return the bridge with this id, revoked or not."""
    if not storable(bridge_id):
        return None
    row = Bridge.objects.select_related("connection").filter(pk=bridge_id).first()
    return None if row is None else _info(row, now)


def connected_bridges(end_user_id: str, *, now: datetime) -> tuple[ConnectedBridge, ...]:
    """Return the bridges of an end user that are connected, the longest connected first."""
    return connected_bridges_of([end_user_id], now=now).get(end_user_id, ())


def connected_bridges_of(end_user_ids: Collection[str], *, now: datetime) -> dict[str, tuple[ConnectedBridge, ...]]:
    """Return the connected bridges of several end users, by end user; one without any is left out."""
    rows = BridgeConnection.objects.filter(
        bridge__end_user_id__in=end_user_ids,
        bridge__revoked_at=None,
        closed_at=None,
        seen_at__gt=now - CONNECTION_PATIENCE,
    ).order_by("connected_at", "bridge_id")
    found: dict[str, tuple[ConnectedBridge, ...]] = {}
    for row in rows.select_related("bridge"):
        found[row.bridge.end_user_id] = (*found.get(row.bridge.end_user_id, ()), _connected(row))
    return found


def _identity(rows: QuerySet[Bridge]) -> BridgeIdentity:
    row = rows.select_related("app__developer", "end_user").first()
    if row is None:
        raise Unauthorized("This token is not known here.", code="invalid_token")
    if row.revoked_at is not None:
        raise Unauthorized("This token was revoked.", code="token_revoked")
    refuse_disabled(developer=row.app.developer.status, app=row.app.status, feature=None, end_user=row.end_user.status)
    return BridgeIdentity(row.id, row.name, row.app_id, row.app.developer_id, row.end_user_id)


def _connected(row: BridgeConnection) -> ConnectedBridge:
    return ConnectedBridge(
        row.bridge_id, row.connection_id, row.channel, row.version, tuple(row.served_models), row.max_concurrency
    )


def _info(row: Bridge, now: datetime) -> BridgeInfo:
    last = getattr(row, "connection", None)
    alive = last is not None and last.closed_at is None and last.seen_at > now - CONNECTION_PATIENCE
    return BridgeInfo(
        id=row.id,
        name=row.name,
        app_id=row.app_id,
        end_user_id=row.end_user_id,
        connected=alive and row.revoked_at is None,
        connected_at=last.connected_at if last is not None else None,
        last_seen_at=last.seen_at if last is not None else None,
        version=last.version if last is not None else "",
        models=tuple(last.served_models) if last is not None else (),
        revoked_at=row.revoked_at,
        created_at=row.created_at,
    )
