"""Tables as CSV, streamed: rows come by a server-side cursor in pieces, so that a million of them take as little
memory as ten, and go as fast as the client reads.

Cells are decimal strings, ISO 8601 times in UTC and text that no spreadsheet takes for a formula. An export has a
connection of its own, sees one moment of the database, and ends with its client: one that leaves or stops reading
stops the query.
"""

import asyncio
import csv
import io
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as django_connection
from django.http import StreamingHttpResponse
from psycopg.types.string import TextLoader

from apps.core.errors import RateLimited, Unavailable
from apps.core.money import usd

logger = logging.getLogger(__name__)

# Rows of a piece: what is in memory at once, a few hundred kilobytes.
PIECE = 1_000
# What makes a spreadsheet take a cell for a formula, also in full width. CR and tab count after an import, too.
FORMULA = frozenset("=+-@\t\r\n＝＋－＠")
BOM = "\ufeff".encode()
# Seconds that one piece may take; the first one may have to sort.
PIECE_TIMEOUT = 300
RETRY = 10
APPLICATION = "modelfaucet-export"

# Formatting is work for the processor: it goes on here, beside the event loop.
_workers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="export")


class Cell(Enum):
    """What a column holds, and so how its values are written; what is null is an empty cell in all of them."""

    TEXT = "text"
    NUMBER = "number"
    USD = "usd"
    CENTS = "cents"
    TIME = "time"
    DATE = "date"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, the SQL of its value, and what that is (USD takes nano-USD, CENTS cents)."""

    name: str
    sql: str
    cell: Cell = Cell.TEXT


@dataclass(frozen=True, slots=True)
class Export:
    """A table to be written: the name of its file, its columns, and what comes after the columns in its SELECT.

    `source` is SQL from FROM on, with named parameters; nothing of a caller is ever part of it or of a column.
    """

    name: str
    columns: tuple[Column, ...]
    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def query(self) -> str:
        return f"SELECT {', '.join(column.sql for column in self.columns)} {self.source}"


def safe_text(text: str) -> str:
    """Return text as a cell that no spreadsheet runs: what begins like a formula gets an apostrophe before it."""
    return f"'{text}" if text and text[0] in FORMULA else text


def cents_text(cents: int) -> str:
    """Return an amount of cents as a decimal string in USD: `-12.34`."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02d}"


# Values come as PostgreSQL writes them: most go to the file as they are, and a million rows are not parsed to be
# written again.


@lru_cache(maxsize=16_384)
def _usd(nano: str) -> str:
    return usd(int(nano))


def _cents(cents: str) -> str:
    return cents_text(int(cents))


def _time(value: str) -> str:
    """Return what the session writes as `2026-05-01 12:00:00+00` in ISO 8601."""
    return f"{value.replace(' ', 'T', 1)}:00"


def _flag(value: str) -> str:
    return "true" if value == "t" else "false"


_WRITE: dict[Cell, Callable[[str], str]] = {
    Cell.TEXT: safe_text,
    Cell.USD: _usd,
    Cell.CENTS: _cents,
    Cell.TIME: _time,
    Cell.FLAG: _flag,
}


def write_json(cell: Cell, value: str | None) -> Any:
    """Return what PostgreSQL wrote as a value for JSON: counts as numbers, amounts as decimal strings."""
    if value is None:
        return None
    if cell is Cell.NUMBER:
        return float(value) if "." in value else int(value)
    if cell is Cell.FLAG:
        return value == "t"
    write = None if cell is Cell.TEXT else _WRITE.get(cell)
    return value if write is None else write(value)


_AS_TEXT = ("int2", "int4", "int8", "numeric", "bool", "timestamptz", "date")


