"""The clock. Only doors, tasks and commands read it; below them `now` is an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)
