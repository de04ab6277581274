"""The ledger: one line of JSON per call, failures included, and never a word of what was said.

A file holds one month, or a part of one: `calls-2026-11.001.jsonl`, then `.002`. Old months are deleted. What a month
has cost, and what the last minute has used, is rebuilt from these lines when the bridge starts.
"""

import json
import os
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from modelfaucet_bridge.home import PRIVATE_FILE, private_directory

RECENT = 200
_FILE = re.compile(r"calls-(\d{4}-\d{2})\.(\d{3,})\.jsonl")
SAFE = re.compile(r"[\w.:/@+\-]{1,128}")


def safe(text: str | None) -> str | None:
    """Return a name as it may be written down: what does not look like one could be anything."""
    return None if text is None else text if SAFE.fullmatch(text) else "?"


@dataclass(frozen=True)
class Entry:
    """One call. Times are UTC seconds since 1970, latency is in milliseconds, cost in nano-USD (None: unknown)."""

    at: float
    request_id: str
    channel: str | None
    model: str | None
    operation: str
    status: int
    latency_ms: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cost_nano_usd: int | None = None
    error_code: str | None = None
    source: str = "http"
    stream: bool = False

    @property
    def tokens(self) -> int:
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def served(self) -> bool:
        """Tell whether a channel was asked: what was refused before costs nothing."""
        return self.input_tokens is not None or self.status < 400

    def line(self) -> str:
        moment = datetime.fromtimestamp(self.at, timezone.utc).isoformat(timespec="milliseconds")
        return json.dumps({"time": moment, **asdict(self)}, separators=(",", ":"))


@dataclass
class Month:
    """What one channel has used in one month. `unknown` counts the calls whose price is unknown."""

    spent: int = 0
    calls: int = 0
    failures: int = 0
    tokens: int = 0
    unknown: int = 0
    days: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, entry: Entry) -> None:
        self.calls += 1
        self.failures += entry.status >= 400
        self.tokens += entry.tokens
        if entry.cost_nano_usd is not None:
            self.spent += entry.cost_nano_usd
            self.days[_day(entry.at)] += entry.cost_nano_usd
        elif entry.served:
            self.unknown += 1


def month_of(at: float) -> str:
    """Return the month of a moment, such as 2026-11, in UTC: budgets begin anew with it."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d")


class Ledger:
    """The files of one directory, written by one process."""

    def __init__(self, directory: Path, *, max_bytes: int, keep_months: int, now: float) -> None:
        self._directory = private_directory(directory)
        self.max_bytes, self.keep_months = max_bytes, keep_months
        self._file: TextIO | None = None
        self._path = Path()
        self.recent: deque[Entry] = deque(maxlen=RECENT)
        self._months: dict[tuple[str, str], Month] = {}
        for entry in self.read(month_of(now)):
            self._account(entry)

    def month(self, channel: str, now: float) -> Month:
        """Return what a channel has used in this month."""
        return self._months.get((month_of(now), channel), Month())

    def record(self, entry: Entry) -> None:
        """Write one call down; it is in the operating system's hands when this returns."""
        line = entry.line() + "\n"
        file = self._open(entry.at, len(line))
        file.write(line)
        file.flush()
        self._account(entry)

    def read(self, month: str) -> Iterator[Entry]:
        """Yield a month's calls in order. A line that a crash has cut off is passed over."""
        for path in self.files(month):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                entry = _entry(line)
                if entry is not None:
                    yield entry

    def files(self, month: str = "") -> list[Path]:
        named = [(match, path) for path in self._directory.iterdir() if (match := _FILE.fullmatch(path.name))]
        return [path for match, path in sorted(named, key=_order) if month in ("", match[1])]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _account(self, entry: Entry) -> None:
        self.recent.append(entry)
        if entry.channel is not None:
            self._months.setdefault((month_of(entry.at), entry.channel), Month()).add(entry)

    def _open(self, at: float, size: int) -> TextIO:
        month = month_of(at)
        is_of_month = self._path.name.startswith(f"calls-{month}.")
        if self._file is not None and is_of_month and self._file.tell() + size <= self.max_bytes:
            return self._file
        self.close()
        path = next(reversed(self.files(month)), None)
        if path is None:
            path = self._directory / f"calls-{month}.001.jsonl"
            self._prune(at)
        elif path.stat().st_size + size > self.max_bytes:
            match = _FILE.fullmatch(path.name)
            assert match is not None
            path = self._directory / f"calls-{month}.{int(match[2]) + 1:03d}.jsonl"
        self._path, self._file = path, _append(path)
        return self._file

    def _prune(self, at: float) -> None:
        moment = datetime.fromtimestamp(at, timezone.utc)
        year, month = divmod(moment.year * 12 + moment.month - 1 - (self.keep_months - 1), 12)
        oldest = f"{year:04d}-{month + 1:02d}"
        for path in self.files():
            match = _FILE.fullmatch(path.name)
            if match and match[1] < oldest:
                path.unlink()
        for key in [key for key in self._months if key[0] < month_of(at)]:
            del self._months[key]


def _order(named: tuple[re.Match[str], Path]) -> tuple[str, int]:
    return named[0][1], int(named[0][2])


def _append(path: Path) -> TextIO:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    file = os.fdopen(handle, "a", encoding="utf-8")
    size = file.seek(0, os.SEEK_END)
    if size:
        with path.open("rb") as written:
            written.seek(size - 1)
            if written.read(1) != b"\n":  # a crash cut the last line off: do not lose the next one too
                file.write("\n")
                file.flush()
    return file


def _entry(line: str) -> Entry | None:
    try:
        content: Any = json.loads(line)
        content.pop("time", None)
        return Entry(**content)
    except (ValueError, TypeError, AttributeError):
        return None
