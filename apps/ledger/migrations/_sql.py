"""The SQL that stands beside a migration: `NAME.sql` forwards, `NAME.reverse.sql` back."""

from pathlib import Path

from django.db.migrations import RunSQL


def sibling_sql(migration: str) -> RunSQL:
    """Return the operation for the .sql files beside `migration`, which is that module's `__file__`."""
    path = Path(migration)
    return RunSQL(path.with_suffix(".sql").read_text(), path.with_suffix(".reverse.sql").read_text())
