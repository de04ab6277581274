"""Anomalies: hours in which spend, calls or errors were far above what the same hour of other days had.

The hours of each app are summed up once they have ended. The baseline is the median of the same hour (UTC) of the 14
days before, and how far it usually strays the median of the distances from it (MAD): neither moves because a few of
those hours were spikes themselves.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median_low
from typing import Any

from django.db import connection, transaction

from apps.billing.models.risk import Anomaly, AnomalyScope, AppHour, Metric
from apps.core.money import NANO_PER_USD, usd
from apps.features.queries import app_developers
from apps.usage.activity import hours_of_apps
from apps.usage.services.alerts import raise_alert

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAYS = 14
# Fewer days than these are no baseline.
LEAST_DAYS = 5
# So many times the usual distance from the median is far; 1.4826 × MAD is a standard deviation of what is normal.
DISTANCE = 6 * 1.4826
# And at least so many times the median, whose distances are 0 where every day is alike.
TIMES = 2
# Below these there is nothing to worry about: nano-USD, calls, and of errors tenths of a per cent of so many calls.
LEAST = {Metric.SPEND: 5 * NANO_PER_USD, Metric.CALLS: 200, Metric.ERROR_RATE: 100}
LEAST_CALLS = 50
# A spike that goes on is told when it begins; it is over when so many hours had none.
QUIET = 3 * HOUR
# How long the sums are kept: the baseline and the hour before it.
KEEP = (DAYS + 2) * DAY

_STORE = """
INSERT INTO app_hours (app_id, developer_id, hour, calls, failed, spend_nano)
SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS t (app_id, developer_id, hour, calls, failed, spend_nano) ORDER BY app_id, hour
ON CONFLICT (app_id, hour) DO UPDATE
SET calls = excluded.calls, failed = excluded.failed, spend_nano = excluded.spend_nano
"""


@dataclass(frozen=True, slots=True)
class Volume:
    """What an hour had of calls, failed calls and spend (nano-USD)."""

    calls: int = 0
    failed: int = 0
    spend: int = 0

    def __add__(self, other: "Volume") -> "Volume":
        return Volume(self.calls + other.calls, self.failed + other.failed, self.spend + other.spend)

    def of(self, metric: Metric) -> int | None:
        """Return the value of a metric; None for the error rate of too few calls."""
        if metric == Metric.ERROR_RATE:
            return self.failed * 1000 // self.calls if self.calls >= LEAST_CALLS else None
        return self.spend if metric == Metric.SPEND else self.calls


def find_anomalies(*, now: datetime) -> int:
    """Compare the last complete hour with its baseline, store and tell what is far above, and return how many are new.

    Again for the same hour finds what late calls have added and tells nothing twice.
    """
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
    sum_up(until=hour + HOUR)
    AppHour.objects.filter(hour__lt=hour - KEEP).delete()
    return sum(_store(anomaly) for anomaly in _compare(hour, now))


def sum_up(*, until: datetime) -> int:
    """Sum up the hours of all apps before `until` that are not summed up yet, and return how many there were.

    The last two hours are summed up again: a long call is stored some time after its hour has ended. What was never
    summed up goes back as far as a baseline does.
    """
    latest = AppHour.objects.filter(hour__lt=until).order_by("-hour").values_list("hour", flat=True).first()
    begin = until - DAYS * DAY - HOUR
    if latest is not None:
        begin = max(begin, min(latest, until - HOUR) - HOUR)
    hours = hours_of_apps(sorted(app_developers()), begin=begin, end=until)
    columns: list[list[Any]] = [
        [getattr(row, name) for row in hours] for name in ("app_id", "developer_id", "hour", "calls", "failed", "spend")
    ]
    with connection.cursor() as cursor:
        cursor.execute(_STORE, columns)
    return len(hours)


def is_far(value: int, days: Sequence[int], metric: Metric) -> tuple[int, int] | None:
    """Return (baseline, threshold) where `value` is above what the same hour of other `days` allows, else None."""
    if len(days) < LEAST_DAYS:
        return None
    middle = median_low(days)
    usual = median_low(abs(day - middle) for day in days)
    threshold = max(middle + round(DISTANCE * usual), middle * TIMES, LEAST[metric])
    return (middle, threshold) if value > threshold else None


def _compare(hour: datetime, now: datetime) -> Iterator[Anomaly]:
    wanted = [hour - days * DAY for days in range(DAYS + 1)]
    first = AppHour.objects.order_by("hour").values_list("hour", flat=True).first()
    since = _since()
    volumes: dict[tuple[AnomalyScope, str], dict[datetime, Volume]] = defaultdict(dict)
    for row in AppHour.objects.filter(hour__in=wanted):
        volume = Volume(row.calls, row.failed, row.spend_nano)
        for scope in (
            (AnomalyScope.APP, row.app_id),
            (AnomalyScope.DEVELOPER, row.developer_id),
            (AnomalyScope.PLATFORM, ""),
        ):
            volumes[scope][row.hour] = volumes[scope].get(row.hour, Volume()) + volume
    for (scope_kind, scope_id), hours in sorted(volumes.items()):
        if hour not in hours:
            continue
        began = since.get((scope_kind, scope_id), first)
        # An hour without calls counts as one with none, from when there were calls at all.
        before = [hours.get(at, Volume()) for at in wanted[1:] if began is not None and at >= began]
        for metric in Metric:
            value = hours[hour].of(metric)
            days = [day for volume in before if (day := volume.of(metric)) is not None]
            if value is None or (found := is_far(value, days, metric)) is None:
                continue
            yield Anomaly(
                scope=scope_kind,
                scope_id=scope_id,
                metric=metric,
                hour=hour,
                value=value,
                baseline=found[0],
                threshold=found[1],
                days=len(days),
                created_at=now,
            )


def _since() -> dict[tuple[AnomalyScope, str], datetime]:
    """Return from which hour on each app and developer had calls."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT app_id, developer_id, min(hour) FROM app_hours GROUP BY 1, 2")
        rows = cursor.fetchall()
    since: dict[tuple[AnomalyScope, str], datetime] = {}
    for app_id, developer_id, hour in rows:
        since[AnomalyScope.APP, app_id] = hour
        known = since.get((AnomalyScope.DEVELOPER, developer_id), hour)
        since[AnomalyScope.DEVELOPER, developer_id] = min(known, hour)
    return since


