"""A feature whose answers are cached, and calls of it."""

import json
from typing import Any

import httpx

from apps.catalog.queries import PriceTier
from apps.catalog.services.offers import add_model, add_offer
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.queries import features_of_app
from apps.features.services.manifests import put_manifest
from apps.usage.models import UsageEvent
from tests.live import ACTOR, World

HEADER = "x-modelfaucet-cache"
EMBEDDER = "test-embedder"


def cached(world: World, *, privacy: dict[str, Any] | None = None, **cache: Any) -> None:
    """Give the app's default feature a manifest with this cache."""
    (feature,) = (each for each in features_of_app(world.app_id) if each.key == "default")
    source: dict[str, Any] = {"cache": {"exact": True, **cache}}
    if privacy is not None:
        source["privacy"] = privacy
    put_manifest(
        feature_id=feature.id, source=json.dumps(source), source_format="json", may_price=True, now=now(), actor=ACTOR
    )


def told(response: httpx.Response) -> str | None:
    """Return what an answer says of the cache."""
    assert response.status_code == 200, response.text
    return response.headers.get(HEADER)


def text_of(response: httpx.Response) -> str:
    """Return the text of a chat completion."""
    return str(response.json()["choices"][0]["message"]["content"])


def events_of(world: World) -> list[UsageEvent]:
    """Return an end user's events, oldest first."""
    return list(UsageEvent.objects.filter(end_user_id=world.end_user_id).order_by("id"))


def add_embedder() -> None:
    """Offer a model for embeddings, by the provider of the chat model."""
    add_model(id=EMBEDDER, name=EMBEDDER, now=now(), actor=ACTOR)
    offer = add_offer(
        provider="double-0",
        model=EMBEDDER,
        upstream_model=EMBEDDER,
        capabilities=("embeddings",),
        tokenizer="o200k_base",
        priority=0,
        now=now(),
        actor=ACTOR,
    )
    publish_price(offer, [PriceTier(0, nano_from_usd("1"), 0, 0, 0)], now(), "test", now=now(), actor=ACTOR)
