"""What tells the gateways that something they know has changed: the policy epoch, and a feed of single callers.

A change of the epoch drops everything a process knows. A row of `forgotten_callers` drops what it knows of one session,
virtual key, end user or developer, so that what end users may do as often as they like costs nobody else a query.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection

from apps.core.models import ForgottenCaller

# How long a row stays. A reader that was away for longer than PATIENCE takes everything for changed.
RETENTION = timedelta(hours=1)
PATIENCE = 300.0

# One statement and so one snapshot. Whatever commits after it has a transaction id that is not below the oldest one
# running now (`horizon`), from which the next reading starts.
READ_CHANGES = """
SELECT epoch.number, epoch.xmin::text, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
       forgotten.id, forgotten.subject_id
FROM policy_epoch epoch
LEFT JOIN forgotten_callers forgotten ON forgotten.transaction_id >= %s::bigint
WHERE epoch.id = 1
"""

Row = tuple[int, str, int, int | None, str | None]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a process must forget: `everything`, or what it knows of callers with one of the ids in `callers`."""

    everything: bool
    callers: frozenset[str] = frozenset()


@dataclass(slots=True)
class ChangeFeed:
    """One reader's place in the feed. Execute READ_CHANGES with `since`, and give `take` all rows.

    >>> feed = ChangeFeed()
    >>> changes = feed.take(await (await connection.execute(READ_CHANGES, (feed.since,))).fetchall(), at=loop.time())
    """

    since: int | None = None
    _epoch: tuple[int, str] | None = None
    _seen: frozenset[int] = frozenset()
    _last: float = field(default=float("-inf"))

    def take(self, rows: Iterable[Row], *, at: float) -> Changes:
        """Return what changed since the last reading; `at` is in seconds of any clock that never goes back.

        The first reading, one after a long absence, and one of a database that was restored change everything.
        """
        rows = list(rows)
        epoch = (rows[0][0], rows[0][1]) if rows else None
        horizon = rows[0][2] if rows else None
        found = {row[3]: row[4] for row in rows if row[3] is not None and row[4] is not None}
        turned_back = horizon is not None and self.since is not None and horizon < self.since
        everything = epoch != self._epoch or at - self._last > PATIENCE or turned_back
        callers = frozenset(subject for row_id, subject in found.items() if row_id not in self._seen)
        self._epoch, self.since, self._seen, self._last = epoch, horizon, frozenset(found), at
        return Changes(everything, frozenset() if everything else callers)


def forget_caller(kind: str, subject_id: str) -> None:
    """Make every gateway load again what it knows of one caller, within a poll of this transaction's commit.

    `kind` is session, virtual_key, end_user or developer, and `subject_id` its id; a developer stands for every caller
    of its apps. For changes that end users or developers make about themselves, such as keys of their own.
    """
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO forgotten_callers (kind, subject_id) VALUES (%s, %s)", [kind, subject_id])


def forget_everything() -> None:
    """Move the policy epoch: every process drops all that it knows."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE policy_epoch SET number = number + 1 WHERE id = 1")


def purge_forgotten_callers(*, now: datetime) -> int:
    """Delete rows that every gateway has read; return how many."""
    return ForgottenCaller.objects.filter(created_at__lt=now - RETENTION).delete()[0]
