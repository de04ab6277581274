"""Several tables as one JSON object, streamed as the tables of `csv_stream` are: `{"calls": [{…}, …], "ledger": […]}`.

Amounts are decimal strings in USD, times ISO 8601 in UTC, counts numbers. All tables are of one moment.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import StreamingHttpResponse

from apps.core.csv_stream import PIECE, Column, CsvStream, Export, write_json


class JsonStream(CsvStream):
    """The bytes of several tables, piece by piece, for `async for`. It opens, closes and fails as a CsvStream does."""

    def __init__(
        self, exports: Sequence[Export], *, owner: str, about: Mapping[str, Any] | None = None, piece: int = PIECE
    ) -> None:
        """Open it for `owner`, who may have one at a time; `about` stands before the tables."""
        self._left = list(exports[1:])
        self._columns: tuple[Column, ...] = exports[0].columns
        self._is_first, self._is_done = True, False
        pairs = [f"{json.dumps(name)}: {json.dumps(value)},\n" for name, value in (about or {}).items()]
        self._head = f"{{\n{''.join(pairs)}{json.dumps(exports[0].name)}: [".encode()
        super().__init__(exports[0], owner=owner, piece=piece)

    def _heading(self, export: Export, *, bom: bool) -> bytes:
        return self._head

    def _following(self) -> bytes:
        if not self._left:
            done, self._is_done = self._is_done, True
            return b"" if done else b"\n]\n}\n"
        export = self._left.pop(0)
        self._declare(export)
        self._columns, self._is_first, self._more = export.columns, True, True
        return f"\n],\n{json.dumps(export.name)}: [".encode()

    def _formatted(self, rows: Sequence[Sequence[Any]]) -> bytes:
        lines = []
        for row in rows:
            values = zip(self._columns, row, strict=True)
            content = {column.name: write_json(column.cell, value) for column, value in values}
            lines.append(("\n" if self._is_first else ",\n") + json.dumps(content, ensure_ascii=False))
            self._is_first = False
        return "".join(lines).encode()


def json_response(
    name: str, exports: Sequence[Export], *, owner: str, about: Mapping[str, Any] | None = None
) -> StreamingHttpResponse:
    """Return the answer that streams tables as a file of this name.

    Raises RateLimited (export_running, rate_limited) and Unavailable, before anything is sent.
    """
    return StreamingHttpResponse(
        JsonStream(exports, owner=owner, about=about),
        content_type="application/json; charset=utf-8",
        headers={
            "content-disposition": f'attachment; filename="{name}.json"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )
