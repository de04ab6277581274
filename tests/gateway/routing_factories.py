"""Offers, credentials, callers and wishes for tests of routing, made without a database."""

from random import Random
from typing import Any

from apps.catalog.queries import Catalog, Offer, Price, PriceTier
from apps.features.manifest import Manifest, Routing
from apps.features.queries import Principal, Terms
from apps.gateway.health import ALL_WELL, HealthView
from apps.gateway.routing import CallerRoutes, Decision, RouteTable, Target, Wish, plan
from apps.gateway.tokens import Prompt
from apps.usage.rate import LOCAL
from apps.vault.queries import Credential
from apps.vault.secrets import AuthHeaders

MARKUP = Terms(1, "markup", 0, 0, "fee_only", 0, 0, 0, 0, 0)
USD = 1_000_000_000


def price(input: float = 1, output: float = 2) -> Price:
    """Give a price in USD per million tokens."""
    tier = PriceTier(0, round(input * USD), round(input * USD), round(input * USD), round(output * USD))
    return Price("pv_1", (tier,))


def offer(provider: str = "one", model: str = "m", **changed: Any) -> Offer:
    values: dict[str, Any] = {
        "id": hash((provider, model)) % 10**9,
        "model": model,
        "provider": provider,
        "adapter": "openai_compatible",
        "base_url": f"https://{provider}.example/v1/",
        "upstream_model": f"{provider}-{model}",
        "context_window": None,
        "max_output_tokens": None,
        "capabilities": frozenset({"chat", "stream"}),
        "tokenizer": "o200k_base",
        "quality": None,
        "priority": 100,
        "resale_allowed": True,
        "price": price(),
    }
    return Offer(**values | changed)


def credential(provider: str = "one", owner_class: str = "platform", **changed: Any) -> Credential:
    owner = {"developer": "dev_1", "end_user": "usr_1"}.get(owner_class, "")
    values: dict[str, Any] = {
        "id": f"cred_{owner_class}_{provider}",
        "owner_class": owner_class,
        "owner_id": owner,
        "provider": provider,
        "base_url": "",
        "models_allowed": frozenset(),
        "apps_allowed": frozenset(),
        "features_allowed": frozenset(),
        "weight": 1,
        "priority": 100,
        "headers": AuthHeaders(("authorization", "Bearer sk-1")),
    }
    return Credential(**values | changed)


def principal(routing: Routing | None = None, **changed: Any) -> Principal:
    values: dict[str, Any] = {
        "kind": "session",
        "id": "sess_1",
        "assurance": "user_token",
        "app_id": "app_1",
        "public_app_id": "app_pub_1",
        "developer_id": "dev_1",
        "feature_key": "default",
        "end_user_id": "usr_1",
        "expires_at": None,
        "terms": MARKUP,
        "models": frozenset(),
        "default_model": "m",
        "max_output_tokens": 100,
        "affordable_clamp": True,
        "allowed_origins": (),
        "manifest": Manifest(routing=routing or Routing()),
    }
    return Principal(**values | changed)


def table(*offers: Offer, credentials: tuple[Credential, ...] | None = None) -> RouteTable:
    """Give the table of these offers, with one platform credential for each provider unless others are given."""
    by_model: dict[str, tuple[Offer, ...]] = {}
    for each in offers:
        by_model[each.model] = (*by_model.get(each.model, ()), each)
    if credentials is None:
        credentials = tuple(credential(name) for name in dict.fromkeys(each.provider for each in offers))
    return RouteTable(Catalog(by_model, None), credentials)


def local_target(**changed: Any) -> Target:
    values = {"price": None, "upstream_model": "llama"} | changed
    return Target(offer("bridge", **values), credential("bridge", id="bridge_1"), LOCAL, "", ())


def wish(model: str | None = "m", text: str = "Hello", **changed: Any) -> Wish:
    values: dict[str, Any] = {"needs": frozenset({"chat"})}
    return Wish(model=model, prompt=Prompt(text, 8), **values | changed)


def decide(
    routes: CallerRoutes | RouteTable,
    asked: Wish | None = None,
    *,
    health: HealthView = ALL_WELL,
    seed: int = 1,
    **caller: Any,
) -> Decision:
    if isinstance(routes, RouteTable):
        routes = CallerRoutes(routes, principal(**caller))
    return plan(routes, asked or wish(), health, rng=Random(seed))


def reasons(decision: Decision) -> set[tuple[str, str, str]]:
    return set(decision.rejected)
