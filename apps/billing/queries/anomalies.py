"""What other rooms may read of anomalies."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from apps.billing.models.risk import Anomaly, AnomalyScope


@dataclass(frozen=True, slots=True)
class AnomalyInfo:
    """An hour far above what that hour of the day usually has.

    Values of spend are nano-USD, of calls a number, of the error rate tenths of a per cent.
    """

    scope: str
    scope_id: str
    metric: str
    hour: datetime
    value: int
    baseline: int


def anomalies_of(developer_id: str, app_ids: Collection[str], *, limit: int) -> tuple[AnomalyInfo, ...]:
    """Return at most `limit` anomalies of a developer and its apps, newest first."""
    whose = Q(scope=AnomalyScope.DEVELOPER, scope_id=developer_id) | Q(scope=AnomalyScope.APP, scope_id__in=app_ids)
    rows = Anomaly.objects.filter(whose).order_by("-hour", "-id")[:limit]
    return tuple(AnomalyInfo(row.scope, row.scope_id, row.metric, row.hour, row.value, row.baseline) for row in rows)
