"""The genai-prices package as a price source. Pure: no database, no network, no clock.

Its prices are decimals in USD per 1,000,000 tokens, so nano-USD per 1,000,000 tokens is ten to the ninth of them.
Its tiers apply to the whole request once the prompt has *more* than `start` tokens; ours from `from_tokens` on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from re import match
from typing import Any

from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from apps.catalog.models import MAX_PRICE
from apps.catalog.queries import PriceTier
from apps.catalog.services.prices import complete_tier
from apps.core.money import NANO_PER_USD

NAME = "genai-prices"
_BUCKETS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
# What only a request that asks for it costs, in a way the gateway refuses or does not speak. Named on the proposal.
_EXTRAS = {
    "web_searches_kcount",
    "storage_searches_kcount",
    "cache_write_1h_mtok",
    "input_audio_mtok",
    "cache_audio_read_mtok",
    "output_audio_mtok",
}

Amount = Decimal | TieredPrices


class SourceMalformed(Exception):
    """The source as a whole is not to be trusted; the message says what is wrong, and where."""


class CannotRepresent(Exception):
    """One price of the source has no exact counterpart here; the message says why."""


@dataclass(frozen=True, slots=True)
class SourcePrice:
    """A price as the source states it: from a moment on, or (None) now; `notes` say what it leaves out."""

    valid_from: datetime | None
    tiers: tuple[PriceTier, ...]
    notes: tuple[str, ...]


def source_version() -> str:
    """Return the version of the installed package."""
    return version(NAME)


def bundled() -> list[Provider]:
    """Return the catalogue that the installed package carries."""
    from genai_prices.data import providers  # here: 30,000 lines that only an import of prices needs

    return providers


def count_priced(catalogue: Sequence[Provider]) -> dict[str, int]:
    """Return the number of priced models by provider, having checked every entry.

    Raises SourceMalformed on anything that no healthy catalogue holds: wrong types, ids that are missing or doubled,
    prices that are negative, not finite or absurd, tiers that do not ascend.
    """
    if not isinstance(catalogue, list) or not catalogue:
        raise SourceMalformed("the source lists no providers")
    counts: dict[str, int] = {}
    for provider in catalogue:
        if not isinstance(provider, Provider) or not isinstance(provider.id, str) or not provider.id:
            raise SourceMalformed(f"not a provider: {str(provider)[:100]}")
        if provider.id in counts:
            raise SourceMalformed(f"provider {provider.id} is listed twice")
        seen: set[str] = set()
        counts[provider.id] = 0
        for model in provider.models:
            if not isinstance(model, ModelInfo) or not isinstance(model.id, str) or not model.id:
                raise SourceMalformed(f"{provider.id}: not a model: {str(model)[:100]}")
            if model.id in seen:
                raise SourceMalformed(f"{provider.id}: {model.id} is listed twice")
            seen.add(model.id)
            try:
                counts[provider.id] += _is_priced(model)
            except SourceMalformed as error:
                raise SourceMalformed(f"{provider.id}: {model.id}: {error}") from None
    return counts


def find_provider(catalogue: Sequence[Provider], *, provider_id: str, base_url: str) -> Provider | None:
    """Return the source's provider of this id, else the one whose API has this address."""
    for provider in catalogue:
        if provider.id == provider_id:
            return provider
    return next((provider for provider in catalogue if match(provider.api_pattern, base_url)), None)


def find_model(catalogue: Sequence[Provider], provider: Provider, upstream_model: str) -> ModelInfo | None:
    """Return the source's entry for a model as its provider calls it: by id, else by the source's own matching."""
    for model in provider.models:
        if model.id == upstream_model:
            return model
    return provider.find_model(upstream_model, all_providers=list(catalogue))


def prices_of(model: ModelInfo, *, now: datetime, embeddings_only: bool = False) -> tuple[SourcePrice, ...]:
    """Return the price of a model now, followed by those that are announced to begin later.

    A model that only embeds produces no output tokens, so its missing output price is the input price. Raises
    CannotRepresent for prices by time of day, finer than a nano-dollar, without input or output price, or with token
    kinds that are priced apart.
    """
    now = now.astimezone(UTC)
    starts = sorted({start for start in _start_dates(model) if start > now.date()})
    found = [_convert(_in_force(model, now.date()), None, model, embeddings_only)]
    for start in starts:
        begins = datetime.combine(start, time(), UTC)
        found.append(_convert(_in_force(model, start), begins, model, embeddings_only))
    return tuple(found)


def _conditional(model: ModelInfo) -> Sequence[ConditionalPrice]:
    return [ConditionalPrice(prices=model.prices)] if isinstance(model.prices, ModelPrice) else model.prices


def _start_dates(model: ModelInfo) -> Iterator[date]:
    for price in _conditional(model):
        if isinstance(price.constraint, StartDateConstraint):
            yield price.constraint.start_date


def _in_force(model: ModelInfo, day: date) -> ModelPrice:
    """Return the price of a day: the last whose condition holds, else the first, as the package itself decides."""
    prices = _conditional(model)
    for price in (*reversed(prices), prices[0]):
        if isinstance(price.constraint, TimeOfDateConstraint):
            raise CannotRepresent("the price depends on the time of day")
        if price.constraint is None or price.constraint.start_date <= day:
            return price.prices
    return prices[0].prices


