"""A developer's forecast and advice, from its daily totals and a look at its latest calls. Amounts in nano-USD."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection

from apps.catalog.queries import active_offers
from apps.usage.advice import WINDOW, Advice, Forecast, Sample, advise, forecast
from apps.usage.days import day_totals

# Calls that are looked at for repeated prompts and streams: enough to tell a part, few enough to be at hand.
SAMPLED = 10_000
_SAMPLES = """
SELECT app_id, feature_key, count(*), count(prompt_hash) FILTER (WHERE cache IS NULL),
       count(DISTINCT prompt_hash) FILTER (WHERE cache IS NULL), count(*) FILTER (WHERE NOT stream), count(cache)
FROM (
    SELECT app_id, feature_key, prompt_hash, stream, cache FROM usage_events
    WHERE developer_id = %s AND effective_at >= %s ORDER BY effective_at DESC LIMIT %s
) latest
GROUP BY app_id, feature_key
ORDER BY app_id, feature_key
"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the month will come to, and what would make it cheaper, from the calls of the last `days` days."""

    forecast: Forecast
    advice: tuple[Advice, ...]
    days: int


def forecast_of(developer_id: str, *, now: datetime) -> Forecast:
    """Return what a developer's month will come to."""
    today = now.astimezone(UTC).date()
    begin = min(today - timedelta(days=WINDOW), today.replace(day=1))
    return forecast(day_totals("day", begin=begin, end=today, developer_id=developer_id), today=today)


def outlook_of(developer_id: str, *, now: datetime) -> Outlook:
    """Return a developer's forecast and advice."""
    expected = forecast_of(developer_id, now=now)
    today = now.astimezone(UTC).date()
    days = expected.averaged + 1
    if expected.daily is None:
        return Outlook(expected, (), days)
    by = ("app_id", "feature_key", "route_mode", "provider", "served_model")
    uses = day_totals(*by, begin=today - timedelta(days=expected.averaged), end=today, developer_id=developer_id)
    advice = advise(uses, active_offers(now=now), samples(developer_id, now=now), days=days)
    return Outlook(expected, advice, days)


def samples(developer_id: str, *, now: datetime) -> list[Sample]:
    """Return what a developer's latest calls are like, by feature."""
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLES, [developer_id, now - timedelta(days=WINDOW), SAMPLED])
        return [Sample(*row) for row in cursor.fetchall()]
