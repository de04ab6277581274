"""Background work of risk: scores, anomalies, fingerprints past their time."""

from celery import shared_task

from apps.billing.services.anomalies import find_anomalies
from apps.billing.services.fingerprints import purge_fingerprints
from apps.billing.services.risk import score_active
from apps.core.clock import now


@shared_task(name="billing.score_risk")
def score_risk() -> int:
    """Judge whoever was active within the last hour and return how many that were."""
    return score_active(now=now())


@shared_task(name="billing.find_anomalies")
def look_for_anomalies() -> int:
    """Sum up the hours that have ended, compare the last one, and return how many anomalies are new."""
    return find_anomalies(now=now())


@shared_task(name="billing.purge_fingerprints")
def purge() -> int:
    """Delete fingerprints that were not seen for long and return how many there were."""
    return purge_fingerprints(now=now())
