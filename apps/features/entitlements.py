"""What other rooms may ask of developers' plans. Nothing is limited where there is no answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from apps.features.models import Entitlement, VirtualKey

# In place of a developer: all who have no entitlements of their own.
EVERYBODY = ""


@dataclass(frozen=True, slots=True)
class Entitlements:
    """What a plan lets its developer do; None is without a limit. `gates` are the gated parts that it includes."""

    plan: str
    upgrade: str
    tokens_per_month: int | None
    max_virtual_keys: int | None
    retention_days: int | None
    gates: tuple[str, ...]


_FIELDS = tuple(Entitlements.__dataclass_fields__)


def entitlements_of(developer_id: str) -> Entitlements | None:
    """Return what a developer's plan lets it do, None where nothing is limited; one query."""
    rows = Entitlement.objects.filter(developer_id__in=(developer_id, EVERYBODY)).order_by("-developer_id")
    found = rows.values_list(*_FIELDS).first()
    return None if found is None else _read(found)


def kept_since(developer_id: str, *, now: datetime) -> datetime | None:
    """Return since when a developer's calls are shown one by one, None where that is for ever."""
    plan = entitlements_of(developer_id)
    return None if plan is None or plan.retention_days is None else now - timedelta(days=plan.retention_days)


def all_entitlements() -> dict[str, Entitlements]:
    """Return what plans let developers do, by developer; under EVERYBODY what holds for all others."""
    rows = Entitlement.objects.values_list("developer_id", *_FIELDS)
    return {row[0]: _read(row[1:]) for row in rows}


def virtual_keys_in_use(developer_id: str, *, now: datetime) -> int:
    """Return how many of a developer's virtual keys are neither revoked nor expired."""
    keys = VirtualKey.objects.filter(developer_id=developer_id, revoked_at=None)
    return keys.filter(Q(expires_at=None) | Q(expires_at__gt=now)).count()


def _read(row: tuple[Any, ...]) -> Entitlements:
    values = dict(zip(_FIELDS, row, strict=True))
    return Entitlements(**values | {"gates": tuple(values["gates"])})
