from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import MAX_NANO, MoneyProblem, divide_half_up, nano_from_usd, usd


@pytest.mark.parametrize(
    ("amount", "nano"),
    [
        ("0.0140", 14_000_000),
        ("0.000000001", 1),
        ("-1", -1_000_000_000),
        (Decimal("2.50"), 2_500_000_000),
        (3, 3_000_000_000),
        ("1e2", 100_000_000_000),
    ],
)
def test_nano_from_usd_is_exact(amount: str | Decimal | int, nano: int) -> None:
    assert nano_from_usd(amount) == nano


@pytest.mark.parametrize("amount", ["0.0000000001", "abc", "", "NaN", "Infinity", "-Infinity", "100000001"])
def test_nano_from_usd_refuses_what_is_no_amount(amount: str) -> None:
    with pytest.raises(MoneyProblem):
        nano_from_usd(amount)


def test_nano_from_usd_refuses_floats() -> None:
    with pytest.raises(TypeError):
        nano_from_usd(0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.0000"), (14_000_000, "0.0140"), (1, "0.000000001"), (-1, "-0.000000001"), (1_500_000_000, "1.5000")],
)
def test_usd_has_four_places_or_as_many_as_it_takes(nano: int, text: str) -> None:
    assert usd(nano) == text


@given(st.integers(-MAX_NANO, MAX_NANO))
def test_usd_and_back_is_the_same(nano: int) -> None:
    assert nano_from_usd(usd(nano)) == nano


@given(st.integers(0, 10**30), st.integers(1, 10**12))
def test_divide_half_up_is_the_nearest_integer(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    result = divide_half_up(numerator, denominator)
    assert result - Fraction(1, 2) <= exact < result + Fraction(1, 2)
