"""Servers of models on an end user's own machine or network: noted, changed, removed. Nothing here calls them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id
from apps.features.manifest import CAPABILITIES
from apps.features.models import Bridge, EndpointKind, LocalEndpoint
from apps.features.services import inputs
from apps.features.services.bridges import lock_end_user

MAX_ENDPOINTS = 20
MAX_MODELS = 200
MAX_URL = 500
MAX_CONTEXT = 100_000_000
_MEMBERS = {"id", "context_window", "capabilities"}


@transaction.atomic
def add_endpoint(
    *,
    end_user_id: str,
    name: str,
    kind: str,
    base_url: str,
    models: Sequence[Any],
    bridge_id: str | None = None,
    now: datetime,
) -> str:
    """Note a server of models of an end user, and return its id.

    Raises BadRequest, NotFound (end_user_not_found, bridge_not_found), Forbidden (developer_disabled, app_disabled,
    end_user_disabled) and Conflict (too_many_endpoints: MAX_ENDPOINTS are there).
    """
    columns = {
        "name": inputs.clean_name(name),
        "kind": _clean_kind(kind),
        "base_url": clean_base_url(base_url),
        "served_models": clean_served_models(models),
    }
    user = lock_end_user(end_user_id)  # one at a time, or two could both be the last
    if LocalEndpoint.objects.filter(end_user_id=end_user_id).count() >= MAX_ENDPOINTS:
        raise Conflict(
            _("There are %(most)s local endpoints already: remove one first.") % {"most": MAX_ENDPOINTS},
            code="too_many_endpoints",
        )
    row = LocalEndpoint.objects.create(
        id=new_id("lep"),
        app_id=user.app_id,
        end_user_id=user.id,
        bridge_id=_own_bridge(end_user_id, bridge_id),
        created_at=now,
        changed_at=now,
        **columns,
    )
    return row.id


@transaction.atomic
def change_endpoint(endpoint_id: str, *, end_user_id: str, now: datetime, **changes: Any) -> None:
    """Change what is noted: `name`, `kind`, `base_url`, `models`, `bridge_id` (None: no bridge).

    Raises BadRequest and NotFound (endpoint_not_found, bridge_not_found).
    """
    rows = LocalEndpoint.objects.select_for_update().filter(end_user_id=end_user_id)
    row = rows.filter(pk=endpoint_id).first() if inputs.storable(endpoint_id) else None
    if row is None:
        raise _no_such_endpoint()
    if "name" in changes:
        row.name = inputs.clean_name(changes["name"])
    if "kind" in changes:
        row.kind = _clean_kind(changes["kind"])
    if "base_url" in changes:
        row.base_url = clean_base_url(changes["base_url"])
    if "models" in changes:
        row.served_models = clean_served_models(changes["models"])
    if "bridge_id" in changes:
        row.bridge_id = _own_bridge(end_user_id, changes["bridge_id"])
    row.changed_at = now
    row.save()


def remove_endpoint(endpoint_id: str, *, end_user_id: str) -> None:
    """Forget a server of models of an end user. Raises NotFound (endpoint_not_found)."""
    rows = LocalEndpoint.objects.filter(end_user_id=end_user_id)
    if not inputs.storable(endpoint_id) or not rows.filter(pk=endpoint_id).delete()[0]:
        raise _no_such_endpoint()


def clean_base_url(value: str) -> str:
    """Return the address of a server; raises BadRequest. Names and addresses of private networks are what it is for."""
    url = value.strip()
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises where it is none
    except ValueError:
        parts = urlsplit("")
    if len(url) > MAX_URL or parts.scheme not in ("http", "https") or not parts.hostname or not _printable(url):
        raise BadRequest(_("base_url is an http or https address such as http://127.0.0.1:11434/v1."), param="base_url")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadRequest(_("base_url takes no user, password, query or fragment."), param="base_url")
    return url.rstrip("/")


def clean_served_models(values: Sequence[Any]) -> list[dict[str, Any]]:
    """Return models as `{id, context_window?, capabilities?}`, each id once; raises BadRequest."""
    if len(values) > MAX_MODELS:
        raise BadRequest(f"models takes up to {MAX_MODELS} models.", param="models")
    cleaned = {model["id"]: model for model in (_clean_model(value, n) for n, value in enumerate(values))}
    return list(cleaned.values())


def _clean_model(value: Any, place: int) -> dict[str, Any]:
    where = f"models[{place}]"
    if not isinstance(value, dict) or set(value) - _MEMBERS:
        raise BadRequest(f"{where} is an object of id, context_window and capabilities.", param=where)
    name, window, capabilities = value.get("id"), value.get("context_window"), value.get("capabilities")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not _printable(name):
        raise BadRequest(f"{where}.id takes 1 to 200 printable characters.", param=f"{where}.id")
    model: dict[str, Any] = {"id": name}
    if window is not None:
        if type(window) is not int or not 1 <= window <= MAX_CONTEXT:
            raise BadRequest(
                f"{where}.context_window takes 1 to {MAX_CONTEXT} tokens.", param=f"{where}.context_window"
            )
        model["context_window"] = window
    if capabilities is not None:
        known = isinstance(capabilities, list) and all(isinstance(one, str) for one in capabilities)
        if not known or set(capabilities) - set(CAPABILITIES):
            raise BadRequest(
                f"{where}.capabilities takes a list of {', '.join(CAPABILITIES)}.", param=f"{where}.capabilities"
            )
        model["capabilities"] = list(dict.fromkeys(capabilities))
    return model


def _clean_kind(kind: str) -> str:
    if kind not in EndpointKind.values:
        raise BadRequest(f"kind takes {', '.join(EndpointKind.values)}.", param="kind")
    return kind


def _own_bridge(end_user_id: str, bridge_id: str | None) -> str | None:
    if bridge_id is None:
        return None
    own = Bridge.objects.filter(end_user_id=end_user_id, revoked_at=None)
    if not inputs.storable(bridge_id) or not own.filter(pk=bridge_id).exists():
        raise NotFound(_("There is no such bridge."), code="bridge_not_found", param="bridge_id")
    return bridge_id


def _printable(text: str) -> bool:
    return text.isprintable() and inputs.storable(text)


def _no_such_endpoint() -> NotFound:
    return NotFound(_("There is no such local endpoint."), code="endpoint_not_found", param="endpoint_id")
