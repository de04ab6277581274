"""What other rooms may know of the catalogue: immutable snapshots, never rows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Min

from apps.catalog.models import Model, ModelOffer, PriceProposal, PriceVersion, Provider, Status
from apps.catalog.models import PriceTier as PriceTierRow


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Prices in nano-USD per 1,000,000 tokens from a prompt of `from_tokens` tokens on."""

    from_tokens: int
    input: int
    cache_read: int
    cache_write: int
    output: int


@dataclass(frozen=True, slots=True)
class Price:
    """One price version: the provider's list prices; its tiers ascend and the first starts at 0 tokens.

    `discount_bps` is what the provider takes off for us; who pays with a key of their own has their own contract.
    """

    version_id: str
    tiers: tuple[PriceTier, ...]
    discount_bps: int = 0

    def tier(self, prompt_tokens: int) -> PriceTier:
        """Return the tier at which a whole request with `prompt_tokens` (input, cache read and write) is priced."""
        chosen = self.tiers[0]
        for tier in self.tiers:
            if tier.from_tokens > prompt_tokens:
                break
            chosen = tier
        return chosen


@dataclass(frozen=True, slots=True)
class Offer:
    """One provider's offer of a model, and the provider's terms. Without a price (None) it must not be resold.

    `quality` and the values of `task_quality` (by task class) go from 0 to 1000; `image_tokens` is the most that the
    provider counts for one image. `white_label_allowed`: answers need not name the provider; `notice` is what its
    terms require to be shown; `keeps_cache_control`: an OpenAI-compatible provider that takes it on content parts.
    """

    id: int
    model: str
    provider: str
    adapter: str
    base_url: str
    upstream_model: str
    context_window: int | None
    max_output_tokens: int | None
    capabilities: frozenset[str]
    tokenizer: str
    quality: int | None
    priority: int
    resale_allowed: bool
    price: Price | None
    image_tokens: int = 1_600
    task_quality: Mapping[str, int] = field(default_factory=dict)
    byok_allowed: bool = True
    white_label_allowed: bool = False
    trains_on_data: bool = False
    notice: str = ""
    keeps_cache_control: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    """The active offers of active providers by model id, each list in the order in which they are tried.

    `next_change_at` is when the next price version that is already written begins.
    """

    offers: Mapping[str, tuple[Offer, ...]]
    next_change_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """A provider and what its terms say."""

    id: str
    name: str
    adapter: str
    base_url: str
    active: bool
    resale_allowed: bool
    trains_on_data: bool
    terms_url: str
    byok_allowed: bool
    white_label_allowed: bool
    notice: str


def load_catalog(*, now: datetime) -> Catalog:
    """Return the catalogue in force at `now`, in a fixed number of queries."""
    offers = active_offers(now=now)
    ids = [offer.id for found in offers.values() for offer in found]
    upcoming = PriceVersion.objects.filter(offer_id__in=ids, valid_from__gt=now).aggregate(at=Min("valid_from"))
    return Catalog(offers=offers, next_change_at=upcoming["at"])


def active_offers(*, now: datetime) -> dict[str, tuple[Offer, ...]]:
    """Return the active offers of active providers by model, each list in the order in which they are tried."""
    rows = list(
        ModelOffer.objects.filter(status=Status.ACTIVE, provider__status=Status.ACTIVE)
        .select_related("provider")
        .order_by("model_id", "priority", "id")
    )
    prices = prices_in_force([row.id for row in rows], now=now)
    offers: dict[str, tuple[Offer, ...]] = {}
    for row in rows:
        offers[row.model_id] = (*offers.get(row.model_id, ()), _offer(row, prices.get(row.id)))
    return offers


def load_prices(version_ids: Collection[str]) -> dict[str, Price]:
    """Return the prices of these versions by version id; an unknown id is left out."""
    tiers: dict[str, list[PriceTier]] = {}
    discounts: dict[str, int] = {}
    rows = PriceTierRow.objects.filter(version_id__in=version_ids).select_related("version")
    for row in rows.order_by("version_id", "from_tokens"):
        discounts[row.version_id] = row.version.discount_bps
        tiers.setdefault(row.version_id, []).append(
            PriceTier(row.from_tokens, row.input, row.cache_read, row.cache_write, row.output)
        )
    return {version_id: Price(version_id, tuple(found), discounts[version_id]) for version_id, found in tiers.items()}


