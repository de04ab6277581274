"""Amounts are whole nano-USD (1 USD = 1 000 000 000). Prices are whole nano-USD per million tokens."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

NANO = 1_000_000_000
MILLION = 1_000_000


def nano_from_usd(text: object) -> int:
    """Read dollars, such as "12.50", as nano-USD. Raises ValueError if it is negative or finer than a nano-dollar."""
    if isinstance(text, float):
        text = repr(text)  # what a person has written in TOML, and not its binary neighbour
    try:
        nano = Decimal(str(text)) * NANO
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount in dollars") from None
    if not nano.is_finite() or nano < 0 or nano != nano.to_integral_value():
        raise ValueError(f"{text!r} is not an amount in dollars of at most nine decimals")
    return int(nano)


def usd(nano: int | None) -> str:
    """Write an amount for people: at least two decimals, and as many as a small amount needs to be seen."""
    if nano is None:
        return "unknown"
    value = Decimal(nano) / NANO
    places = 2 if value == 0 or value >= 1 else 4 if value >= Decimal("0.01") else 6
    text = f"{value:.{places}f}"
    return f"${text}"


@dataclass(frozen=True)
class Tokens:
    """What a call has used. `input` includes `cache_read`; `output` includes `reasoning`."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        return self.input + self.output


@dataclass(frozen=True)
class Price:
    """What a model costs, in nano-USD per million tokens."""

    input: int
    output: int
    cache_read: int | None = None

    def cost(self, tokens: Tokens) -> int:
        """Return what these tokens cost in nano-USD, rounded up."""
        cached = min(tokens.cache_read, tokens.input)
        read = self.input if self.cache_read is None else self.cache_read
        parts = (tokens.input - cached) * self.input + cached * read + tokens.output * self.output
        return -(-parts // MILLION)


FREE = Price(0, 0)
