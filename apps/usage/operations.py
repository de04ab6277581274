"""What an operator watches of usage: what waits for rating or delivery, what was set aside. Amounts in nano-USD."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.usage.models import Alert, UsageEvent

# A queue is counted up to here; whatever is longer is as bad.
COUNTED = 10_000

_QUEUES = """
SELECT
    (SELECT count(*) FROM (
        SELECT 1 FROM usage_events WHERE rated_at IS NULL AND rating_error IS NULL LIMIT %(most)s) q),
    (SELECT effective_at FROM usage_events WHERE rated_at IS NULL AND rating_error IS NULL ORDER BY id LIMIT 1),
    (SELECT count(*) FROM (SELECT 1 FROM usage_events WHERE rating_error IS NOT NULL LIMIT %(most)s) q)
"""
_ALERTS = """
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM alerts WHERE next_attempt_at IS NOT NULL LIMIT %(most)s) q),
    (SELECT created_at FROM alerts WHERE next_attempt_at IS NOT NULL ORDER BY next_attempt_at LIMIT 1),
    (SELECT count(*) FROM (
        SELECT 1 FROM alerts WHERE next_attempt_at IS NULL AND delivered_at IS NULL LIMIT %(most)s) q)
"""


@dataclass(frozen=True, slots=True)
class Rating:
    """Calls that wait for rating and since when the first does, and those that were set aside; counted to COUNTED."""

    waiting: int
    since: datetime | None
    set_aside: int


@dataclass(frozen=True, slots=True)
class AlertQueue:
    """Alerts that wait for delivery and since when the next does, and those that were given up; counted to COUNTED."""

    waiting: int
    since: datetime | None
    given_up: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """A call that rating set aside, and why."""

    request_id: str
    problem: str
    effective_at: datetime


@dataclass(frozen=True, slots=True)
class AlertInfo:
    """An alert as operators see it; `developer_id` is None for the operator's own, `problem` empty where it arrived."""

    id: int
    kind: str
    developer_id: str | None
    scope: str
    scope_id: str
    threshold: int | None
    data: dict[str, Any]
    created_at: datetime
    delivered_at: datetime | None
    attempts: int
    problem: str


def queues(*, rating: bool = True, alerts: bool = True) -> tuple[Rating | None, AlertQueue | None]:
    """Return what waits for rating and what waits to be told, each where asked for: looks into partial indexes."""
    parts = [f"({sql}) {name}" for sql, name, asked in ((_QUEUES, "r", rating), (_ALERTS, "a", alerts)) if asked]
    if not parts:
        return None, None
    row = _row("SELECT * FROM " + ", ".join(parts))  # noqa: S608 (ours)
    return Rating(*row[:3]) if rating else None, AlertQueue(*row[-3:]) if alerts else None


def calls_set_aside(*, limit: int) -> tuple[SetAside, ...]:
    """Return at most `limit` calls that rating set aside, the latest first."""
    rows = UsageEvent.objects.filter(rating_error__isnull=False).order_by("-id")
    return tuple(SetAside(row.request_id, row.rating_error or "", row.effective_at) for row in rows[:limit])


def alerts_of_the_operator(*, limit: int) -> tuple[AlertInfo, ...]:
    """Return the latest alerts that are for the operator."""
    return tuple(alert_info(row) for row in Alert.objects.filter(developer_id=None).order_by("-id")[:limit])


def alerts_given_up(*, limit: int) -> tuple[AlertInfo, ...]:
    """Return at most `limit` alerts whose delivery was given up, the latest first."""
    rows = Alert.objects.filter(next_attempt_at=None, delivered_at=None).order_by("-id")
    return tuple(alert_info(row) for row in rows[:limit])


def alert_info(row: Alert) -> AlertInfo:
    return AlertInfo(
        id=row.pk,
        kind=row.kind,
        developer_id=row.developer_id,
        scope=row.scope,
        scope_id=row.scope_id,
        threshold=row.threshold,
        data=row.data,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
        attempts=row.attempts,
        problem=row.last_error or "",
    )


def _row(sql: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"most": COUNTED})
        row: tuple[Any, ...] = cursor.fetchone()
    return row
