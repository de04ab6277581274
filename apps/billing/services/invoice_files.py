"""Reading a provider's bill from a CSV file: row by row, in bounded memory, and refused rather than guessed at.

Columns are found by their usual names or named by the operator. A day is an ISO date or time, or epoch seconds, or what
`date_format` says; an amount is a plain decimal number of USD. What can be read in two ways is refused with its line.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, BinaryIO

from apps.core.errors import BadRequest, TooLarge
from apps.core.money import MAX_NANO, NANO_PER_USD

MOST_ROWS = 1_000_000
MOST_BYTES = 500_000_000
MOST_LINE = 1_000_000
MOST_MODEL = 200
# Problems that are told at once.
MOST_PROBLEMS = 10
EARLIEST = date(2015, 1, 1)
# The last row of many bills.
_TOTAL = frozenset({"total", "totals", "sum", "grand total", "grand_total"})
_AMOUNT = re.compile(r"\$?([+-]?)\$?(\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)", re.ASCII)
_WHOLE = re.compile(r"\d{1,18}(?:\.0+)?", re.ASCII)
_EPOCH = re.compile(r"\d{10}", re.ASCII)

# What providers call their columns, in small letters with _ for everything that is no letter or digit.
USUAL: Mapping[str, tuple[str, ...]] = {
    "day": (
        *("day", "date", "usage_date", "usage_date_utc", "date_utc", "start_time_iso", "start_time", "timestamp"),
        *("time_bucket", "bucket_start_time", "period_start", "usage_start_date", "billing_date", "created_at"),
    ),
    "model": (
        *("model", "model_name", "model_id", "model_version", "snapshot_id", "sku", "sku_description", "line_item"),
        *("meter", "product", "resource"),
    ),
    "amount": (
        *("cost", "cost_usd", "amount", "amount_usd", "amount_value", "total_cost", "total_cost_usd", "cost_in_usd"),
        *("total", "charge", "charges", "spend", "spend_usd", "usd", "price_usd", "total_usd"),
    ),
    "currency": ("currency", "amount_currency", "currency_code"),
}
USUAL_TOKENS = (
    *("tokens", "total_tokens", "input_tokens", "output_tokens", "input_cached_tokens", "cached_input_tokens"),
    *("cache_read_tokens", "cache_write_tokens", "uncached_input_tokens", "cache_read_input_tokens"),
    *("usage_input_tokens", "usage_output_tokens", "prompt_tokens", "completion_tokens", "num_tokens"),
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the file to read, by their headings; an empty one is looked for by its usual names.

    `date_format` is as strptime takes it, for days that are not written as ISO 8601 has them.
    """

    day: str = ""
    model: str = ""
    amount: str = ""
    tokens: tuple[str, ...] = ()
    date_format: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a bill: its line in the file, the day (UTC), the model, tokens where told, the amount in nano-USD."""

    number: int
    day: date
    model: str
    tokens: int | None
    nano: int


@dataclass(slots=True)
class Reading:
    """A file as it is being read; `columns`, `total`, `rows` and `sha256` are whole once its lines are through."""

    file: BinaryIO
    wanted: Columns
    today: date
    stated_total: Decimal | None = None
    allow_repeats: bool = False
    columns: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    total: Decimal = Decimal(0)
    sha256: str = ""

    def lines(self) -> Iterator[Line]:
        """Yield the file's lines. Raises BadRequest (invalid_invoice) with what is wrong where, and TooLarge.

        It goes on past a wrong line, to tell of several at once; what was yielded by then counts for nothing.
        """
        hashing = _Hashing(self.file)
        text = io.TextIOWrapper(io.BufferedReader(hashing), encoding="utf-8-sig", newline="")
        problems: list[str] = []
        try:
            first = text.readline(MOST_LINE)
            reader = csv.reader(_physical(first, text), delimiter=_delimiter(first), strict=True)
            place = _Heading(next(reader, []), self.wanted)
            self.columns = place.told
            seen: set[bytes] = set()
            for row in reader:
                line = self._read(row, reader.line_num, place, seen, problems)
                if len(problems) >= MOST_PROBLEMS:
                    break
                if line is not None and not problems:
                    yield line
        except UnicodeDecodeError:
            raise _wrong("The file is not UTF-8 text; save it as CSV UTF-8.") from None
        except csv.Error as error:
            raise _wrong(f"The file is not CSV: {error}.") from None
        if problems:
            raise _wrong(" ".join(problems))
        if not self.rows:
            raise _wrong("The file has no line below its heading.")
        if self.stated_total is not None:
            self._compare("The total that was given", self.stated_total)
        self.sha256 = hashing.hash.hexdigest()

    def _read(
        self, row: Sequence[str], number: int, place: "_Heading", seen: set[bytes], problems: list[str]
    ) -> Line | None:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            return None
        try:
            if len(cells) != place.width:
                raise _Wrong(f"{len(cells)} cells where the heading has {place.width}")
            if self._is_total(cells, place):
                return None
            if not self.allow_repeats:
                digest = hashlib.blake2b("\0".join(cells).encode(), digest_size=12).digest()
                if digest in seen:
                    raise _Wrong("the same row stands in the file before")
                seen.add(digest)
            amount = _amount(cells[place.amount])
            if place.currency is not None and cells[place.currency].lower() not in ("usd", "$", "us$"):
                raise _Wrong(f"{cells[place.currency][:10]!r} is not USD")
            line = Line(
                number,
                _day(cells[place.day], self.wanted.date_format, self.today),
                _model(cells[place.model]),
                _tokens([cells[index] for index in place.tokens]),
                int((amount * NANO_PER_USD).to_integral_value()),
            )
        except _Wrong as wrong:
            problems.append(f"Line {number}: {wrong}.")
            return None
        self.rows += 1
        if self.rows > MOST_ROWS:
            raise TooLarge(f"The file has more than {MOST_ROWS} lines.", code="invoice_too_large")
        self.total += amount
        return line

    def _is_total(self, cells: Sequence[str], place: "_Heading") -> bool:
        if not {cells[place.day].lower(), cells[place.model].lower()} & _TOTAL:
            return False
        self._compare("Its own total", _amount(cells[place.amount]))
        return True

    def _compare(self, whose: str, stated: Decimal) -> None:
        # Totals are rounded to cents, lines are not.
        if abs(stated - self.total) > Decimal("0.005"):
            raise _wrong(f"{whose} is {stated} USD, the lines sum to {self.total.normalize():f} USD.")


class _Wrong(ValueError):
    """What is wrong with a row."""


class _Hashing(io.RawIOBase):
    """A file whose bytes are hashed and counted as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        self._size += len(data)
        if self._size > MOST_BYTES:
            raise TooLarge(f"The file is larger than {MOST_BYTES} bytes.", code="invoice_too_large")
        self.hash.update(data)
        buffer[: len(data)] = data
        return len(data)


