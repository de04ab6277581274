"""Makes what the catalogue's tests work on, through the room's own services."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, Tier, TieredPrices
from genai_prices.types import Provider as SourceProvider

from apps.catalog.queries import PriceTier
from apps.catalog.services.offers import add_model, add_offer, add_provider
from apps.catalog.services.prices import complete_tier

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WHO: dict[str, Any] = {"now": NOW, "actor": "test"}


def make_provider(id: str = "openai", **fields: Any) -> str:
    fields = {"resale_allowed": True, "trains_on_data": False, "base_url": "https://api.openai.com/v1"} | fields
    return add_provider(**({"id": id, "name": id.title()} | WHO | fields))


def make_offer(model: str = "gpt-4o-mini", provider: str | None = None, **fields: Any) -> int:
    provider = provider or make_provider()
    add_model(id=model, name=model, **WHO)
    fields = {"upstream_model": model, "capabilities": ["chat", "stream"]} | WHO | fields
    return add_offer(provider=provider, model=model, **fields)


def tier(from_tokens: int = 0, input: int = 150_000_000, output: int = 600_000_000, **caches: int) -> PriceTier:
    return complete_tier(from_tokens=from_tokens, input=input, output=output, **caches)


def amount(value: str, *tiers: tuple[int, str]) -> Decimal | TieredPrices:
    """Give a price as the source states it: USD per million tokens, tiers as (start, price)."""
    if not tiers:
        return Decimal(value)
    return TieredPrices(base=Decimal(value), tiers=[Tier(start=start, price=Decimal(price)) for start, price in tiers])


def source_model(id: str = "gpt-4o-mini", prices: Any = None, **fields: Any) -> ModelInfo:
    if prices is None:
        prices = ModelPrice(input_mtok=amount("0.15"), cache_read_mtok=amount("0.075"), output_mtok=amount("0.6"))
    return ModelInfo(id=id, match=ClauseEquals(equals=id), prices=prices, **fields)


def source_provider(
    id: str = "openai", *models: ModelInfo, pattern: str = r"https://api\.openai\.com"
) -> SourceProvider:
    return SourceProvider(id=id, name=id, api_pattern=pattern, models=list(models))
