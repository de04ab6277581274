"""What a seeded instance calls: the demo provider with its models, or the real one that OPENAI_API_KEY opens."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.db import transaction

from apps.catalog.queries import PriceTier, offer_id, prices_in_force, provider
from apps.catalog.services.offers import add_model, add_offer, add_provider, update_provider
from apps.catalog.services.prices import publish_price
from apps.catalog.sources import genai
from apps.core.errors import Conflict
from apps.core.money import nano_from_usd
from apps.vault.queries import load_shared_credentials
from apps.vault.services.credentials import add_credential, rotate_credential
from modelfaucet import env
from modelfaucet.demo.embeddings import EMBEDDING_MODEL

ACTOR = "demo"
CHAT = ("chat", "json", "stream", "tools")


@dataclass(frozen=True)
class Offered:
    """A model of the provider with its price; `quality` goes from 0 to 1000."""

    model: str
    tier: PriceTier
    tokenizer: str = "o200k_base"
    capabilities: tuple[str, ...] = CHAT
    quality: int | None = None


@dataclass(frozen=True)
class Upstream:
    """The provider that a seeded instance calls. The first of its models is the app's default."""

    provider: str
    name: str
    base_url: str
    secret: str
    models: tuple[Offered, ...]

    @property
    def default_model(self) -> str:
        return self.models[0].model

    @property
    def embedding_model(self) -> str | None:
        return next((each.model for each in self.models if "embeddings" in each.capabilities), None)


def _tier(input: str, cache_read: str, output: str) -> PriceTier:
    price, cached = nano_from_usd(input), nano_from_usd(cache_read)
    return PriceTier(0, input=price, cache_read=cached, cache_write=price, output=nano_from_usd(output))


DEMO_MODELS = (
    Offered("faucet-demo", _tier("2.50", "1.25", "10"), quality=750),
    Offered("faucet-demo-large", _tier("5", "2.50", "20"), quality=900),
    Offered(EMBEDDING_MODEL, _tier("0.10", "0.10", "0"), capabilities=("embeddings",)),
)


def demo_upstream() -> Upstream:
    """Return the demo provider, or the real one that OPENAI_API_KEY opens."""
    if not env.OPENAI_API_KEY:
        url = f"http://127.0.0.1:{env.DEMO_PROVIDER_PORT}/v1"
        return Upstream("demo", "Demo provider", url, "demo-needs-no-key", DEMO_MODELS)
    base_url = env.OPENAI_BASE_URL or "https://api.openai.com/v1"
    name = urlsplit(base_url).hostname or "provider"
    only = Offered(env.OPENAI_MODEL, _listed_price(base_url), "unknown", ("chat", "stream", "tools"))
    return Upstream(name.replace(".", "-"), name, base_url, env.OPENAI_API_KEY, (only,))


def _listed_price(base_url: str) -> PriceTier:
    """Return the list price of OPENAI_MODEL, or the one set for models that no list knows."""
    listed = genai.bundled()
    found = genai.find_provider(listed, provider_id="", base_url=base_url)
    model = genai.find_model(listed, found, env.OPENAI_MODEL) if found else None
    if model is not None:
        prices = genai.prices_of(model, now=datetime.now().astimezone())
        if prices:
            return prices[-1].tiers[0]
    price_in, price_out = nano_from_usd(env.OPENAI_INPUT_USD), nano_from_usd(env.OPENAI_OUTPUT_USD)
    return PriceTier(0, input=price_in, cache_read=price_in, cache_write=price_in, output=price_out)


@transaction.atomic
def seed_upstream(upstream: Upstream, *, now: datetime) -> None:
    """Make the provider, its models, prices and credential, or bring them up to date."""
    existing = provider(upstream.provider)
    if existing is None:
        add_provider(
            id=upstream.provider,
            name=upstream.name,
            base_url=upstream.base_url,
            resale_allowed=True,
            trains_on_data=False,
            now=now,
            actor=ACTOR,
        )
    elif existing.base_url != upstream.base_url:
        update_provider(upstream.provider, base_url=upstream.base_url, now=now, actor=ACTOR)
    for offered in upstream.models:
        _seed_offer(upstream.provider, offered, now=now)
    credential = next((c for c in load_shared_credentials() if c.provider == upstream.provider), None)
    if credential is None:
        add_credential(
            owner_class="platform",
            provider=upstream.provider,
            label=upstream.name,
            secret=upstream.secret,
            now=now,
            actor=ACTOR,
        )
    elif dict(credential.headers.items()).get("authorization") != f"Bearer {upstream.secret}":
        rotate_credential(credential.id, secret=upstream.secret, now=now, actor=ACTOR)


def _seed_offer(provider_id: str, offered: Offered, *, now: datetime) -> None:
    try:
        with transaction.atomic():
            add_model(id=offered.model, name=offered.model, now=now, actor=ACTOR)
    except Conflict:
        pass
    offer = offer_id(provider=provider_id, upstream_model=offered.model, model=offered.model)
    if offer is None:
        offer = add_offer(
            provider=provider_id,
            model=offered.model,
            upstream_model=offered.model,
            capabilities=offered.capabilities,
            quality=offered.quality,
            tokenizer=offered.tokenizer,
            now=now,
            actor=ACTOR,
        )
    price = prices_in_force([offer], now=now).get(offer)
    if price is None or price.tiers != (offered.tier,):
        publish_price(offer, [offered.tier], now, "demo", now=now, actor=ACTOR)
