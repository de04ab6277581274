"""Bridges: made, revoked, erased; and their connections, which the gateway's sockets open, keep and close."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest
from django.utils.translation import gettext as _

from apps.core.epoch import forget_caller
from apps.core.errors import Conflict, NotFound, Unauthorized
from apps.core.hashing import keyed_hash
from apps.core.ids import new_id, new_token
from apps.developers.services import audit
from apps.features.models import Bridge, BridgeConnection, EndUser, LocalEndpoint
from apps.features.principals import refuse_disabled
from apps.features.services import inputs

MAX_BRIDGES = 10


@dataclass(frozen=True, slots=True)
class MadeBridge:
    """A bridge just made; `token` is shown here and never again."""

    token: str = field(repr=False)
    bridge_id: str


@transaction.atomic
def create_bridge(*, end_user_id: str, name: str, now: datetime, actor: str) -> MadeBridge:
    """Make a bridge for an end user, and its token.

    Raises BadRequest, NotFound (end_user_not_found), Forbidden (developer_disabled, app_disabled, end_user_disabled)
    and Conflict (too_many_bridges: MAX_BRIDGES are there).
    """
    name = inputs.clean_name(name)
    user = lock_end_user(end_user_id)  # one at a time, or two could both be the last
    if Bridge.objects.filter(end_user_id=end_user_id, revoked_at=None).count() >= MAX_BRIDGES:
        raise Conflict(
            _("There are %(most)s bridges already: revoke one first.") % {"most": MAX_BRIDGES}, code="too_many_bridges"
        )
    token = new_token("mf_brg")
    bridge = Bridge.objects.create(
        id=new_id("brg"),
        token_hash=keyed_hash("token", token),
        app_id=user.app_id,
        end_user_id=user.id,
        name=name,
        created_at=now,
    )
    _record("bridge.create", bridge.id, user, actor=actor, now=now, detail={"end_user_id": user.id})
    return MadeBridge(token, bridge.id)


@transaction.atomic
def revoke_bridge(*, bridge_id: str, now: datetime, actor: str) -> None:
    """Refuse a bridge from now on and end its connection; again changes nothing. Raises NotFound (bridge_not_found).

    The row's trigger tells every gateway, which is where its socket is closed.
    """
    rows = Bridge.objects.select_for_update(of=("self",)).select_related("end_user__app")
    bridge = rows.filter(pk=bridge_id).first() if inputs.storable(bridge_id) else None
    if bridge is None:
        raise NotFound(_("There is no such bridge."), code="bridge_not_found", param="bridge_id")
    if bridge.revoked_at is not None:
        return
    bridge.revoked_at = now
    bridge.save(update_fields=["revoked_at"])
    forget_caller("end_user", bridge.end_user_id)  # what routes it has
    _record("bridge.revoke", bridge.id, bridge.end_user, actor=actor, now=now)


@transaction.atomic
def erase_local_of(end_user_id: str, *, now: datetime, actor: str) -> int:
    """Revoke an end user's bridges, and erase what they and the endpoints said; return how many were revoked."""
    bridges = Bridge.objects.filter(end_user_id=end_user_id)
    alive = list(bridges.filter(revoked_at=None).order_by("id").values_list("id", flat=True))
    for bridge_id in alive:
        revoke_bridge(bridge_id=bridge_id, now=now, actor=actor)
    BridgeConnection.objects.filter(bridge__end_user_id=end_user_id).delete()
    LocalEndpoint.objects.filter(end_user_id=end_user_id).delete()
    bridges.update(name="")
    return len(alive)


@transaction.atomic
def open_connection(
    *,
    bridge_id: str,
    channel: str,
    version: str,
    models: Sequence[dict[str, Any]],
    max_concurrency: int,
    now: datetime,
) -> str:
    """Note that a bridge is connected, in place of its last connection, and return the new one's id.

    Raises Unauthorized (token_revoked) where it was revoked in the meantime: no connection outlives that.
    """
    bridge = Bridge.objects.select_for_update(of=("self",)).filter(pk=bridge_id).first()
    if bridge is None or bridge.revoked_at is not None:
        raise Unauthorized("This token was revoked.", code="token_revoked")
    connection_id = new_id("conn")
    BridgeConnection.objects.update_or_create(
        bridge_id=bridge_id,
        defaults={
            "connection_id": connection_id,
            "channel": channel,
            "version": version,
            "served_models": list(models),
            "max_concurrency": max_concurrency,
            "connected_at": now,
            "seen_at": now,
            "closed_at": None,
        },
    )
    forget_caller("end_user", bridge.end_user_id)
    return connection_id


@transaction.atomic
def change_offer(
    connection_id: str, *, version: str, models: Sequence[dict[str, Any]], max_concurrency: int, now: datetime
) -> bool:
    """Replace what a connection offers; return whether it is still the bridge's."""
    return _change(
        connection_id, version=version, served_models=list(models), max_concurrency=max_concurrency, seen_at=now
    )


def see_connections(connection_ids: Collection[str], *, now: datetime) -> None:
    """Note that connections are alive: one statement for all that a process holds."""
    BridgeConnection.objects.filter(connection_id__in=connection_ids, closed_at=None).update(
        seen_at=Greatest(F("seen_at"), Value(now))
    )


@transaction.atomic
def close_connection(connection_id: str, *, now: datetime) -> bool:
    """Note that a connection is over; return whether it still was the bridge's. Again changes nothing."""
    return _change(connection_id, closed_at=now, channel="")


def _change(connection_id: str, **columns: Any) -> bool:
    rows = BridgeConnection.objects.filter(connection_id=connection_id, closed_at=None)
    owner = rows.values_list("bridge__end_user_id", flat=True).first()
    changed = bool(rows.update(**columns))
    if changed and owner is not None:
        forget_caller("end_user", owner)
    return changed


def lock_end_user(end_user_id: str) -> EndUser:
    """Return an end user of an app that is served, locked for the transaction.

    Raises NotFound (end_user_not_found) and Forbidden (developer_disabled, app_disabled, end_user_disabled).
    """
    rows = EndUser.objects.select_for_update(of=("self",), no_key=True).select_related("app__developer")
    user = rows.filter(pk=end_user_id).first()
    if user is None:
        raise NotFound(_("There is no such end user."), code="end_user_not_found", param="end_user_id")
    refuse_disabled(developer=user.app.developer.status, app=user.app.status, feature=None, end_user=user.status)
    return user


def _record(
    action: str, bridge_id: str, user: EndUser, *, actor: str, now: datetime, detail: dict[str, Any] | None = None
) -> None:
    audit.record(action, "bridge", bridge_id, actor=actor, now=now, developer_id=user.app.developer_id, detail=detail)
