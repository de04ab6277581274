"""The sweeper: every scheduled task, one after the other, whatever one of them raises."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery.schedules import crontab
from django.core.management import CommandError, call_command
from django.db import connection

from modelfaucet.celery import app
from modelfaucet.management.commands.sweep import LONGEST_BACK_OFF, Job, jobs_of
from tests.wiring.test_embedded import ROOT


def test_schedule_holds_every_line_of_beat() -> None:
    jobs = {job.name: job.interval for job in jobs_of(app.conf.beat_schedule)}
    assert jobs == {name: float(entry["schedule"]) for name, entry in app.conf.beat_schedule.items()}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"task": "usage.rate", "schedule": crontab(hour=3)}, "intervals of seconds only"),
        ({"task": "no.such", "schedule": timedelta(seconds=1)}, "no task 'no.such'"),
    ],
)
def test_schedule_that_cannot_be_run_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        jobs_of({"odd": entry})


@pytest.mark.django_db(transaction=True)
def test_once_runs_every_task() -> None:
    call_command("sweep", "--once")


def failing(times: int) -> Callable[[], None]:
    left = times

    def run() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ValueError("broken")

    return run


@pytest.mark.django_db
def test_failing_task_is_tried_again_later_and_later_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    job = Job("odd", failing(3), interval=0.5)
    pauses = []
    for _ in range(4):
        job.attempt()
        pauses.append(round(job.due_at - time.monotonic()))
    assert pauses[:3] == [1, 2, 4]
    assert job.failures == 0
    assert [record.message for record in caplog.records] == ["task failed"] * 3


@pytest.mark.django_db
def test_pause_between_failures_has_a_bound() -> None:
    job = Job("odd", failing(100), interval=0.5)
    for _ in range(40):
        job.attempt()
    assert job.due_at - time.monotonic() <= LONGEST_BACK_OFF


def end_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_sweeper_survives_lost_connections_and_ends_on_sigterm(process_environment: dict[str, str]) -> None:
    environment = {**process_environment, "RATING_INTERVAL": "0.05", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "manage.py", "sweep"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("ledger reconciled" in line for line in process.stderr)
            for _ in range(3):
                end_connections()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, errors
