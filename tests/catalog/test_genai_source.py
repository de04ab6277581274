from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage
from genai_prices.types import (
    ConditionalPrice,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from apps.catalog.queries import Price, PriceTier
from apps.catalog.sources import genai
from apps.catalog.sources.genai import CannotRepresent, SourceMalformed, SourcePrice, count_priced, prices_of
from tests.catalog.factories import NOW, amount, source_model, source_provider


def only_price(prices: Any, **fields: Any) -> SourcePrice:
    (price,) = prices_of(source_model(prices=prices), now=NOW, **fields)
    return price


def test_price_is_exact_in_nano_usd_per_million_tokens() -> None:
    price = only_price(
        ModelPrice(
            input_mtok=amount("0.15"),
            cache_read_mtok=amount("0.075"),
            cache_write_mtok=amount("0.1875"),
            output_mtok=amount("0.000000001"),
        )
    )
    assert price == SourcePrice(None, (PriceTier(0, 150_000_000, 75_000_000, 187_500_000, 1),), ())


def test_missing_cache_price_is_the_input_price_of_its_tier() -> None:
    price = only_price(ModelPrice(input_mtok=amount("1", (1000, "2")), output_mtok=amount("3")))
    assert [(tier.cache_read, tier.cache_write) for tier in price.tiers] == [(10**9, 10**9), (2 * 10**9, 2 * 10**9)]


def test_zero_is_a_price_and_is_pointed_out() -> None:
    price = only_price(ModelPrice(input_mtok=amount("0"), output_mtok=amount("0")))
    assert price.tiers == (PriceTier(0, 0, 0, 0, 0),)
    assert price.notes == ("free of charge according to the source",)


def test_tiers_of_different_kinds_are_merged() -> None:
    price = only_price(
        ModelPrice(
            input_mtok=amount("1", (200_000, "2")),
            output_mtok=amount("10", (128_000, "15")),
            cache_read_mtok=amount("0.1"),
        )
    )
    assert [(tier.from_tokens, tier.input, tier.cache_read, tier.output) for tier in price.tiers] == [
        (0, 10**9, 10**8, 10 * 10**9),
        (128_001, 10**9, 10**8, 15 * 10**9),
        (200_001, 2 * 10**9, 10**8, 15 * 10**9),
    ]


@pytest.mark.parametrize("finer", ["0.0000000001", "0.0833333333333333"])
def test_price_finer_than_a_nano_dollar_is_refused(finer: str) -> None:
    with pytest.raises(CannotRepresent, match="finer than a nano-dollar"):
        only_price(ModelPrice(input_mtok=amount("1"), cache_write_mtok=amount(finer), output_mtok=amount("1")))


@pytest.mark.parametrize("missing", ["input_mtok", "output_mtok"])
def test_missing_price_is_refused_rather_than_zero(missing: str) -> None:
    prices = {"input_mtok": amount("1"), "output_mtok": amount("1")}
    del prices[missing]
    with pytest.raises(CannotRepresent, match=f"{missing} is missing"):
        only_price(ModelPrice(**prices))
    with pytest.raises(CannotRepresent):
        only_price(ModelPrice())


def test_model_that_only_embeds_needs_no_output_price() -> None:
    price = only_price(ModelPrice(input_mtok=amount("0.02")), embeddings_only=True)
    assert price.tiers == (PriceTier(0, 20_000_000, 20_000_000, 20_000_000, 20_000_000),)
    with pytest.raises(CannotRepresent):
        only_price(ModelPrice(output_mtok=amount("0.02")), embeddings_only=True)


@pytest.mark.parametrize(
    "extra",
    [
        {"input_image_mtok": amount("2")},
        {"output_image_mtok": amount("2")},
        {"output_reasoning_mtok": amount("2")},
        {"requests_kcount": amount("5")},
        {"audio_hours": amount("5")},
        {"new_kind_mtok": amount("1")},
    ],
)
def test_token_kind_that_is_priced_apart_is_refused(extra: dict[str, Decimal]) -> None:
    with pytest.raises(CannotRepresent, match=next(iter(extra))):
        only_price(ModelPrice(input_mtok=amount("1"), output_mtok=amount("1"), **extra))


def test_token_kind_at_the_price_of_its_bucket_is_exact() -> None:
    plain = ModelPrice(input_mtok=amount("1"), output_mtok=amount("4"))
    apart = ModelPrice(
        input_mtok=amount("1"),
        output_mtok=amount("4"),
        input_image_mtok=amount("1"),
        output_reasoning_mtok=amount("4"),
        cache_image_read_mtok=amount("1"),
    )
    assert only_price(apart).tiers == only_price(plain).tiers


def test_what_the_price_leaves_out_is_noted() -> None:
    model = source_model(
        prices=ModelPrice(input_mtok=amount("1"), output_mtok=amount("1"), web_searches_kcount=amount("10")),
        price_variants=[
            PriceVariant(when={"service_tier": "default"}, prices=ModelPrice()),
            PriceVariant(when={"service_tier": "priority"}, prices=ModelPrice(input_mtok=amount("2"))),
        ],
        price_comments="Seen on a page.",
    )
    (price,) = prices_of(model, now=NOW)
    assert price.notes == (
        "not included: web_searches_kcount",
        "priced apart by the provider: requests with service_tier=priority",
        "Seen on a page.",
    )


def dated(start: date | None, price: str) -> ConditionalPrice:
    constraint = None if start is None else StartDateConstraint(start_date=start)
    return ConditionalPrice(constraint, prices=ModelPrice(input_mtok=amount(price), output_mtok=amount(price)))


def test_dated_prices_give_the_present_one_and_those_to_come() -> None:
    conditional = [
        dated(None, "1"),
        dated(date(2026, 3, 1), "2"),
        dated(date(2026, 7, 1), "3"),
        dated(date(2026, 9, 1), "4"),
    ]
    found = prices_of(source_model(prices=conditional), now=NOW)
    assert [(price.valid_from, price.tiers[0].input) for price in found] == [
        (None, 2 * 10**9),
        (datetime(2026, 7, 1, tzinfo=UTC), 3 * 10**9),
        (datetime(2026, 9, 1, tzinfo=UTC), 4 * 10**9),
    ]


def test_price_by_time_of_day_is_refused_only_while_it_counts() -> None:
    by_day = TimeOfDateConstraint(start_time=time(0, 30, tzinfo=UTC), end_time=time(16, 30, tzinfo=UTC))
    prices = [dated(None, "1"), ConditionalPrice(by_day, prices=dated(None, "2").prices)]
    with pytest.raises(CannotRepresent, match="time of day"):
        prices_of(source_model(prices=prices), now=NOW)
    prices.append(dated(date(2026, 1, 1), "3"))
    assert [price.tiers[0].input for price in prices_of(source_model(prices=prices), now=NOW)] == [3 * 10**9]


def test_every_price_of_the_package_that_is_taken_agrees_with_its_own_arithmetic() -> None:
    catalogue = genai.bundled()
    taken = 0
    for provider in catalogue:
        if provider.id not in {"openai", "anthropic", "google", "x-ai", "mistral"}:
            continue
        for model in provider.models:
            try:
                current, *_ = prices_of(model, now=NOW)
            except CannotRepresent:
                continue
            taken += 1
            for prompt in (0, 1_000, 128_000, 128_001, 200_000, 200_001, 272_001, 1_000_000):
                read, written = prompt // 4, prompt // 8
                theirs = model.get_prices(NOW).calc_price(
                    Usage(input_tokens=prompt, cache_read_tokens=read, cache_write_tokens=written, output_tokens=777)
                )
                tier = Price("pv", current.tiers).tier(prompt)
                ours = (
                    (prompt - read - written) * tier.input
                    + read * tier.cache_read
                    + written * tier.cache_write
                    + 777 * tier.output
                )
                assert Decimal(ours) / 10**15 == theirs["total_price"], (provider.id, model.id, prompt)
    assert taken > 200


def test_package_as_installed_is_healthy() -> None:
    counts = count_priced(genai.bundled())
    assert counts["openai"] > 50
    assert sum(counts.values()) > 1000


def catalogue_with(**prices: Any) -> list[Any]:
    return [source_provider("openai", source_model(prices=ModelPrice(**prices)))]


@pytest.mark.parametrize(
    ("catalogue", "message"),
    [
        ([], "no providers"),
        ({"openai": []}, "no providers"),
        (["openai"], "not a provider"),
        ([source_provider("")], "not a provider"),
        ([source_provider("openai"), source_provider("openai")], "listed twice"),
        ([source_provider("openai", source_model(), source_model())], "openai: gpt-4o-mini is listed twice"),
        ([source_provider("openai", source_model(id=""))], "not a model"),
        ([source_provider("openai", "gpt-4o-mini")], "not a model"),  # type: ignore[arg-type]
        ([source_provider("openai", source_model(prices=[]))], "not a set of prices"),
        ([source_provider("openai", source_model(prices={"input_mtok": 1}))], "not a set of prices"),
        (catalogue_with(input_mtok=Decimal("-1")), "-1 is not a price"),
        (catalogue_with(output_mtok=Decimal("NaN")), "NaN is not a price"),
        (catalogue_with(output_mtok=Decimal("Infinity")), "Infinity is not a price"),
        (catalogue_with(input_mtok=0.15), "0.15 is not a price"),
        (catalogue_with(input_mtok="0.15"), "0.15 is not a price"),
        (catalogue_with(input_mtok=Decimal("1000001")), "absurd"),
        (catalogue_with(input_mtok=amount("1", (10, "2"), (10, "3"))), "do not ascend"),
        (catalogue_with(input_mtok=amount("1", (-5, "2"))), "whole number of tokens"),
        (catalogue_with(input_mtok=amount("1", (5, "-2"))), "-2 is not a price"),
    ],
)
def test_malformed_catalogue_is_refused_as_a_whole(catalogue: Any, message: str) -> None:
    with pytest.raises(SourceMalformed, match=message):
        count_priced(catalogue)


def test_malformed_tier_start_and_condition_are_refused() -> None:
    tiered = TieredPrices(base=Decimal(1), tiers=[Tier(start=1.5, price=Decimal(2))])  # type: ignore[arg-type]
    with pytest.raises(SourceMalformed, match="whole number"):
        count_priced(catalogue_with(input_mtok=tiered))
    strange = replace(dated(None, "1"), constraint="on Sundays", prices=dated(None, "1").prices)  # type: ignore[arg-type]
    with pytest.raises(SourceMalformed, match="unknown condition str"):
        count_priced([source_provider("openai", source_model(prices=[strange]))])


def test_provider_is_found_by_id_before_address() -> None:
    catalogue = [source_provider("openai"), source_provider("acme", pattern=r"https://llm\.acme\.com")]
    openai, acme = catalogue
    assert genai.find_provider(catalogue, provider_id="acme", base_url="https://api.openai.com/v1") is acme
    assert genai.find_provider(catalogue, provider_id="ours", base_url="https://api.openai.com/v1") is openai
    assert genai.find_provider(catalogue, provider_id="demo", base_url="http://127.0.0.1:9/v1") is None


def test_model_is_found_by_id_before_the_source_guesses() -> None:
    broad, exact = source_model("gpt-4o"), source_model("gpt-4o-mini")
    broad.match = exact.match
    provider = source_provider("openai", broad, exact)
    assert genai.find_model([provider], provider, "gpt-4o-mini") is exact
    assert genai.find_model([provider], provider, "GPT-4O-MINI") is broad
    assert genai.find_model([provider], provider, "gpt-5") is None
