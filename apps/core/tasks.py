"""Scheduled housekeeping of core's own tables."""

from celery import shared_task

from apps.core.clock import now
from apps.core.epoch import purge_forgotten_callers


@shared_task(name="core.purge_forgotten_callers")
def purge_forgotten() -> int:
    """Delete what every gateway has read; return how many rows."""
    return purge_forgotten_callers(now=now())
