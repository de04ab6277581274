"""All detectors by name, and what they find in one text without overlaps."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from apps.gateway.privacy.addresses import find_address, may_hold_address
from apps.gateway.privacy.contacts import find_email, find_ip
from apps.gateway.privacy.keys import find_key, may_hold_key
from apps.gateway.privacy.numbers import find_card, find_chinese_id, find_iban
from apps.gateway.privacy.phones import PhoneDetector
from apps.gateway.privacy.scan import Detector, Scan


class Match(NamedTuple):
    """A value found: half-open range of characters, and the name of its detector."""

    start: int
    end: int
    kind: str


# In order of precedence between matches of the same length.
_ALL: Mapping[str, Detector] = {
    "key": find_key,
    "email": find_email,
    "iban": find_iban,
    "chinese_id": find_chinese_id,
    "card": find_card,
    "ip": find_ip,
    "phone": PhoneDetector(),
    "address": find_address,
}
DETECTORS: tuple[str, ...] = tuple(_ALL)
# No value is shorter: fc00::
SHORTEST = 6
# What all values have but a few keys, addresses of machines in letters, and houses counted in Chinese.
_HINT = re.compile("[0-9@]")
_WITHOUT_HINT = frozenset(("key", "ip", "address"))
_RANK = {kind: rank for rank, kind in enumerate(DETECTORS)}


def detect(text: str, names: Iterable[str] = DETECTORS) -> list[Match]:
    """Return what the named detectors find in a text, in order, without overlaps.

    Matches that overlap become one: nothing that was found is left standing. It is of the kind of the longest of them,
    and among equally long ones of the first in DETECTORS.
    """
    if len(text) < SHORTEST:
        return []
    scan = Scan(text)
    if not _HINT.search(scan.text):
        names = [name for name in names if name in _WITHOUT_HINT]
    return merge([Match(start, end, name) for name in names for start, end in _ALL[name](scan)])


def may_hold(text: str) -> bool:
    """Tell cheaply whether a text, or any string in it where it is JSON, may hold something that a detector finds."""
    if "@" in text or "::" in text or "\\u" in text or "\\/" in text:
        return True
    scan = Scan(text)
    return bool(scan.runs) or may_hold_key(text) or may_hold_address(scan.text)


def merge(matches: list[Match]) -> list[Match]:
    """Return matches in order, each group of overlapping ones joined."""
    if len(matches) < 2:
        return matches
    merged: list[Match] = []
    longest = 0
    for match in sorted(matches, key=lambda match: (match.start, -match.end, _RANK.get(match.kind, -1))):
        length = match.end - match.start
        if not merged or match.start >= merged[-1].end:
            merged.append(match)
            longest = length
            continue
        last = merged[-1]
        wins = length > longest or (length == longest and _RANK.get(match.kind, -1) < _RANK.get(last.kind, -1))
        merged[-1] = Match(last.start, max(last.end, match.end), match.kind if wins else last.kind)
        longest = max(longest, length)
    return merged
