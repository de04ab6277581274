"""Money is a whole number of nano-USD (1 USD = 10⁹), so that sums are exact and rounding happens once."""

from decimal import Decimal, InvalidOperation

NANO_PER_USD = 1_000_000_000
NANO_PER_CENT = 10_000_000
# Far above any balance and far below the limit of a bigint column, so that sums cannot overflow.
MAX_NANO = 10**17


class MoneyProblem(ValueError):
    """An amount that is not exact to the nano-USD, not finite or out of range."""


def nano_from_usd(amount: str | Decimal | int) -> int:
    """Return `amount` in nano-USD. Floats are not accepted: they are rarely the amount that was meant."""
    if isinstance(amount, float):
        raise TypeError("an amount of money is a string, a Decimal or an int, never a float")
    try:
        exact = Decimal(amount) * NANO_PER_USD
    except InvalidOperation as error:
        raise MoneyProblem(f"{amount!r} is not an amount of money") from error
    if not exact.is_finite():
        raise MoneyProblem(f"{amount!r} is not an amount of money")
    if exact != exact.to_integral_value():
        raise MoneyProblem(f"{amount} USD is finer than a nano-dollar (9 decimal places)")
    if abs(exact) > MAX_NANO:
        raise MoneyProblem(f"{amount} USD is out of range")
    return int(exact)


def usd(nano: int) -> str:
    """Return an amount in USD as an exact decimal string with at least four places: `0.0140`."""
    whole, rest = divmod(abs(nano), NANO_PER_USD)
    places = f"{rest:09d}".rstrip("0").ljust(4, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{places}"


def divide_half_up(numerator: int, denominator: int) -> int:
    """Return numerator / denominator rounded to the nearest integer, halves up (both not negative)."""
    return (2 * numerator + denominator) // (2 * denominator)
