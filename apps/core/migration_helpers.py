"""Triggers that several rooms attach to their tables in their own migrations."""

from django.db.migrations import RunSQL


def epoch_trigger(table: str, events: str) -> RunSQL:
    """Return the operation that moves the policy epoch on `events` of `table`.

    `events` is what PostgreSQL takes between BEFORE/AFTER and ON: `INSERT OR UPDATE OR DELETE`,
    `UPDATE OF revoked_at`. One statement moves it once, however many rows it touched.
    """
    name = f"{table}_policy_epoch"
    return RunSQL(
        f"CREATE TRIGGER {name} AFTER {events} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION core_bump_policy_epoch()",
        f"DROP TRIGGER {name} ON {table}",
    )


def immutable_trigger(table: str) -> RunSQL:
    """Return the operation that makes the rows of `table` append-only (SQLSTATE 23514 on UPDATE or DELETE)."""
    name = f"{table}_append_only"
    return RunSQL(
        f"CREATE TRIGGER {name} BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION core_refuse_change()",
        f"DROP TRIGGER {name} ON {table}",
    )


def forget_trigger(table: str, events: str, *, kind: str, column: str) -> RunSQL:
    """Return the operation that makes gateways forget one caller on `events` of `table`: the one whose id is `column`.

    `kind` and the id are what `apps.core.epoch.forget_caller` takes.
    """
    name = f"{table}_forget_caller"
    return RunSQL(
        f"CREATE TRIGGER {name} AFTER {events} ON {table} FOR EACH ROW "
        f"EXECUTE FUNCTION core_forget_caller('{kind}', '{column}')",
        f"DROP TRIGGER {name} ON {table}",
    )
