"""Prices as an operator reads and writes them: USD per 1,000,000 tokens, side by side."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext, gettext_noop

from apps.catalog.queries import Price, PriceTier
from apps.catalog.services.prices import check_tiers, complete_tier
from apps.catalog.services.proposals import tiers_from_json
from apps.core.errors import BadRequest
from apps.core.money import MoneyProblem, nano_from_usd, usd

# Per cent: a price that moves by more is as likely a mistake of its source.
LARGE = 50.0
_KINDS = {
    "input": gettext_noop("input"),
    "cache_read": gettext_noop("cache read"),
    "cache_write": gettext_noop("cache write"),
    "output": gettext_noop("output"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One price of one tier: what it is, what it would be (USD per million tokens, — for none), the change.

    `size` is the change without its sign, in per cent of what it is; infinite from nothing paid to something.
    """

    from_tokens: int
    kind: str
    current: str
    proposed: str
    change: str
    size: float = field(default=0.0, compare=False)

    @property
    def large(self) -> bool:
        """Tell whether a person should look twice."""
        return self.size > LARGE

    @property
    def texts(self) -> tuple[str, str, str, str]:
        return gettext(_KINDS[self.kind]), self.current, self.proposed, self.change


def price_differences(current: Mapping[str, Any] | None, proposed: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the prices that differ between what is in force and what is proposed, tier by tier."""
    after = Price("", tiers_from_json(proposed["tiers"]))
    before = None if current is None else Price("", tiers_from_json(current["tiers"]))
    starts = {tier.from_tokens for price in (before, after) if price for tier in price.tiers}
    for start in sorted(starts):
        for kind in _KINDS:
            new: int = getattr(after.tier(start), kind)
            old: int | None = None if before is None else getattr(before.tier(start), kind)
            if new != old:
                shown = "—" if old is None else usd(old)
                yield Difference(start, kind, shown, usd(new), _change(old, new), _size(old, new))


def read_tiers(text: str) -> tuple[PriceTier, ...]:
    """Return the tiers that an operator wrote, one a line: from_tokens input output [cache_read [cache_write]].

    Raises BadRequest with the line that cannot be read.
    """
    tiers = []
    for line in text.splitlines():
        words = line.replace(",", " ").split()
        if not words:
            continue
        if not 3 <= len(words) <= 5 or not (words[0].isascii() and words[0].isdigit()):
            raise BadRequest(f"Not a tier: {line}", param="tiers")
        try:
            input, output, *caches = (nano_from_usd(word) for word in words[1:])
        except MoneyProblem as error:
            raise BadRequest(f"{line}: {error}", param="tiers") from error
        tiers.append(
            complete_tier(
                from_tokens=int(words[0]),
                input=input,
                output=output,
                cache_read=caches[0] if caches else None,
                cache_write=caches[1] if len(caches) > 1 else None,
            )
        )
    return check_tiers(tiers)


def _change(old: int | None, new: int) -> str:
    if not old:
        return ""
    return f"{Decimal(new - old) * 100 / old:+.1f} %"


def _size(old: int | None, new: int) -> float:
    if old is None:
        return 0.0  # a first price changes nothing
    return abs(new - old) * 100 / old if old else math.inf
