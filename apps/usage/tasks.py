"""Background work of usage: rating, holds whose process died, alerts to deliver, what has expired."""

from datetime import datetime

from celery import shared_task
from django.db import connection

from apps.core.clock import now
from apps.usage.services import alerts
from apps.usage.services.idempotency import purge_expired
from apps.usage.services.prompt_logs import purge_prompt_logs
from apps.usage.services.rating import BATCH, rate_pending
from apps.usage.services.similar import purge_semantic_entries
from apps.usage.services.sweeping import sweep_holds, sweep_uses


@shared_task(name="usage.rate")
def rate() -> int:
    """Rate every unrated event, batch by batch, and return how many there were."""
    total = 0
    while taken := rate_pending(now=now()):
        total += taken
        if taken < BATCH:
            break
    return total


@shared_task(name="usage.sweep_holds")
def sweep() -> int:
    """Resolve the holds whose lease ran out, free what ended calls reserve of budgets, and return how many there were.

    By the clock that leases are written with: a worker's that runs ahead would take live streams for dead.
    """
    return sweep_holds(now=database_clock()) + sweep_uses()


@shared_task(name="usage.purge_idempotency")
def purge_idempotency() -> int:
    """Forget answers kept for an Idempotency-Key past their time and return how many there were."""
    return purge_expired(now=now())


@shared_task(name="usage.purge_prompt_logs")
def purge_prompts() -> int:
    """Delete logged prompts past their time and return how many there were."""
    return purge_prompt_logs(now=now())


@shared_task(name="usage.purge_semantic_entries")
def purge_similar() -> int:
    """Delete the vectors of prompts whose answers are no longer kept and return how many there were."""
    return purge_semantic_entries(now=now())


@shared_task(name="usage.deliver_alerts")
def deliver_alerts() -> int:
    """Tell of the budgets that passed a threshold and return how many alerts were delivered."""
    return alerts.deliver_alerts(now=now())


def database_clock() -> datetime:
    """Return the present moment as the database sees it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
