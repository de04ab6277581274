"""What the ledger's tests are made of. Amounts are nano-USD."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, connections

from apps.ledger.models import AccountKind
from apps.ledger.queries import Balance, balance
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import grant
from apps.ledger.services.verify import differences

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=2)
NOBODY = 0  # an account id that no account has


def account(owner_id: str = "usr_1", *, kind: str = AccountKind.END_USER, funds: int = 0) -> int:
    """Open an account, grant it `funds` once, and return its id."""
    account_id = open_account(kind=kind, owner_id=owner_id, now=NOW)
    if funds:
        grant(account_id, funds, idempotency_key=f"funds:{kind}:{owner_id}", now=NOW, actor="test")
    return account_id


def sql(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Execute one statement and return its rows, if it has any."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


Item = tuple[str, int, int, int]  # request id, account id, amount, minimum


def take_many(items: Sequence[Item], *, expires_at: datetime = LATER) -> dict[str, tuple[int, int, str]]:
    """Take holds in one call and return (granted, available, outcome) by request id."""
    ids, accounts, amounts, minima = ([*column] for column in zip(*items, strict=True))
    rows = sql(
        "SELECT * FROM ledger_take_holds"
        "(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::jsonb[])",
        *(ids, accounts, amounts, minima, [expires_at] * len(ids), [json.dumps({"for": i}) for i in ids]),
    )
    return {request_id: (granted, available, outcome) for request_id, granted, available, outcome in rows}


def take(
    request_id: str, account_id: int, amount: int, *, minimum: int | None = None, expires_at: datetime = LATER
) -> tuple[int, int, str]:
    item = (request_id, account_id, amount, amount if minimum is None else minimum)
    return take_many([item], expires_at=expires_at)[request_id]


def meter(request_id: str, price: int) -> str:
    return str(sql("SELECT outcome FROM ledger_meter_holds(%s::text[], %s::bigint[])", [request_id], [price])[0][0])


def capture(request_id: str, price: int) -> str:
    return str(sql("SELECT outcome FROM ledger_capture_holds(%s::text[], %s::bigint[])", [request_id], [price])[0][0])


def void(*request_ids: str) -> set[str]:
    return {row[0] for row in sql("SELECT * FROM ledger_void_holds(%s::text[])", [*request_ids])}


def renew(*request_ids: str, until: datetime) -> set[str]:
    return {row[0] for row in sql("SELECT * FROM ledger_renew_holds(%s::text[], %s)", [*request_ids], until)}


def money(account_id: int) -> tuple[int, int]:
    """Return (posted, held) of a wallet."""
    found: Balance = balance(account_id)
    return found.posted, found.held


def assert_proven() -> None:
    """Assert that no row of the ledger differs from what the others say."""
    assert list(differences()) == []


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call each in a thread with a connection of its own, and return the results, or what was raised, in order."""

    def run(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # the test decides what may be raised
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=6) as pool:
        return list(pool.map(run, calls))
