"""Kill switches: each room says what of it can be switched off, by which services, and what is off now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models
from django.utils.functional import Promise

# (id, reason=, now=, actor=): a service that switches.
Turn = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Switch:
    """Something that can be switched off: `kind` names it in addresses and the audit trail.

    `on` is None for what is off for good. `when_off` finds the rows that are off; `since` is the column that says since
    when, `why` the one that says why. `note` tells what switching it off does.
    """

    kind: str
    name: str | Promise
    note: str | Promise
    model: type[models.Model]
    off: Turn
    on: Turn | None
    when_off: models.Q
    since: str = ""
    why: str = ""

    @property
    def table(self) -> str:
        return self.model._meta.label_lower

    @property
    def permission(self) -> str:
        """Return the permission that switching takes: to change the table."""
        return f"{self.model._meta.app_label}.change_{self.model._meta.model_name}"


@dataclass(frozen=True, slots=True)
class Off:
    """A row that is switched off now."""

    kind: str
    pk: str
    title: str
    since: datetime | None
    why: str


def off_now(switch: Switch, limit: int) -> tuple[Off, ...]:
    """Return at most `limit` rows that are off, the latest first."""
    order = (f"-{switch.since}",) if switch.since else ("-pk",)
    rows = switch.model._default_manager.filter(switch.when_off).order_by(*order)[:limit]
    return tuple(_off(switch, row) for row in rows)


def is_off(switch: Switch, pk: str) -> bool | None:
    """Tell whether a row is off; None where there is no such row."""
    rows = switch.model._default_manager.filter(pk=pk)
    if not rows.exists():
        return None
    return rows.filter(switch.when_off).exists()


def by_kind(switches: Sequence[Switch], kind: str) -> Switch | None:
    """Return the switch of a kind."""
    return next((switch for switch in switches if switch.kind == kind), None)


def plain(service: Callable[..., object], key: str = "") -> Turn:
    """Return a service that knows no reason as one that is given one; `key` names its id where it takes it by name."""

    def turn(pk: Any, *, reason: str, now: datetime, actor: str) -> object:
        return service(now=now, actor=actor, **{key: pk}) if key else service(pk, now=now, actor=actor)

    return turn


def _off(switch: Switch, row: Any) -> Off:
    since = getattr(row, switch.since) if switch.since else None
    return Off(switch.kind, str(row.pk), str(row), since, getattr(row, switch.why) if switch.why else "")
