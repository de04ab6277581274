"""The endpoints that serve models, each with what its clients send and how its answers and errors are read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from apps.catalog.queries import PriceTier
from apps.catalog.services.offers import add_model, add_offer, add_provider
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.vault.services.credentials import add_credential
from tests.live import ACTOR, MODEL, TIER, World

EMBEDDER = "test-embedder"
EMBEDDING_TIER = PriceTier(0, input=TIER.input, cache_read=TIER.cache_read, cache_write=TIER.cache_write, output=0)
PROMPT = {"user": "{{ input.text }}"}


@dataclass(frozen=True)
class Door:
    """One endpoint; `envelope` takes an error's members apart."""

    endpoint: str
    path: str
    body: Callable[[str], dict[str, Any]]
    streams: bool = True
    anthropic: bool = False

    def call(
        self,
        world: World,
        text: str = "Say hello",
        *,
        headers: dict[str, str] | None = None,
        token: str = "",
        content: bytes | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Send one call and return the whole answer."""
        sent = {
            "authorization": f"Bearer {token or world.token}",
            "content-type": "application/json",
            **(headers or {}),
        }
        body = content if content is not None else json.dumps({**self.body(text), **more}).encode()
        return httpx.post(f"{world.base_url}{self.path}", content=body, headers=sent, timeout=30)

    def error(self, response: httpx.Response) -> tuple[int, str, str]:
        """Return status, type and code of a refusal, and check that its envelope is this format's."""
        said = response.json()
        error = said["error"]
        if self.anthropic:
            assert said["type"] == "error"
            assert said["request_id"] == response.headers["x-request-id"]
        else:
            assert error["request_id"] == response.headers["x-request-id"]
            assert {"message", "type", "code", "param"} <= error.keys()
        assert error["message"]
        return response.status_code, error["type"], error["code"]


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


CHAT = Door("chat.completions", "/v1/chat/completions", lambda text: {"model": MODEL, "messages": _messages(text)})
RESPONSES = Door("responses", "/v1/responses", lambda text: {"model": MODEL, "input": text})
MESSAGES = Door(
    "messages",
    "/v1/messages",
    lambda text: {"model": MODEL, "max_tokens": 100, "messages": _messages(text)},
    anthropic=True,
)
EMBEDDINGS = Door("embeddings", "/v1/embeddings", lambda text: {"model": EMBEDDER, "input": text}, streams=False)
FEATURE = Door("features", "/v1/features/reply", lambda text: {"input": {"text": text}})
DOORS = (CHAT, RESPONSES, MESSAGES, EMBEDDINGS, FEATURE)


def open_doors(world: World, url: str) -> None:
    """Make what the doors besides chat need: a model of embeddings, offered by double-0, and a typed feature."""
    serve(world, EMBEDDER, "double-0", url, capabilities=("embeddings",), tier=EMBEDDING_TIER)
    world.manifest("reply", models={"default": MODEL}, prompt=PROMPT)


def serve(
    world: World,
    model: str,
    provider: str,
    url: str,
    *,
    tier: PriceTier = TIER,
    key: str = "",
    resale_allowed: bool = True,
    upstream_model: str = "",
    **offer: Any,
) -> int:
    """Let a provider, made if it is new, offer a model, made if it is new, with a key of the platform's; return the
    offer's id."""
    from apps.catalog.models import Model, Provider

    by: dict[str, Any] = {"now": now(), "actor": ACTOR}
    if not Model.objects.filter(id=model).exists():
        add_model(id=model, name=model, **by)
    if not Provider.objects.filter(id=provider).exists():
        add_provider(
            id=provider, name=provider, base_url=url, resale_allowed=resale_allowed, trains_on_data=False, **by
        )
        add_credential(owner_class="platform", provider=provider, label=provider, secret=key or f"sk-{provider}", **by)
    values: dict[str, Any] = {"capabilities": ("chat", "stream", "tools"), "tokenizer": "o200k_base", **offer}
    offer_id = add_offer(provider=provider, model=model, upstream_model=upstream_model or model, **values, **by)
    publish_price(offer_id, [tier], now(), "test", **by)
    world.offers.append(offer_id)
    return offer_id
