"""Months in UTC, by which plans, fees and value pricing count. Pure."""

import calendar
from datetime import UTC, date, datetime


def month_of(moment: datetime) -> date:
    """Return the first day of a moment's month."""
    return moment.astimezone(UTC).date().replace(day=1)


def month_after(month: date, count: int = 1) -> date:
    """Return the first day of the month that is `count` later; a negative count goes back."""
    index = month.year * 12 + month.month - 1 + count
    return date(index // 12, index % 12 + 1, 1)


def start_of(month: date) -> datetime:
    """Return the first moment of a month."""
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def months_later(anchor: datetime, count: int) -> datetime:
    """Return the same day and time of the month that is `count` later, or the last day of a month without that day."""
    anchor = anchor.astimezone(UTC)
    month = month_after(anchor.date().replace(day=1), count)
    day = min(anchor.day, calendar.monthrange(month.year, month.month)[1])
    return anchor.replace(year=month.year, month=month.month, day=day)
