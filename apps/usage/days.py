"""What other rooms may read of the daily totals. Amounts are nano-USD, days are UTC's."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import DateField, QuerySet, Sum
from django.db.models.functions import TruncMonth, TruncWeek

from apps.usage.models import UsageDay, UserDay
from apps.usage.rate import DEVELOPER_KEY

SUMS = (
    *("calls", "failed", "cached", "input_tokens", "output_tokens", "price_nano", "cost_nano", "developer_nano"),
    *("platform_nano", "loss_nano", "provider_bill_nano", "duration_ms", "first_byte_ms", "first_bytes"),
)
# Steps of time, each named by its first day; weeks begin on Monday.
STEPS = ("day", "week", "month")
# What the totals may be grouped by.
DIMENSIONS = frozenset({*STEPS, "developer_id", "app_id", "feature_key", "route_mode", "provider", "served_model"})
_TRUNCATED = {"week": TruncWeek, "month": TruncMonth}


@dataclass(frozen=True, slots=True)
class DayTotals:
    """Rated calls added up; `key` holds what they are grouped by, in the order asked for."""

    key: tuple[Any, ...]
    calls: int
    failed: int
    cached: int
    input_tokens: int
    output_tokens: int
    price: int
    cost: int
    developer: int
    platform: int
    loss: int
    provider_bill: int
    duration_ms: int
    first_byte_ms: int
    first_bytes: int

    @property
    def error_rate(self) -> float:
        """Return the part of the calls that failed, from 0 to 1."""
        return self.failed / self.calls if self.calls else 0.0

    @property
    def error_percent(self) -> float:
        """Return the part of the calls that failed, in per cent with two places."""
        return round(100 * self.error_rate, 2)

    @property
    def tokens(self) -> int:
        """Return the tokens in and out."""
        return self.input_tokens + self.output_tokens

    @property
    def mean_first_byte_ms(self) -> int | None:
        """Return the mean time to the first byte, in ms, of the calls that had one."""
        return round(self.first_byte_ms / self.first_bytes) if self.first_bytes else None

    @property
    def mean_ms(self) -> int | None:
        """Return the mean duration of a call in ms."""
        return round(self.duration_ms / self.calls) if self.calls else None


def day_totals(
    *by: str,
    begin: date,
    end: date,
    developer_id: str | None = None,
    app_id: str | None = None,
    feature_key: str | None = None,
) -> list[DayTotals]:
    """Return totals of the days from `begin` to `end` (both included), grouped by `by`, in that order.

    Raises ValueError for an unknown dimension.
    """
    if unknown := set(by) - DIMENSIONS:
        raise ValueError(f"no dimensions: {', '.join(sorted(unknown))}")
    rows: QuerySet[UsageDay] = UsageDay.objects.filter(day__gte=begin, day__lte=end)
    for name, value in (("developer_id", developer_id), ("app_id", app_id), ("feature_key", feature_key)):
        if value is not None:
            rows = rows.filter(**{name: value})
    for step in _TRUNCATED.keys() & set(by):
        rows = rows.annotate(**{step: _TRUNCATED[step]("day", output_field=DateField())})
    sums = {f"sum_{name}": Sum(name) for name in SUMS}
    if not by:
        found = rows.aggregate(**sums)
        return [DayTotals((), *(int(found[name] or 0) for name in sums))]
    return [
        DayTotals(tuple(row[name] for name in by), *(int(row[name]) for name in sums))
        for row in rows.values(*by).annotate(**sums).order_by(*by)
    ]


def summed(rows: Iterable[DayTotals], *key: Any) -> DayTotals:
    """Return totals added up, under a key of their own."""
    found = list(rows)
    sums = (name for name in DayTotals.__dataclass_fields__ if name != "key")
    return DayTotals(key, *(sum(getattr(row, name) for row in found) for name in sums))


def first_of(day: date, step: str) -> date:
    """Return the first day of the step that a day is in."""
    if step == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if step == "week" else day


def every_step(rows: Iterable[DayTotals], *, begin: date, end: date, step: str) -> list[DayTotals]:
    """Return the totals of each step from `begin` to `end` (both included) in order, those without calls too.

    `rows` are grouped by the step alone.
    """
    found = {row.key[0]: row for row in rows}
    days = (begin + timedelta(days=number) for number in range((end - begin).days + 1))
    steps = dict.fromkeys(first_of(day, step) for day in days)
    return [found.get(first) or summed((), first) for first in steps]


def totals_of_days(
    *, days: int, now: datetime, developer_id: str | None = None, app_id: str | None = None
) -> DayTotals:
    """Return the totals of the last `days` days, today included."""
    today = now.astimezone(UTC).date()
    [found] = day_totals(begin=today - timedelta(days=days - 1), end=today, developer_id=developer_id, app_id=app_id)
    return found


# What users paid is in their own days; the rest of the price was charged to virtual keys.
_COST = """
SELECT COALESCE(SUM(price_nano), 0) + COALESCE(SUM(provider_bill_nano) FILTER (WHERE route_mode = %(own)s), 0) - (
    SELECT COALESCE(SUM(price_nano), 0) FROM usage_user_days
    WHERE developer_id = %(developer)s AND day >= %(begin)s AND day <= %(end)s
)
FROM usage_days WHERE developer_id = %(developer)s AND day >= %(begin)s AND day <= %(end)s
"""


def cost_of_days(developer_id: str, *, begin: date, end: date) -> int:
    """Return what a developer's calls of the days from `begin` to `end` (both included) cost the developer.

    It is what `months.cost_of_developer` finds, of rated calls, without walking them.
    """
    values: dict[str, Any] = {"developer": developer_id, "begin": begin, "end": end, "own": DEVELOPER_KEY}
    with connection.cursor() as cursor:
        cursor.execute(_COST, values)
        return int(cursor.fetchone()[0])


@dataclass(frozen=True, slots=True)
class UserTotals:
    """An end user's rated calls, added up."""

    end_user_id: str
    calls: int
    tokens: int
    price: int
    developer: int


def top_users(
    *, begin: date, end: date, developer_id: str, app_id: str | None = None, limit: int = 10
) -> list[UserTotals]:
    """Return the end users that were billed most in the days from `begin` to `end` (both included)."""
    rows = UserDay.objects.filter(developer_id=developer_id, day__gte=begin, day__lte=end)
    if app_id is not None:
        rows = rows.filter(app_id=app_id)
    found = rows.values("end_user_id").annotate(
        sum_calls=Sum("calls"), sum_tokens=Sum("tokens"), sum_price=Sum("price_nano"), sum_share=Sum("developer_nano")
    )
    return [
        UserTotals(
            row["end_user_id"],
            int(row["sum_calls"]),
            int(row["sum_tokens"]),
            int(row["sum_price"]),
            int(row["sum_share"]),
        )
        for row in found.order_by("-sum_price", "-sum_calls", "end_user_id")[:limit]
    ]