def prices_in_force(offer_ids: Collection[int], *, now: datetime) -> dict[int, Price]:
    """Return the price at `now` of each of these offers, active or not; an unpriced one is left out."""
    versions = dict(
        PriceVersion.objects.filter(offer_id__in=offer_ids, valid_from__lte=now)
        .order_by("offer_id", "-valid_from")
        .distinct("offer_id")
        .values_list("offer_id", "id")
    )
    prices = load_prices(versions.values())
    return {offer: prices[version] for offer, version in versions.items()}


def prices_to_come(offer_ids: Collection[int], *, now: datetime) -> dict[int, tuple[tuple[datetime, Price], ...]]:
    """Return the prices of these offers that begin after `now`, each with its beginning, in order."""
    rows = list(
        PriceVersion.objects.filter(offer_id__in=offer_ids, valid_from__gt=now)
        .order_by("valid_from")
        .values_list("offer_id", "valid_from", "id")
    )
    prices = load_prices([version for _, _, version in rows])
    found: dict[int, tuple[tuple[datetime, Price], ...]] = {}
    for offer, valid_from, version in rows:
        found[offer] = (*found.get(offer, ()), (valid_from, prices[version]))
    return found


def provider(provider_id: str) -> ProviderInfo | None:
    """Return a provider, disabled ones included."""
    row = Provider.objects.filter(id=provider_id).first()
    return None if row is None else _provider(row)


def providers() -> tuple[ProviderInfo, ...]:
    """Return all providers, disabled ones included, in alphabetical order of their ids."""
    return tuple(_provider(row) for row in Provider.objects.order_by("id"))


def _provider(row: Provider) -> ProviderInfo:
    return ProviderInfo(
        id=row.id,
        name=row.name,
        adapter=row.adapter,
        base_url=row.base_url,
        active=row.status == Status.ACTIVE,
        resale_allowed=row.resale_allowed,
        trains_on_data=row.trains_on_data,
        terms_url=row.terms_url,
        byok_allowed=row.byok_allowed,
        white_label_allowed=row.white_label_allowed,
        notice=row.notice,
    )


def pending_proposals() -> int:
    """Return how many price proposals wait for a decision."""
    return PriceProposal.objects.filter(state=PriceProposal.State.PENDING).count()


def provider_ids() -> tuple[str, ...]:
    """Return the ids of all providers, active or not, in alphabetical order."""
    return tuple(Provider.objects.order_by("id").values_list("id", flat=True))


def model_exists(model_id: str) -> bool:
    """Tell whether the catalogue knows a model by this public name."""
    return Model.objects.filter(id=model_id).exists()


def offer_id(*, provider: str, upstream_model: str, model: str) -> int | None:
    """Return the id of this offer, disabled ones included."""
    return (
        ModelOffer.objects.filter(provider_id=provider, upstream_model=upstream_model, model_id=model)
        .values_list("id", flat=True)
        .first()
    )


def _offer(row: ModelOffer, price: Price | None) -> Offer:
    return Offer(
        id=row.id,
        model=row.model_id,
        provider=row.provider_id,
        adapter=row.provider.adapter,
        base_url=row.provider.base_url,
        upstream_model=row.upstream_model,
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        capabilities=frozenset(row.capabilities),
        tokenizer=row.tokenizer,
        quality=row.quality,
        priority=row.priority,
        resale_allowed=row.provider.resale_allowed,
        price=price,
        image_tokens=row.image_tokens,
        task_quality=row.task_quality,
        byok_allowed=row.provider.byok_allowed,
        white_label_allowed=row.provider.white_label_allowed,
        trains_on_data=row.provider.trains_on_data,
        notice=row.provider.notice,
        keeps_cache_control=row.provider.keeps_cache_control,
    )
