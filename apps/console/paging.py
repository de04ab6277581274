"""The place where a page of a list begins, as text for its address."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def place_text(place: tuple[datetime, int]) -> str:
    """Return the place after a row, which is its time and its id."""
    at, row_id = place
    return f"{(at - _EPOCH) // timedelta(microseconds=1)}-{row_id}"


def place_of(text: str) -> tuple[datetime, int] | None:
    """Return the place that `place_text` wrote; None, which is the first page, for anything else."""
    at, _, row_id = text.partition("-")
    if not (text.isascii() and at.isdigit() and row_id.isdigit() and len(at) < 19 and len(row_id) < 19):
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(at)), int(row_id)
    except OverflowError:
        return None
