"""Sums over calls by whom they are of, for rooms that watch how calls behave. Amounts are nano-USD.

Every query names whom it is about and since when, so that the indexes on (whom, time) bound what it reads. Calls of
virtual keys have no end user; where end users are counted they are left out.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.usage.models import Outcome

FAILED = [Outcome.ERROR_FINISH, Outcome.PROVIDER_FAILED, Outcome.NOT_SERVED, Outcome.ABANDONED]
_COLUMNS = {"app": "app_id", "developer": "developer_id", "end_user": "end_user_id"}


@dataclass(frozen=True, slots=True)
class Hour:
    """An app's calls in one hour; `failed` are those that no provider answered to the end."""

    app_id: str
    developer_id: str
    hour: datetime
    calls: int
    failed: int
    spend: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Calls and spend of the last hour, and the mean of those hours before it in which there were calls at all."""

    calls: int
    spend: int
    hours: int
    mean_calls: int
    mean_spend: int


@dataclass(frozen=True, slots=True)
class Payer:
    """What one end user spent with an app or developer, out of `account_id`, and what all end users did (`total`)."""

    subject_id: str
    end_user_id: str
    account_id: int
    spend: int
    total: int


@dataclass(frozen=True, slots=True)
class PriceMove:
    """What calls cost their payers lately, and what they would have at the prices of the days before."""

    calls: int
    price: int
    expected: int


def hours_of_apps(app_ids: Collection[str], *, begin: datetime, end: datetime) -> list[Hour]:
    """Return the hours in which each app had calls; `begin` and `end` (exclusive) are whole hours."""
    return [
        Hour(*row)
        for row in _rows(
            """
            SELECT a.id, e.developer_id, e.hour, e.calls, e.failed, e.spend
            FROM unnest(%s::text[]) AS a (id)
            CROSS JOIN LATERAL (
                SELECT min(developer_id) AS developer_id, date_trunc('hour', effective_at, 'UTC') AS hour,
                       count(*) AS calls, count(*) FILTER (WHERE outcome = ANY(%s)) AS failed,
                       sum(price_nano)::bigint AS spend
                FROM usage_events WHERE app_id = a.id AND effective_at >= %s AND effective_at < %s
                GROUP BY 2
            ) e
            """,
            [*app_ids],
            [*map(str, FAILED)],
            begin,
            end,
        )
    ]


def totals_of(kind: str, ids: Collection[str], *, begin: datetime, end: datetime) -> dict[str, tuple[int, int]]:
    """Return (calls, spend) by id of each app, developer or end user with calls; `end` is exclusive."""
    rows = _rows(
        f"""
        SELECT {_COLUMNS[kind]}, count(*), sum(price_nano)::bigint FROM usage_events
        WHERE {_COLUMNS[kind]} = ANY(%s) AND effective_at >= %s AND effective_at < %s GROUP BY 1
        """,  # noqa: S608 (a column of ours)
        [*ids],
        begin,
        end,
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def pace_of_end_users(ids: Collection[str], *, begin: datetime, split: datetime, end: datetime) -> dict[str, Pace]:
    """Return by id the pace of end users: from `split` on (to `end`) against the hours from `begin` until then."""
    rows = _rows(
        """
        WITH hours AS (
            SELECT end_user_id, effective_at >= %s AS late,
                   CASE WHEN effective_at < %s THEN date_trunc('hour', effective_at) END AS hour,
                   count(*) AS calls, sum(price_nano) AS spend
            FROM usage_events WHERE end_user_id = ANY(%s) AND effective_at >= %s AND effective_at < %s
            GROUP BY 1, 2, 3
        )
        SELECT end_user_id, coalesce(sum(calls) FILTER (WHERE late), 0)::bigint,
               coalesce(sum(spend) FILTER (WHERE late), 0)::bigint, count(*) FILTER (WHERE NOT late),
               coalesce(avg(calls) FILTER (WHERE NOT late), 0)::bigint,
               coalesce(avg(spend) FILTER (WHERE NOT late), 0)::bigint
        FROM hours GROUP BY 1
        """,
        split,
        split,
        [*ids],
        begin,
        end,
    )
    return {row[0]: Pace(*row[1:]) for row in rows}


def payers_of(kind: str, ids: Collection[str], *, begin: datetime, end: datetime, most: int) -> list[Payer]:
    """Return the end users who spent most with each app or developer, at most `most` each, dearest first."""
    rows = _rows(
        f"""
        SELECT subject, end_user_id, account_id, spend, total FROM (
            SELECT subject, end_user_id, account_id, spend, sum(spend) OVER (PARTITION BY subject)::bigint AS total,
                   row_number() OVER (PARTITION BY subject ORDER BY spend DESC, end_user_id) AS place
            FROM (
                SELECT {_COLUMNS[kind]} AS subject, end_user_id, min(account_id) AS account_id,
                       sum(price_nano)::bigint AS spend
                FROM usage_events
                WHERE {_COLUMNS[kind]} = ANY(%s) AND effective_at >= %s AND effective_at < %s
                  AND end_user_id IS NOT NULL
                GROUP BY 1, 2
            ) each
        ) ranked WHERE place <= %s ORDER BY subject, place
        """,  # noqa: S608 (a column of ours)
        [*ids],
        begin,
        end,
        most,
    )
    return [Payer(*row) for row in rows]


def busiest_end_users(app_ids: Collection[str], *, begin: datetime, end: datetime, most: int) -> list[str]:
    """Return the end users with calls in that time, those first who spent most."""
    rows = _rows(
        """
        SELECT end_user_id FROM usage_events
        WHERE app_id = ANY(%s) AND effective_at >= %s AND effective_at < %s AND end_user_id IS NOT NULL
        GROUP BY 1 ORDER BY sum(price_nano) DESC, 1 LIMIT %s
        """,
        [*app_ids],
        begin,
        end,
        most,
    )
    return [row[0] for row in rows]


def price_moves(
    kind: str, ids: Collection[str], *, begin: datetime, split: datetime, end: datetime
) -> dict[str, PriceMove]:
    """Return by id of app or developer what charged calls since `split` cost, and would have at the prices before it.

    Compared by app, feature, model and route, each by its price a call and a token, so that neither other models nor
    longer answers look like another price. What was not sold before `split` is left out.
    """
    rows = _rows(
        f"""
        WITH sold AS (
            SELECT {_COLUMNS[kind]} AS subject, app_id, feature_key, served_model, route_mode,
                   effective_at >= %s AS late, count(*) AS calls, sum(price_nano) AS price,
                   sum(input_tokens + cache_read_tokens + cache_write_tokens + output_tokens) AS tokens
            FROM usage_events
            WHERE {_COLUMNS[kind]} = ANY(%s) AND effective_at >= %s AND effective_at < %s
              AND charged AND cache IS NULL AND end_user_id IS NOT NULL
            GROUP BY 1, 2, 3, 4, 5, 6
        )
        SELECT l.subject, sum(l.calls)::bigint, sum(l.price)::bigint,
               sum(greatest(e.price / e.calls * l.calls, e.price / greatest(e.tokens, 1) * l.tokens))::bigint
        FROM sold l JOIN sold e USING (subject, app_id, feature_key, served_model, route_mode)
        WHERE l.late AND NOT e.late GROUP BY 1
        """,  # noqa: S608 (a column of ours)
        split,
        [*ids],
        begin,
        end,
    )
    return {row[0]: PriceMove(*row[1:]) for row in rows}


def _rows(query: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows
