"""Celery: the application, and the schedule that beat (or `manage.py sweep`) runs."""

import os
import time
from typing import Any

from celery import Celery, Task

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelfaucet.settings")

from modelfaucet import env


class NotedTask(Task):
    """A task of which a worker keeps when it ran last and what it raised; a plain call of it keeps nothing."""

    began: tuple[Any, float] | None = None  # a worker's process runs one task at a time

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        from apps.core.clock import now

        self.began = now(), time.monotonic()

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self._note("")

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self._note(f"{type(exc).__name__}: {exc}")

    def _note(self, problem: str) -> None:
        from apps.core.task_runs import note_run  # its table is not ready before

        if self.began is not None:
            started_at, began = self.began
            note_run(self.name, started_at=started_at, seconds=time.monotonic() - began, problem=problem)


app = Celery("modelfaucet", task_cls=NotedTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Rows are the queues: a task that is late, lost or doubled changes nothing, so a stale one may expire.
app.conf.beat_schedule = {
    "usage.rate": {
        "task": "usage.rate",
        "schedule": env.RATING_INTERVAL,
        "options": {"expires": max(env.RATING_INTERVAL, 1)},
    },
    "usage.sweep_holds": {"task": "usage.sweep_holds", "schedule": 5.0, "options": {"expires": 5}},
    "usage.deliver_alerts": {"task": "usage.deliver_alerts", "schedule": 10.0, "options": {"expires": 10}},
    "usage.purge_idempotency": {"task": "usage.purge_idempotency", "schedule": 600.0, "options": {"expires": 600}},
    "usage.purge_semantic_entries": {
        "task": "usage.purge_semantic_entries",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
    "usage.purge_prompt_logs": {"task": "usage.purge_prompt_logs", "schedule": 600.0, "options": {"expires": 600}},
    "features.purge_page_links": {
        "task": "features.purge_page_links",
        "schedule": 3_600.0,
        "options": {"expires": 3_600},
    },
    "core.purge_forgotten_callers": {
        "task": "core.purge_forgotten_callers",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
    # Often and little at a time: each key once a day, and the one sweeper of the embedded profile has other work.
    "vault.validate": {"task": "vault.validate", "schedule": 300.0, "options": {"expires": 300}},
    "vault.check_health": {
        "task": "vault.check_health",
        "schedule": env.HEALTH_INTERVAL,
        "options": {"expires": max(env.HEALTH_INTERVAL, 1)},
    },
    "billing.handle_events": {"task": "billing.handle_events", "schedule": 2.0, "options": {"expires": 2}},
    "billing.purge_events": {"task": "billing.purge_events", "schedule": 3600.0, "options": {"expires": 3600}},
    "billing.mirror_events": {"task": "billing.mirror_events", "schedule": 10.0, "options": {"expires": 10}},
    "billing.draw_lots": {"task": "billing.draw_lots", "schedule": 60.0, "options": {"expires": 60}},
    "billing.expire_lots": {"task": "billing.expire_lots", "schedule": 300.0, "options": {"expires": 300}},
    "billing.notices": {"task": "billing.notices", "schedule": 600.0, "options": {"expires": 600}},
    "billing.settle_top_ups": {"task": "billing.settle_top_ups", "schedule": 30.0, "options": {"expires": 30}},
    "billing.auto_top_up": {"task": "billing.auto_top_up", "schedule": 60.0, "options": {"expires": 60}},
    "billing.write_off_disputes": {
        "task": "billing.write_off_disputes",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "ledger.reconcile": {"task": "ledger.reconcile", "schedule": 3600.0, "options": {"expires": 3600}},
    "billing.score_risk": {"task": "billing.score_risk", "schedule": 3600.0, "options": {"expires": 3600}},
    # Of the last complete hour, so an early one in each hour counts; the others only add what came late.
    "billing.find_anomalies": {"task": "billing.find_anomalies", "schedule": 600.0, "options": {"expires": 600}},
    "billing.purge_fingerprints": {
        "task": "billing.purge_fingerprints",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "billing.propose_payouts": {"task": "billing.propose_payouts", "schedule": 21600.0, "options": {"expires": 21600}},
    "billing.send_payouts": {"task": "billing.send_payouts", "schedule": 30.0, "options": {"expires": 30}},
    # Once a day; looked at every hour, so that a failed one is done again.
    "billing.reconcile_stripe": {
        "task": "billing.reconcile_stripe",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
    "billing.measure_plans": {
        "task": "billing.measure_plans",
        "schedule": env.PLAN_INTERVAL,
        "options": {"expires": max(env.PLAN_INTERVAL, 1)},
    },
    "billing.settle_subscriptions": {
        "task": "billing.settle_subscriptions",
        "schedule": 120.0,
        "options": {"expires": 120},
    },
    "billing.charge_fees": {"task": "billing.charge_fees", "schedule": 60.0, "options": {"expires": 60}},
    "billing.bill_value": {"task": "billing.bill_value", "schedule": 3600.0, "options": {"expires": 3600}},
}
