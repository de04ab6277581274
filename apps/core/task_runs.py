"""When each scheduled task ran last, and how: written by whoever runs them, read by operators."""

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError, connection

from apps.core.models import TaskRun

logger = logging.getLogger(__name__)
# A task of every two seconds would write as often: what is known is at most this many seconds old.
EVERY = 10.0
_noted: dict[str, tuple[float, bool]] = {}

_NOTE = """
INSERT INTO task_runs (name, started_at, duration_ms, failures, error, failed_at, succeeded_at)
VALUES (%(name)s, %(started)s, %(ms)s, %(failed)s, %(error)s,
        CASE WHEN %(failed)s = 1 THEN %(started)s::timestamptz END,
        CASE WHEN %(failed)s = 0 THEN %(started)s::timestamptz END)
ON CONFLICT (name) DO UPDATE SET
    started_at = excluded.started_at,
    duration_ms = excluded.duration_ms,
    failures = CASE WHEN excluded.failures = 0 THEN 0 ELSE task_runs.failures + 1 END,
    error = excluded.error,
    failed_at = coalesce(excluded.failed_at, task_runs.failed_at),
    succeeded_at = coalesce(excluded.succeeded_at, task_runs.succeeded_at)
"""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The last run of a task; `failures` in a row, `error` of the last one, empty after a success."""

    name: str
    started_at: datetime
    duration_ms: int
    failures: int
    error: str
    failed_at: datetime | None
    succeeded_at: datetime | None


def note_run(name: str, *, started_at: datetime, seconds: float, problem: str = "") -> None:
    """Keep that a task ran; `problem` is what it raised. Nothing is raised where it cannot be written."""
    last = _noted.get(name)
    moment = time.monotonic()
    if last is not None and moment - last[0] < EVERY and not problem and not last[1]:
        return
    values: dict[str, Any] = {
        "name": name,
        "started": started_at,
        "ms": round(seconds * 1000),
        "failed": 1 if problem else 0,
        "error": problem.replace("\0", "")[:300],
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute(_NOTE, values)
    except DatabaseError:
        logger.warning("task run not noted", extra={"task": name})
        return
    _noted[name] = moment, bool(problem)


def task_runs() -> dict[str, RunInfo]:
    """Return the last run of every task that ran, by its name."""
    rows = TaskRun.objects.values_list(*RunInfo.__dataclass_fields__)
    return {row[0]: RunInfo(*row) for row in rows}
