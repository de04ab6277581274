import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections

from apps.core.clock import now
from apps.core.task_runs import note_run
from modelfaucet.celery import app

logger = logging.getLogger(__name__)
LONGEST_BACK_OFF = 60.0


@dataclass
class Job:
    """One line of the schedule. Times are seconds of the monotonic clock, which no clock change moves."""

    name: str
    run: Callable[[], object]
    interval: float
    due_at: float = field(default_factory=time.monotonic)
    failures: int = 0
    # Keeps when it ran and what it raised: (name, started_at=, seconds=, problem=).
    note: Callable[..., None] | None = None

    def attempt(self) -> bool:
        """Run the task, log what it raises, and set when it is due again. Tell whether it succeeded."""
        close_old_connections()
        started_at, began, problem = now(), time.monotonic(), ""
        try:
            self.run()
        except Exception as error:  # whatever it is, the other tasks go on and this one is tried again
            self.failures += 1
            problem = f"{type(error).__name__}: {error}"
            logger.exception("task failed", extra={"task": self.name, "failures": self.failures})
        else:
            self.failures = 0
        finally:
            if self.note is not None:
                self.note(self.name, started_at=started_at, seconds=time.monotonic() - began, problem=problem)
            close_old_connections()
        self.due_at = time.monotonic() + self._pause()
        return not self.failures

    def _pause(self) -> float:
        if not self.failures:
            return self.interval
        return max(self.interval, min(LONGEST_BACK_OFF, 0.5 * 2.0 ** min(self.failures, 10)))


def jobs_of(beat_schedule: Mapping[str, Mapping[str, Any]]) -> list[Job]:
    """Return the jobs of a schedule of Celery's beat. Raise CommandError for one this cannot run."""
    jobs = []
    app.loader.import_default_modules()
    for name, entry in beat_schedule.items():
        interval, task = entry["schedule"], app.tasks.get(entry["task"])
        if isinstance(interval, timedelta):
            interval = interval.total_seconds()
        if not isinstance(interval, int | float):
            raise CommandError(f"{name}: the sweeper runs intervals of seconds only, not {interval!r}.")
        if task is None:
            raise CommandError(f"{name}: there is no task {entry['task']!r}.")
        jobs.append(Job(name, task, float(interval), note=note_run))
    return jobs


class Command(BaseCommand):
    help = "Run the scheduled tasks one after the other, without a broker; rows are the queues."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="run every task once and end")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        jobs = jobs_of(app.conf.beat_schedule)
        if once:
            failed = [job.name for job in jobs if not job.attempt()]
            if failed:
                raise CommandError(f"Failed: {', '.join(failed)}.")
            return
        stopping = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            stopping.set()  # the task that is running is finished first

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        while jobs and not stopping.is_set():
            job = min(jobs, key=lambda job: job.due_at)
            if not stopping.wait(max(0.0, job.due_at - time.monotonic())):
                job.attempt()
