"""What callers sent, read with its type checked: every refusal names the parameter."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.http import HttpRequest

from apps.core.errors import BadRequest, TooLarge
from apps.core.money import MoneyProblem, nano_from_usd
from apps.gateway.api.errors import UnsupportedMediaType

# The JSON resources take small objects; prompts go to the model endpoints.
MAX_BODY = 100_000
MAX_TEXT = 300
MAX_ITEMS = 200
MAX_PAGE = 200
PAGE = 50
_YES, _NO = ("1", "true"), ("0", "false")


def read_json(request: HttpRequest) -> "Body":
    """Return the JSON object that a request carries; no body at all is an empty one.

    Raises TooLarge, UnsupportedMediaType and BadRequest (invalid_json). Read here and not by DRF, which takes a
    chunked body for none, and has no limit.
    """
    raw = request.read(MAX_BODY + 1)
    if len(raw) > MAX_BODY:
        raise TooLarge(f"The request body is larger than {MAX_BODY} bytes.")
    if not raw.strip():
        return Body({})
    if (request.content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send the body as 'Content-Type: application/json'.")
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest("The request body is not valid JSON.", code="invalid_json") from error
    if not isinstance(content, dict):
        raise BadRequest("The request body must be a JSON object.", code="invalid_json")
    return Body(content)


class Body:
    """The members of a JSON body. `null` counts as not given, unknown members are ignored."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content

    def has(self, name: str) -> bool:
        """Tell whether `name` was given."""
        return self._content.get(name) is not None

    def is_null(self, name: str) -> bool:
        """Tell whether `name` was given as null, for what null takes away."""
        return name in self._content and self._content[name] is None

    def flag(self, name: str) -> bool | None:
        """Return true or false, or None where it was not given. Raises BadRequest."""
        value = self._content.get(name)
        if value is not None and not isinstance(value, bool):
            raise _wrong(name, "true or false")
        return value

    def text(self, name: str, *, most: int = MAX_TEXT) -> str | None:
        """Return a string of 1 to `most` characters, or None where it was not given. Raises BadRequest."""
        value = self._content.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise _wrong(name, "a string")
        return _checked(name, value, most)

    def required_text(self, name: str, *, most: int = MAX_TEXT) -> str:
        """Return a string of 1 to `most` characters. Raises BadRequest (missing_parameter)."""
        value = self.text(name, most=most)
        if value is None:
            raise BadRequest(f"{name} is required.", code="missing_parameter", param=name)
        return value

    def texts(self, name: str) -> list[str] | None:
        """Return a list of strings, or None where it was not given. Raises BadRequest."""
        value = self._content.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > MAX_ITEMS or not all(isinstance(item, str) for item in value):
            raise _wrong(name, f"a list of up to {MAX_ITEMS} strings")
        return [_checked(name, item, MAX_TEXT) for item in value]

    def items(self, name: str) -> list[Any] | None:
        """Return a list of up to MAX_ITEMS of whatever, or None where it was not given. Raises BadRequest."""
        value = self._content.get(name)
        if value is not None and (not isinstance(value, list) or len(value) > MAX_ITEMS):
            raise _wrong(name, f"a list of up to {MAX_ITEMS}")
        return value

    def only(self, *names: str) -> None:
        """Raise BadRequest (unknown_parameter) for a member that is not one of `names`."""
        for name in self._content:
            if name not in names:
                raise BadRequest(f"Only {', '.join(names)} may be sent.", code="unknown_parameter", param=name[:64])

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        """Return a whole number within the limits, or None where it was not given. Raises BadRequest."""
        value = self._content.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _not_whole(name, least, most)
        return value

    def wholes(self, name: str, *, least: int, most: int, items: int) -> list[int] | None:
        """Return a list of whole numbers within the limits, or None where it was not given. Raises BadRequest."""
        value = self._content.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > items or not all(type(item) is int for item in value):
            raise _wrong(name, f"a list of up to {items} whole numbers")
        if not all(least <= item <= most for item in value):
            raise _not_whole(name, least, most)
        return value

    def money(self, name: str, *, most: int) -> int | None:
        """Return an amount given as a decimal string, in nano-USD from 0 to `most`, or None. Raises BadRequest."""
        value = self.text(name, most=40)
        if value is None:
            return None
        try:
            amount = nano_from_usd(value)
            if not 0 <= amount <= most:
                raise MoneyProblem(f"{value} USD is out of range")
            return amount
        except MoneyProblem as error:
            raise _wrong(name, 'an amount in USD such as "0.02"') from error

    def members(self, name: str) -> Mapping[str, Any]:
        """Return an object, whose members are still to be checked. Raises BadRequest (missing_parameter)."""
        value = self._content.get(name)
        if value is None:
            raise BadRequest(f"{name} is required.", code="missing_parameter", param=name)
        if not isinstance(value, dict):
            raise _wrong(name, "an object")
        return value

    def moment(self, name: str) -> datetime | None:
        """Return an ISO 8601 time, or None where it was not given. Raises BadRequest."""
        value = self.text(name, most=40)
        return None if value is None else read_moment(name, value)


