"""Daily totals: what rating adds up as it goes, how it is counted anew, and the proof that both agree.

A day is UTC's, by when the call took effect. Pages read these rows and never walk the calls.
"""

from collections.abc import Iterator, Sequence

from django.db import connection, transaction

from apps.ledger.services.verify import Difference

_DAYS = (
    "day, developer_id, app_id, feature_key, route_mode, provider, served_model",
    "calls, failed, cached, input_tokens, output_tokens, price_nano, cost_nano, developer_nano, platform_nano, "
    "loss_nano, provider_bill_nano, duration_ms, first_byte_ms, first_bytes",
)
_DAY_ROWS = """
    SELECT (e.effective_at AT TIME ZONE 'UTC')::date AS day, e.developer_id, e.app_id, e.feature_key, e.route_mode,
           e.provider, e.served_model,
           count(*) AS calls, count(*) FILTER (WHERE NOT e.charged) AS failed,
           count(e.cache) AS cached,
           sum(e.input_tokens + e.cache_read_tokens + e.cache_write_tokens) AS input_tokens,
           sum(e.output_tokens) AS output_tokens,
           sum(c.price_nano) AS price_nano, sum(c.cost_nano) AS cost_nano, sum(c.developer_nano) AS developer_nano,
           sum(c.platform_nano) AS platform_nano, sum(c.loss_nano) AS loss_nano,
           sum(c.provider_bill_nano) AS provider_bill_nano, sum(e.duration_ms) AS duration_ms,
           coalesce(sum(e.first_byte_ms), 0) AS first_byte_ms, count(e.first_byte_ms) AS first_bytes
    FROM usage_events e JOIN usage_charges c ON c.event_id = e.id {which}
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
_USER_DAYS = ("day, app_id, end_user_id, developer_id", "calls, tokens, price_nano, developer_nano")
_USER_DAY_ROWS = """
    SELECT (e.effective_at AT TIME ZONE 'UTC')::date AS day, e.app_id, e.end_user_id, e.developer_id,
           count(*) AS calls,
           sum(e.input_tokens + e.cache_read_tokens + e.cache_write_tokens + e.output_tokens) AS tokens,
           sum(c.price_nano) AS price_nano, sum(c.developer_nano) AS developer_nano
    FROM usage_events e JOIN usage_charges c ON c.event_id = e.id {which}
    WHERE e.end_user_id IS NOT NULL
    GROUP BY 1, 2, 3, 4
"""
_TABLES = {
    "usage_days": (_DAYS, _DAY_ROWS, "developer_id, day, app_id, feature_key, route_mode, provider, served_model"),
    "usage_user_days": (_USER_DAYS, _USER_DAY_ROWS, "end_user_id, day"),
}


def _insert(table: str, which: str) -> str:
    (keys, sums), rows, unique = _TABLES[table]
    # In the order of the unique key, so that two workers never wait for each other in a circle.
    return f"""
        INSERT INTO {table} ({keys}, {sums})
        SELECT {keys}, {sums} FROM ({rows.format(which=which)}) AS added ORDER BY {unique}
    """  # noqa: S608 (our own names)


def _adding(table: str) -> str:
    (_, sums), _, unique = _TABLES[table]
    added = ", ".join(f"{name} = {table}.{name} + EXCLUDED.{name}" for name in sums.split(", "))
    return f"{_insert(table, 'AND e.id = ANY(%s)')} ON CONFLICT ({unique}) DO UPDATE SET {added}"


_ADD = [_adding(table) for table in _TABLES]
_COUNT = [_insert(table, "") for table in _TABLES]


def add_to_days(event_ids: Sequence[int]) -> None:
    """Add calls to their days; in the transaction that stores their charges, and after that."""
    with connection.cursor() as cursor:
        for statement in _ADD:
            cursor.execute(statement, [list(event_ids)])


@transaction.atomic
def rebuild_days() -> int:
    """Count every day anew from the calls and return how many rows that makes. Rating waits meanwhile."""
    with connection.cursor() as cursor:
        # Who has added already must have committed, and who has not waits: then each charge is counted once.
        cursor.execute("LOCK TABLE usage_days, usage_user_days IN SHARE ROW EXCLUSIVE MODE")
        rows = 0
        for table, statement in zip(_TABLES, _COUNT, strict=True):
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 (our own names)
            cursor.execute(statement)
            rows += cursor.rowcount
    return rows


def differences() -> Iterator[Difference]:
    """Yield every day that is not what a recount makes of it, by table."""
    for table, ((keys, sums), rows, _) in _TABLES.items():
        columns = [name.strip() for name in f"{keys}, {sums}".split(",")]
        listed = ", ".join(f"{name}::text" for name in columns)
        with connection.cursor() as cursor:
            cursor.execute(f"""
                WITH stored AS (SELECT {listed} FROM {table}),
                     counted AS (SELECT {listed} FROM ({rows.format(which="")}) AS c)
                (SELECT 'is stored as', * FROM (TABLE stored EXCEPT TABLE counted) s)
                UNION ALL (SELECT 'is counted as', * FROM (TABLE counted EXCEPT TABLE stored) c)
            """)  # noqa: S608 (our own names)
            width = len(keys.split(","))
            for what, *values in cursor.fetchall():
                sums_said = ", ".join(map("{} {}".format, columns[width:], values[width:]))
                yield Difference(table, " ".join(values[:width]), f"{what} {sums_said}")
