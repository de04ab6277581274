import pytest

from apps.catalog.differences import Difference, price_differences, read_tiers
from apps.catalog.queries import PriceTier
from apps.catalog.services.proposals import tiers_as_json
from apps.core.errors import BadRequest
from tests.catalog.factories import tier


def stored(*tiers: PriceTier) -> dict:
    return {"tiers": tiers_as_json(tiers)}


def test_only_what_differs_is_shown() -> None:
    before = stored(tier(input=10**9, output=2 * 10**9, cache_read=0, cache_write=1))
    after = stored(tier(input=10**9, output=3 * 10**9, cache_read=0, cache_write=1))
    assert list(price_differences(before, after)) == [Difference(0, "output", "2.0000", "3.0000", "+50.0 %")]
    assert list(price_differences(before, before)) == []


def test_first_price_is_shown_against_nothing_and_zero_is_not_nothing() -> None:
    after = stored(tier(input=0, output=10**9))
    assert [(item.kind, item.current, item.proposed, item.change) for item in price_differences(None, after)] == [
        ("input", "—", "0.0000", ""),
        ("cache_read", "—", "0.0000", ""),
        ("cache_write", "—", "0.0000", ""),
        ("output", "—", "1.0000", ""),
    ]


def test_tier_that_only_one_side_has_is_compared_with_what_applies_there() -> None:
    before = stored(tier(input=10**9), tier(200_001, input=2 * 10**9))
    after = stored(tier(input=10**9))
    found = {(item.from_tokens, item.kind): (item.current, item.proposed) for item in price_differences(before, after)}
    assert found[200_001, "input"] == ("2.0000", "1.0000")
    assert all(start == 200_001 for start, _ in found)


def test_written_tiers_are_read_exactly() -> None:
    assert read_tiers("0 0.15 0.60 0.075\n\n200001, 0.30, 1.20, 0.15, 0.375\n") == (
        PriceTier(0, 150_000_000, 75_000_000, 150_000_000, 600_000_000),
        PriceTier(200_001, 300_000_000, 150_000_000, 375_000_000, 1_200_000_000),
    )


@pytest.mark.parametrize(
    "text",
    ["", "0 0.15", "0 a b", "x 1 1", "0 1 1 1 1 1", "0 -1 1", "5 1 1", "0 1 1\n0 2 2", "0 0.0000000001 1", "² 1 1"],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read_tiers(text)
