"""Background work of the vault: keys are tried with their providers, all once a day, the shared ones all the time."""

from celery import shared_task
from django.conf import settings

from apps.core.clock import now
from apps.vault.services import validate_due
from apps.vault.services.health import check_health


@shared_task(name="vault.validate")
def validate() -> int:
    """Try the keys that are due, some at a time, and return how many there were."""
    return validate_due(now=now(), actor="validation")


@shared_task(name="vault.check_health")
def check() -> int:
    """Try the shared keys and return how many there were."""
    return check_health(threshold=settings.HEALTH_FAILURES, now=now())
