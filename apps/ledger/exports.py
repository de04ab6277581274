"""Entries as a table to be written."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from apps.core.csv_stream import Cell, Column, Export

_ENTRY = (
    Column("entry_id", "e.id", Cell.NUMBER),
    Column("transaction_id", "t.id", Cell.NUMBER),
    Column("at", "t.effective_at", Cell.TIME),
    Column("posted_at", "t.created_at", Cell.TIME),
    Column("account", "a.kind"),
    Column("account_owner", "a.owner_id"),
    Column("kind", "t.kind"),
    Column("amount_usd", "e.amount", Cell.USD),
    Column("request_id", "t.memo ->> 'request_id'"),
    Column("reverses", "t.reverses", Cell.NUMBER),
)
_OPERATOR = (
    Column("account_id", "a.id", Cell.NUMBER),
    Column("idempotency_key", "t.idempotency_key"),
    Column("actor", "t.actor"),
    Column("memo", "t.memo::text"),
)


def entries(
    owners: Collection[tuple[str, str]] | None,
    *,
    begin: datetime | None,
    end: datetime | None,
    operator: bool = False,
) -> Export:
    """Return the entries of these accounts, each given by kind and owner, in the order they were posted.

    None is every account. `begin` (inclusive) and `end` (exclusive) bound when an entry took effect; `operator` adds
    keys, actors and memos, which may name others.
    """
    conditions, parameters = ["true"], dict[str, Any]()
    if owners is not None:
        conditions.append(
            "e.account_id = ANY(ARRAY(SELECT id FROM ledger_accounts"
            " WHERE (kind, owner_id) IN (SELECT * FROM unnest(%(kinds)s::text[], %(owners)s::text[]))))"
        )
        parameters |= {"kinds": [kind for kind, _ in owners], "owners": [owner for _, owner in owners]}
    if begin is not None:
        conditions.append("t.effective_at >= %(begin)s")
        parameters["begin"] = begin
    if end is not None:
        conditions.append("t.effective_at < %(end)s")
        parameters["end"] = end
    source = (
        "FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id"
        f" JOIN ledger_accounts a ON a.id = e.account_id WHERE {' AND '.join(conditions)} ORDER BY e.id"
    )
    return Export("ledger", (*_ENTRY, *_OPERATOR) if operator else _ENTRY, source, parameters)
