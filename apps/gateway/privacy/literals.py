"""Values that are known beforehand, found wherever they stand in a text."""

from collections.abc import Iterable

from apps.gateway.privacy.detect import Match
from apps.gateway.privacy.jsontext import quote
from apps.gateway.privacy.placeholders import FIELD

# What one request may cost: values, characters compared (half a second), places found.
MOST_VALUES = 1_000
MOST_COMPARED = 1_000_000_000
MOST_FOUND = 100_000
# A shorter value stands in the middle of other words and numbers: there it is left.
_SHORT = 3


class TooMany(Exception):
    """More values, or more places, than one request is searched for."""


class Literals:
    """Find given values in any case, as they are and as JSON in the middle of a text writes them."""

    __slots__ = ("_compared", "_found", "_values")

    def __init__(self, values: Iterable[str]) -> None:
        spelt = {value.strip().lower() for value in values}
        spelt |= {quote(value)[1:-1] for value in spelt}
        self._values = sorted(filter(None, spelt), key=len, reverse=True)
        self._compared = self._found = 0

    def __bool__(self) -> bool:
        return bool(self._values)

    def find(self, text: str) -> list[Match]:
        """Return where the values stand; places overlap where values do. Raises TooMany."""
        self._compared += len(text) * len(self._values)
        if len(self._values) > MOST_VALUES or self._compared > MOST_COMPARED:
            raise TooMany
        searched = text.lower()
        if len(searched) != len(text):  # a few letters change their length: then positions would not hold
            searched = text
        found: list[Match] = []
        for value in self._values:
            start = searched.find(value)
            while start >= 0:
                end = start + len(value)
                if len(value) >= _SHORT or not _is_inside(searched, start, end):
                    found.append(Match(start, end, FIELD))
                    self._found += 1
                    if self._found > MOST_FOUND:
                        raise TooMany
                start = searched.find(value, end)
        return found


def _is_inside(text: str, start: int, end: int) -> bool:
    """Tell whether a place is a part of a longer word or number in ASCII."""
    before = start > 0 and _continues(text[start - 1], text[start])
    return before or (end < len(text) and _continues(text[end - 1], text[end]))


def _continues(one: str, other: str) -> bool:
    if not (one.isascii() and other.isascii()):
        return False
    return (one.isalpha() and other.isalpha()) or (one.isdigit() and other.isdigit())
