"""What the detectors share: a text made ready to be searched, and its runs of digits.

Every detector takes a `Scan` and yields spans of its text. Each is linear in the length of the text by construction:
repetitions are possessive or bounded, and what a candidate is checked against is a window of fixed length.
"""

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple


class Span(NamedTuple):
    """Half-open range of characters."""

    start: int
    end: int


class Run(NamedTuple):
    """Half-open range of characters that numbers are written with, and how many of them are digits."""

    start: int
    end: int
    digits: int


# Digits, letters and signs as East Asian keyboards and word processors write them; each becomes one ASCII character.
_WIDE = range(0xFF01, 0xFF5F)
_KEPT = "\uff0c\uff1a\uff1b\uff01\uff1f"  # the comma, colon and stops of a Chinese sentence
_FOLDED = {code: code - 0xFEE0 for code in _WIDE if chr(code) not in _KEPT}
_FOLDED |= dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), ord("-"))
_FOLDED |= dict.fromkeys(map(ord, "\u00a0\u2007\u202f\u3000"), ord(" "))
_FOLDABLE = re.compile("[\uff08\uff0b\uff0d\uff10-\uff19\uff20\u2010-\u2013\u2212\u00a0\u2007\u202f\u3000]")

# A run ends at the first character that no number is written with.
_RUN = re.compile(r"[0-9][0-9 ().\-/]{6,}+")
# 2024-01-15, with the hour that may follow.
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}([./\-])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])[ ().\-/]*+(?:[0-2]?[0-9])?$"
)
# Fewer digits than this make no telephone, card or identity number; as few dots an IPv4 address has.
_LEAST_DIGITS = 7
_DOTS = 3
_NOT_DIGITS = str.maketrans("", "", " ().-/+")


def digits_of(text: str) -> str:
    """Return a number without the signs that group it."""
    return text.translate(_NOT_DIGITS)


class Scan:
    """A text to be searched. `text` has the length of the original, so positions in one are positions in the other."""

    def __init__(self, text: str) -> None:
        if not text.isascii() and _FOLDABLE.search(text):
            text = text.translate(_FOLDED)
        self.text = text

    @cached_property
    def runs(self) -> list[Run]:
        """Return the runs of digits that may hold a number worth a look, with the `+` or `(` that leads them."""
        text = self.text
        found = []
        for match in _RUN.finditer(text):
            run = match[0]
            if _DATE.match(run):
                continue
            digits = len(digits_of(run))
            if digits < _LEAST_DIGITS and run.count(".") < _DOTS:
                continue
            start = match.start()
            while start and text[start - 1] in "+(" and match.start() - start < 2:
                start -= 1
            found.append(Run(start, match.end(), digits))
        return found

    def inside_runs(self, pattern: re.Pattern[str], least: int) -> Iterator[re.Match[str]]:
        """Yield the matches of `pattern` that start in a run of so many digits; it sees two characters beyond."""
        text = self.text
        for start, end, digits in self.runs:
            if digits >= least:
                yield from pattern.finditer(text, start, min(end + 2, len(text)))

    def before(self, position: int, length: int) -> str:
        """Return at most `length` characters ahead of `position`, in lower case."""
        return self.text[max(0, position - length) : position].lower()


Detector = Callable[[Scan], Iterator[Span]]
