"""When each scheduled task ran last, and what was given up and waits for a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _

from apps.billing.queries import operations as billing
from apps.billing.queries.reconciliation import reconciliation_state
from apps.console.operator.links import Reader
from apps.core.task_runs import RunInfo, task_runs
from apps.usage import operations as usage

MOST = 20
# A task that should have run by now, with this much patience: it waits behind others, and what is known is rounded.
PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Task:
    """A line of the schedule and its last run (None: never); `tone` says how it does."""

    name: str
    interval: float
    run: RunInfo | None
    state: str
    tone: str


def state(reader: Reader, schedule: Mapping[str, float], *, now: datetime) -> dict[str, Any]:
    """Return what the page of queues shows to whoever looks."""
    context: dict[str, Any] = {}
    if reader.sees("core.taskrun"):
        runs = task_runs()
        tasks = [_task(name, interval, runs.get(name), now) for name, interval in schedule.items()]
        rank = {"bad": 0, "warn": 1, "off": 2, "good": 3}
        context["tasks"] = sorted(tasks, key=lambda task: (rank[task.tone], task.name))
    if reader.sees("usage.usageevent"):
        context["set_aside"] = usage.calls_set_aside(limit=MOST)
        context["set_aside_url"] = reader.list_of("usage.usageevent", rating="set_aside")
        context["may_rate"] = reader.changes("usage.usageevent")
    if reader.sees("billing.stripeevent"):
        context["events"] = billing.events_given_up(limit=MOST)
        context["events_url"] = reader.list_of("billing.stripeevent", state="given_up")
        context["may_handle"] = reader.changes("billing.stripeevent")
    if reader.sees("usage.alert"):
        context["alerts"] = usage.alerts_given_up(limit=MOST)
        context["alerts_url"] = reader.list_of("usage.alert", next_attempt_at__isnull=True, delivered_at__isnull=True)
        context["may_deliver"] = reader.changes("usage.alert")
    if reader.sees("billing.reconciliationitem"):
        context["reconciliation"] = reconciliation_state()
        context["differences_url"] = reader.list_of("billing.reconciliationitem", resolution="open")
    return context


def _task(name: str, interval: float, run: RunInfo | None, now: datetime) -> Task:
    if run is None:
        return Task(name, interval, run, _("has not run yet"), "off")
    if run.failures:
        return Task(name, interval, run, _("failed %(count)d times in a row") % {"count": run.failures}, "bad")
    late = now - run.started_at - timedelta(milliseconds=run.duration_ms, seconds=interval)
    if late > PATIENCE + timedelta(seconds=interval):
        return Task(name, interval, run, _("late"), "warn")
    return Task(name, interval, run, _("runs"), "good")