class CsvStream:
    """The bytes of an export, piece by piece, for `async for`.

    Opening it runs the query and takes the first piece, so that what can fail fails before anything is sent. It is
    closed when it ends, fails or is forgotten; `close` may be called in any thread, also while a piece is on its way.
    """

    def __init__(self, export: Export, *, owner: str, bom: bool = False, piece: int = PIECE) -> None:
        """Open it for `owner`, who may have one at a time. Raises RateLimited and Unavailable."""
        self._connection: psycopg.Connection[Any] | None = None
        self._place: _Place | None = None
        self._closed = False
        self._write = [_WRITE.get(column.cell) for column in export.columns]
        self._busy = threading.Lock()
        self._piece = piece
        self._place = _Place.take()
        try:
            self._connection = _connect()
            _begin(self._connection, export, owner)
            rows = self._fetch()
        except psycopg.OperationalError as error:
            self.close()
            raise Unavailable("Our database is out of reach; try again.", retry_after=RETRY) from error
        except BaseException:
            self.close()
            raise
        self._next = self._heading(export, bom=bom) + self._formatted(rows)
        self._more = len(rows) == piece

    def __aiter__(self) -> "CsvStream":
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes. Raises StopAsyncIteration, and Unavailable when the database is lost."""
        if self._next:
            piece, self._next = self._next, b""
        else:
            piece = await asyncio.get_running_loop().run_in_executor(_workers, self.read)
        if not piece:
            raise StopAsyncIteration
        return piece

    def read(self) -> bytes:
        """Return the next bytes, b"" after the last. Blocks. Raises Unavailable."""
        if self._next:
            piece, self._next = self._next, b""
            return piece
        with self._busy:
            if not self._closed:
                try:
                    if self._more:
                        rows = self._fetch()
                        self._more = len(rows) == self._piece
                        if rows:
                            return self._formatted(rows)
                    if following := self._following():
                        return following
                except psycopg.Error as error:
                    if self._closed:
                        return b""
                    self._shut()
                    logger.warning("export cut off", extra={"error": type(error).__name__})
                    raise Unavailable("The export was cut off.", retry_after=RETRY) from error
            self._shut()
        return b""

    def close(self) -> None:
        """Stop the query, if it runs, and give everything back."""
        self._closed = True
        if not self._busy.acquire(blocking=False):
            connection = self._connection
            if connection is not None:
                with suppress(psycopg.Error):  # then the piece under way is waited for
                    connection.cancel_safe(timeout=5)
            self._busy.acquire()
        try:
            self._shut()
        finally:
            self._busy.release()

    def __del__(self) -> None:
        # A client may leave before its answer begins: Django then drops the answer without closing it.
        self._shut()

    def _heading(self, export: Export, *, bom: bool) -> bytes:
        """Return what stands before the rows."""
        return (BOM if bom else b"") + _lines([[column.name for column in export.columns]])

    def _following(self) -> bytes:
        """Return what follows the rows, once they are read; nothing ends the export."""
        return b""

    def _fetch(self) -> Sequence[Sequence[Any]]:
        assert self._connection is not None
        return self._connection.execute(f"FETCH FORWARD {self._piece:d} FROM export").fetchall()

    def _declare(self, export: Export) -> None:
        """Go on with the rows of another table."""
        assert self._connection is not None
        self._connection.execute("CLOSE export")
        _declare(self._connection, export)

    def _shut(self) -> None:
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._place is not None:
            self._place.give_back()

    def _formatted(self, rows: Sequence[Sequence[Any]]) -> bytes:
        columns = [
            values if write is None else [None if value is None else write(value) for value in values]
            for write, values in zip(self._write, zip(*rows, strict=True), strict=False)
        ]
        return _lines(list(zip(*columns, strict=True)))


def csv_response(
    export: Export, *, owner: str, bom: bool = False, begin: datetime | None = None, end: datetime | None = None
) -> StreamingHttpResponse:
    """Return the answer that streams an export as a file named after it and its period.

    Raises RateLimited (export_running, rate_limited) and Unavailable, before anything is sent.
    """
    period = [moment.date().isoformat() for moment in (begin, end) if moment is not None]
    name = "-".join([export.name, *period])
    return StreamingHttpResponse(
        CsvStream(export, owner=owner, bom=bom),
        content_type="text/csv; charset=utf-8",
        headers={
            "content-disposition": f'attachment; filename="{name}.csv"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )


class _Place:
    """One of the places for exports that this process has: each export is a connection."""

    _lock = threading.Lock()
    _taken = 0

    def __init__(self) -> None:
        self._mine = True

    @classmethod
    def take(cls) -> "_Place":
        """Return a place. Raises RateLimited."""
        with cls._lock:
            if cls._taken >= settings.EXPORTS_AT_ONCE:
                raise RateLimited("Too many exports are running; try again shortly.", retry_after=RETRY)
            cls._taken += 1
        return cls()

    def give_back(self) -> None:
        with self._lock:
            if self._mine:
                self._mine = False
                type(self)._taken -= 1


def _connect() -> psycopg.Connection[Any]:
    parameters = dict(django_connection.get_connection_params())
    for name in ("cursor_factory", "context", "prepare_threshold", "server_side_binding", "pool"):
        parameters.pop(name, None)
    return psycopg.connect(**{**parameters, "connect_timeout": 5, "application_name": APPLICATION})


def _begin(connection: psycopg.Connection[Any], export: Export, owner: str) -> None:
    """Open the cursor in a transaction that only reads. Raises RateLimited while `owner` has another one open."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    # A client that stops reading keeps the cursor open, and with it the oldest rows of every table.
    idle = max(int(settings.READER_TIMEOUT * 1000), 1000)
    connection.execute(
        "SELECT set_config('idle_in_transaction_session_timeout', %s, true), set_config('statement_timeout', %s, true),"
        " set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO', true)",
        [str(idle), str(PIECE_TIMEOUT * 1000)],
    )
    # Held until the transaction ends, however that comes about.
    row = connection.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"export {owner}"]
    ).fetchone()
    if row is None or not row[0]:
        raise RateLimited(
            "Another export of yours is running; one at a time.", code="export_running", retry_after=RETRY
        )
    for name in _AS_TEXT:
        connection.adapters.register_loader(name, TextLoader)
    _declare(connection, export)


def _declare(connection: psycopg.Connection[Any], export: Export) -> None:
    connection.execute(f"DECLARE export NO SCROLL CURSOR FOR {export.query}", dict(export.parameters))


def _lines(rows: Sequence[Sequence[str | None]]) -> bytes:
    if not rows:
        return b""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()
