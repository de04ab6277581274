"""The times a request crosses the database: its hold, its settlement, and then the hold again; by group committers.

The client waits for the hold and for the settlement. What shrinks the hold to the price is queued behind the
settlement with the holds of later requests: so one connection of a process works on the wallets, and a request that
follows an answer finds what that answer did not spend.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as django_connection

from apps.core.commit import GroupCommitter
from apps.core.errors import Unavailable
from apps.ledger.statements import HoldRequest, HoldResult
from apps.usage.services.admit import ADMIT, AdmitResult, BudgetedHold, admit_parameters, admit_results
from apps.usage.services.settle import RECORDED, SETTLE, Settlement, settle_parameters, settle_results

logger = logging.getLogger(__name__)

# Seconds that a settled call's hold waits for company: at load the next hold comes sooner and takes it along.
METER_WITHIN = 0.01


class Holds:
    """The committer of holds: takes them for calls that begin, shrinks them for calls that are settled."""

    def __init__(self, committer: "GroupCommitter[HoldRequest | str, Any]") -> None:
        self._committer = committer

    def submit(self, request: HoldRequest) -> "asyncio.Future[HoldResult]":
        """Queue a hold and return the future of its result; see `GroupCommitter.submit`."""
        return self._committer.submit(request)

    def submit_budgeted(self, request: BudgetedHold) -> "asyncio.Future[AdmitResult]":
        """Queue a hold that also reserves of budgets, and return the future of its result."""
        return self._committer.submit(request)

    def meter(self, request_id: str) -> None:
        """Queue what follows the settlement of a call. Nobody waits for it, and rating does it if this fails.

        It goes with the next hold, before which it comes in the same statement, or alone after METER_WITHIN.
        """
        self._committer.submit(request_id, within=METER_WITHIN).add_done_callback(_note_failure)

    async def close(self) -> None:
        """Write what is queued, then close the connection."""
        await self._committer.close()


Settlements = GroupCommitter[Settlement, str]


def connection_parameters() -> dict[str, object]:
    """Return what Django's default database is reached with, for connections of the gateway's own."""
    parameters = dict(django_connection.get_connection_params())
    for name in ("cursor_factory", "context", "prepare_threshold", "server_side_binding", "pool"):
        parameters.pop(name, None)
    return parameters


async def connect(parameters: dict[str, object]) -> psycopg.AsyncConnection:
    """Open a connection whose statements are each a transaction, prepared on first use."""
    connection = await psycopg.AsyncConnection.connect(
        **parameters,  # type: ignore[arg-type]
        autocommit=True,
        prepare_threshold=0,
        connect_timeout=5,
    )
    await connection.execute("SET statement_timeout = '15s'")
    return connection


def open_writers(parameters: dict[str, object]) -> tuple[Holds, Settlements]:
    """Return the process's two committers. The settlements are closed first: they still have holds to shrink."""

    async def for_holds() -> psycopg.AsyncConnection:
        connection = await connect(parameters)
        if settings.HOLDS_ASYNC_COMMIT:
            # Losing the last milliseconds of holds in a crash loses authorisations, not money.
            await connection.execute("SET synchronous_commit = off")
        return connection

    async def for_usage() -> psycopg.AsyncConnection:
        return await connect(parameters)

    async def settle(connection: psycopg.AsyncConnection, settlements: Sequence[Settlement]) -> list[str]:
        cursor = await connection.execute(SETTLE, settle_parameters(settlements))
        outcomes = settle_results(settlements, await cursor.fetchall())
        # Before the answers leave: a request that follows one of them is queued behind these.
        for settlement, outcome in zip(settlements, outcomes, strict=True):
            if outcome == RECORDED:
                holds.meter(settlement.record.request_id)
        return outcomes

    holds = Holds(GroupCommitter("holds", for_holds, _write_holds, patience=settings.HOLD_PATIENCE))
    return holds, GroupCommitter("usage", for_usage, settle, patience=settings.SETTLE_TIMEOUT)


async def _write_holds(
    connection: psycopg.AsyncConnection, items: Sequence[HoldRequest | str]
) -> list[HoldResult | None]:
    settled = [item for item in items if isinstance(item, str)]
    requests = [item for item in items if not isinstance(item, str)] if settled else items
    cursor = await connection.execute(ADMIT, admit_parameters(requests, settled))  # type: ignore[arg-type]
    results = admit_results(requests, await cursor.fetchall())  # type: ignore[arg-type]
    if not settled:
        return results  # type: ignore[return-value]
    taken = iter(results)
    return [None if isinstance(item, str) else next(taken) for item in items]


def _note_failure(metered: "asyncio.Future[None]") -> None:
    if metered.cancelled():
        return
    error = metered.exception()
    if error is not None and not isinstance(error, Unavailable):
        logger.error("hold not metered", extra={"error": type(error).__name__})
