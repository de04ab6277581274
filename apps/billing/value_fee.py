"""The price of value: a part of what was saved, else a base fee. Pure; amounts in nano-USD."""

from dataclasses import dataclass

from apps.core.money import divide_half_up

BPS = 10_000
BASELINE_MONTHS = 3


@dataclass(frozen=True, slots=True)
class ValueFee:
    """What a month by value comes to: `total` is the actual cost and the fee, `gain` what the developer is better off.

    `gain` is negative in a month without savings.
    """

    baseline: int
    actual: int
    savings: int
    fee: int
    total: int
    gain: int


def value_fee(baseline: int, actual: int, share_bps: int, base_fee: int) -> ValueFee:
    """Return the fee of a month: `share_bps` of what was saved against the baseline, or the base fee if nothing was.

    Rounded once, halves up. Raises ValueError for amounts that are negative and shares above the whole.
    """
    if min(baseline, actual, base_fee) < 0 or not 0 <= share_bps <= BPS:
        raise ValueError("amounts are not negative, and a share is at most 10000 basis points")
    savings = max(baseline - actual, 0)
    fee = divide_half_up(savings * share_bps, BPS) if savings else base_fee
    return ValueFee(baseline, actual, savings, fee, actual + fee, savings - fee)


def baseline_of(months: tuple[int, ...]) -> int:
    """Return the mean of the three months before, rounded once, halves up. Raises ValueError for another number."""
    if len(months) != BASELINE_MONTHS or min(months) < 0:
        raise ValueError("a baseline is the mean of three months")
    return divide_half_up(sum(months), BASELINE_MONTHS)