class Query:
    """The parameters of an address. An empty one counts as not given."""

    def __init__(self, request: HttpRequest) -> None:
        self._given = request.GET

    def text(self, name: str, *, most: int = MAX_TEXT) -> str | None:
        """Return a parameter, or None where it was not given. Raises BadRequest."""
        value = self._given.get(name)
        return _checked(name, value, most) if value else None

    def whole(self, name: str, *, least: int, most: int, default: int) -> int:
        """Return a whole number within the limits. Raises BadRequest."""
        value = self.text(name, most=20)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise _not_whole(name, least, most)
        return int(value)

    def switch(self, name: str, *, default: bool) -> bool:
        """Return a parameter that is 1 or 0, true or false. Raises BadRequest."""
        value = self.text(name, most=5)
        if value is None:
            return default
        if value.lower() not in _YES + _NO:
            raise _wrong(name, "true or false")
        return value.lower() in _YES

    def moment(self, name: str) -> datetime | None:
        """Return a date (its first moment, UTC) or a time, or None where it was not given. Raises BadRequest."""
        value = self.text(name, most=40)
        return None if value is None else read_moment(name, value)

    def period(self) -> tuple[datetime | None, datetime | None]:
        """Return `from` and `to` (exclusive). Raises BadRequest when there is nothing between them."""
        begin, end = self.moment("from"), self.moment("to")
        if begin is not None and end is not None and end <= begin:
            raise BadRequest("to must be later than from.", param="to")
        return begin, end

    def limit(self) -> int:
        """Return how many rows a page is to have. Raises BadRequest."""
        return self.whole("limit", least=1, most=MAX_PAGE, default=PAGE)


def read_moment(name: str, value: str) -> datetime:
    """Return an ISO 8601 date or time in UTC; one without an offset is UTC. Raises BadRequest."""
    try:
        # An unescaped + in an address arrives as a space.
        moment = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _wrong(name, "an ISO 8601 date or time such as 2026-01-31") from error


def encode_cursor(position: tuple[datetime, int]) -> str:
    """Return the place after a row as text for `cursor`."""
    at, row_id = position
    return f"{(at - _EPOCH) // timedelta(microseconds=1)}-{row_id}"


def decode_cursor(name: str, text: str | None) -> tuple[datetime, int] | None:
    """Return the place that `encode_cursor` wrote. Raises BadRequest."""
    if text is None:
        return None
    at, _, row_id = text.partition("-")
    try:
        if not (text.isascii() and at.isdigit() and row_id.isdigit() and len(row_id) < 19):
            raise ValueError(text)
        return _EPOCH + timedelta(microseconds=int(at)), int(row_id)
    except (ValueError, OverflowError) as error:
        raise _wrong(name, "what the page before gave as its next one") from error


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _checked(name: str, value: str, most: int) -> str:
    # PostgreSQL takes no NUL, UTF-8 no lone surrogate.
    if not 0 < len(value) <= most or "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise _wrong(name, f"1 to {most} characters")
    return value


def _not_whole(name: str, least: int, most: int) -> BadRequest:
    return _wrong(name, f"a whole number from {least} to {most}")


def _wrong(name: str, takes: str) -> BadRequest:
    return BadRequest(f"{name} takes {takes}.", code="invalid_type", param=name)