class _Heading:
    """Where in a row the columns are, by the file's heading."""

    def __init__(self, heading: Sequence[str], wanted: Columns) -> None:
        self.width = len(heading)
        names = [_plain(name) for name in heading]
        if len(heading) < 3 or not any(names):
            raise _wrong("The first line must name at least three columns, separated by commas.")
        self.day = _find(names, heading, "day", wanted.day)
        self.model = _find(names, heading, "model", wanted.model)
        self.amount = _find(names, heading, "amount", wanted.amount)
        self.currency = next((names.index(name) for name in USUAL["currency"] if name in names), None)
        self.tokens = [_find(names, heading, "tokens", name) for name in wanted.tokens] or [
            index for index, name in enumerate(names) if name in USUAL_TOKENS
        ]
        if not wanted.tokens and "total_tokens" in names:
            self.tokens = [names.index("total_tokens")]
        self.told = {
            "day": heading[self.day],
            "model": heading[self.model],
            "amount": heading[self.amount],
            "tokens": [heading[index] for index in self.tokens],
        }


def _find(names: Sequence[str], heading: Sequence[str], what: str, wanted: str) -> int:
    candidates = (_plain(wanted),) if wanted else USUAL.get(what, ())
    for name in candidates:
        if names.count(name) > 1:
            raise _wrong(f"The column {name!r} stands in the heading more than once.")
        if name in names:
            return names.index(name)
    given = ", ".join(repr(name[:40]) for name in heading[:30])
    asked = repr(wanted) if wanted else f"for the {what}"
    raise _wrong(f"There is no column {asked}; the file has {given}. Name the column.")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _physical(first: str, text: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a file; one without an end must not fill the memory."""
    line = first
    while line:
        if len(line) >= MOST_LINE:
            raise _wrong(f"A line is longer than {MOST_LINE} characters.")
        yield line
        line = text.readline(MOST_LINE)


def _delimiter(heading: str) -> str:
    counts = {mark: heading.count(mark) for mark in (",", ";", "\t")}
    return max(counts, key=lambda mark: counts[mark])


def _amount(text: str) -> Decimal:
    found = _AMOUNT.fullmatch(text)
    if found is None:
        if "," in text:
            raise _Wrong(f"{text[:30]!r} has a comma: write 1234.56, without thousands separators")
        raise _Wrong(f"{text[:30]!r} is not an amount such as 1234.56")
    amount = Decimal(found[1] + found[2])
    if abs(amount) * NANO_PER_USD > MAX_NANO:
        raise _Wrong(f"{text[:30]!r} is out of range")
    return amount


def _day(text: str, date_format: str, today: date) -> date:
    try:
        if date_format:
            found = datetime.strptime(text, date_format).date()  # noqa: DTZ007 (a day, without a time)
        elif _EPOCH.fullmatch(text):
            found = datetime.fromtimestamp(int(text), UTC).date()
        else:
            moment = datetime.fromisoformat(text)
            found = (moment.astimezone(UTC) if moment.tzinfo is not None else moment).date()
    except ValueError:
        raise _Wrong(f"{text[:30]!r} is not a day such as 2026-01-31; name its format") from None
    if not EARLIEST <= found <= today:
        raise _Wrong(f"{found.isoformat()} is not a day that can have been billed")
    return found


def _model(text: str) -> str:
    if not text or len(text) > MOST_MODEL or "\0" in text:
        raise _Wrong(f"a model has 1 to {MOST_MODEL} characters")
    return text


def _tokens(cells: Sequence[str]) -> int | None:
    given = [cell for cell in cells if cell]
    for cell in given:
        if not _WHOLE.fullmatch(cell):
            raise _Wrong(f"{cell[:30]!r} is not a number of tokens")
    return sum(int(cell.partition(".")[0]) for cell in given) if given else None


def _wrong(message: str) -> BadRequest:
    return BadRequest(message, code="invalid_invoice", param="file")