@transaction.atomic
def _store(anomaly: Anomaly) -> bool:
    """Store an anomaly, tell whom it concerns unless it goes on from before, and return whether it is news."""
    same = Anomaly.objects.filter(scope=anomaly.scope, scope_id=anomaly.scope_id, metric=anomaly.metric)
    if same.filter(hour=anomaly.hour).exists():
        return False
    goes_on = same.filter(hour__gte=anomaly.hour - QUIET, hour__lt=anomaly.hour).exists()
    Anomaly.objects.bulk_create([anomaly], ignore_conflicts=True)
    if goes_on:
        return True
    readers: list[str | None] = [None]
    if anomaly.scope == AnomalyScope.DEVELOPER:
        readers.append(anomaly.scope_id)
    elif anomaly.scope == AnomalyScope.APP:
        readers.append(app_developers()[anomaly.scope_id])
    for reader in readers:
        raise_alert(
            "anomaly",
            f"{anomaly.metric}:{anomaly.scope}:{anomaly.scope_id}:{anomaly.hour:%Y-%m-%dT%H}",
            developer_id=reader,
            scope=anomaly.scope,
            scope_id=anomaly.scope_id,
            data={
                "metric": str(anomaly.metric),
                "hour": anomaly.hour.isoformat(),
                "value": shown(anomaly.metric, anomaly.value),
                "baseline": shown(anomaly.metric, anomaly.baseline),
                "threshold": shown(anomaly.metric, anomaly.threshold),
                "days": anomaly.days,
            },
            now=anomaly.created_at,
        )
    return True


def shown(metric: str, value: int) -> str:
    """Return a value of a metric as text: USD, a number, or per cent with one decimal."""
    if metric == Metric.SPEND:
        return usd(value)
    return f"{value // 10}.{value % 10}" if metric == Metric.ERROR_RATE else str(value)