def _amounts(price: ModelPrice) -> dict[str, Amount]:
    return {key: value for key, value in vars(price).items() if value is not None and not key.startswith("_")}


def _is_priced(model: ModelInfo) -> bool:
    prices = model.prices
    if not isinstance(prices, ModelPrice) and not (
        isinstance(prices, list) and prices and all(isinstance(price, ConditionalPrice) for price in prices)
    ):
        raise SourceMalformed("not a set of prices")
    for price in _conditional(model):
        if not isinstance(price.constraint, StartDateConstraint | TimeOfDateConstraint | None):
            raise SourceMalformed(f"unknown condition {type(price.constraint).__name__}")
        for key, amount in _amounts(price.prices).items():
            _check_amount(key, amount)
    return any("input_mtok" in _amounts(price.prices) for price in _conditional(model))


def _check_amount(key: str, amount: Any) -> None:
    if isinstance(amount, TieredPrices):
        starts = [tier.start for tier in amount.tiers]
        if any(type(start) is not int or not 0 <= start < 2**31 - 1 for start in starts):
            raise SourceMalformed(f"{key}: a tier starts at a whole number of tokens")
        if starts != sorted(set(starts)):
            raise SourceMalformed(f"{key}: tiers do not ascend")
        values = [amount.base, *(tier.price for tier in amount.tiers)]
    else:
        values = [amount]
    for value in values:
        if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
            raise SourceMalformed(f"{key}: {value} is not a price")
        if value * NANO_PER_USD > MAX_PRICE:
            raise SourceMalformed(f"{key}: {value} USD is absurd")


def _convert(price: ModelPrice, valid_from: datetime | None, model: ModelInfo, embeddings_only: bool) -> SourcePrice:
    amounts = _amounts(price)
    if embeddings_only and "output_mtok" not in amounts and "input_mtok" in amounts:
        amounts["output_mtok"] = amounts["input_mtok"]
    for key in ("input_mtok", "output_mtok"):
        if key not in amounts:
            raise CannotRepresent(f"{key} is missing")
    # Token kinds fall back to their bucket: an unpriced cache is billed as input, by the source and by us.
    buckets = {key: amounts.get(key, amounts["input_mtok"]) for key in _BUCKETS}
    for key, amount in amounts.items():
        if key in _BUCKETS or key in _EXTRAS:
            continue
        bucket = _bucket_of(key)
        if bucket is None:
            raise CannotRepresent(f"{key} is no kind of token that is counted here")
        if not _same(amount, buckets[bucket]):
            raise CannotRepresent(f"{key} is priced apart from {bucket}")
    tiers = tuple(
        complete_tier(
            from_tokens=start,
            input=_nano("input_mtok", _at(buckets["input_mtok"], start)),
            cache_read=_nano("cache_read_mtok", _at(buckets["cache_read_mtok"], start)),
            cache_write=_nano("cache_write_mtok", _at(buckets["cache_write_mtok"], start)),
            output=_nano("output_mtok", _at(buckets["output_mtok"], start)),
        )
        for start in sorted({start for amount in buckets.values() for start in _starts(amount)})
    )
    return SourcePrice(valid_from, tiers, tuple(_notes(amounts, model, tiers)))


def _notes(amounts: Mapping[str, Amount], model: ModelInfo, tiers: Sequence[PriceTier]) -> Iterator[str]:
    if all(not (tier.input or tier.output) for tier in tiers):
        yield "free of charge according to the source"
    for key in sorted(_EXTRAS & set(amounts)):
        yield f"not included: {key}"
    for variant in model.price_variants or ():
        changed = [key for key, amount in _amounts(variant.prices).items() if not _same(amount, amounts.get(key))]
        if changed:
            condition = ", ".join(f"{name}={value}" for name, value in sorted(variant.when.items()))
            yield f"priced apart by the provider: requests with {condition}"
    if model.price_comments:
        yield model.price_comments


def _starts(amount: Amount) -> Iterator[int]:
    yield 0
    if isinstance(amount, TieredPrices):
        for tier in amount.tiers:
            yield tier.start + 1


def _at(amount: Amount, tokens: int) -> Decimal:
    """Return the price of a request with a prompt of `tokens` tokens."""
    if isinstance(amount, Decimal):
        return amount
    found = amount.base
    for tier in amount.tiers:
        if tokens > tier.start:
            found = tier.price
    return found


def _same(one: Amount, other: Amount | None) -> bool:
    if other is None:
        return False
    return all(_at(one, start) == _at(other, start) for start in {*_starts(one), *_starts(other)})


def _nano(key: str, price: Decimal) -> int:
    nano = price * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise CannotRepresent(f"{key}: {price} USD is finer than a nano-dollar")
    return int(nano)


@cache
def _buckets_by_key() -> Mapping[str, str]:
    from genai_prices.data_units import unit_data

    found = {}
    for unit in unit_data.values():
        dimensions = unit["dimensions"]
        if dimensions.get("family") != "tokens" or unit["per"] != 1_000_000:
            continue
        direction, kind = dimensions.get("direction"), dimensions.get("token_type")
        if kind in {"cache_read", "cache_write"}:
            found[unit["price_key"]] = f"{kind}_mtok"
        elif kind is None or (kind, direction) == ("reasoning", "output"):
            found[unit["price_key"]] = f"{direction}_mtok"
    return found


def _bucket_of(key: str) -> str | None:
    return _buckets_by_key().get(key)
