"""Which of an end user's own models can stand in for the one that a call asks for. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from apps.catalog.queries import Offer
from apps.features.bridges import ConnectedBridge
from apps.features.queries import Principal
from apps.gateway.routing import Target, Wish
from apps.gateway.routing.orders import SOURCES
from apps.usage.rate import LOCAL
from apps.vault.queries import Credential
from apps.vault.secrets import AuthHeaders

PROVIDER = "local"
# A bridge speaks as an OpenAI-compatible provider does, so what is canonical is passed on as it is.
ADAPTER = "openai_compatible"
TOKENIZER = "o200k_base"
LOCAL_ONLY = "local_only"
_KINDS = frozenset({"chat", "embeddings"})
# Ollama's name for what is called without a tag.
_LATEST = ":latest"


class Load(NamedTuple):
    """The calls that a bridge has under way, and when its turn was, of those that have as many."""

    calls: int
    turn: int = 0


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model of a connected bridge, and the target that it is."""

    bridge: ConnectedBridge
    id: str
    target: Target

    @property
    def kinds(self) -> frozenset[str]:
        """Return what it can be called for."""
        return self.target.offer.capabilities & _KINDS


def local_models(bridges: Sequence[ConnectedBridge], owner_id: str) -> tuple[LocalModel, ...]:
    """Return what the bridges of an end user offer, in the order in which they tell it."""
    return tuple(_made(bridges, owner_id))


def _made(bridges: Sequence[ConnectedBridge], owner_id: str) -> Iterator[LocalModel]:
    for bridge in bridges:
        credential = Credential(
            id=bridge.bridge_id,
            owner_class="end_user",
            owner_id=owner_id,
            provider=PROVIDER,
            base_url="",
            models_allowed=frozenset(),
            weight=1,
            priority=0,
            headers=AuthHeaders(),
        )
        for number, model in enumerate(bridge.models):
            offer = _offer(model["id"], model.get("context_window"), model.get("capabilities", ()), number)
            yield LocalModel(bridge, model["id"], Target(offer, credential, LOCAL, "", ()))


def _offer(name: str, window: int | None, told: Sequence[str], number: int) -> Offer:
    capabilities = frozenset(told)
    if not capabilities & _KINDS:
        capabilities |= {"embeddings"} if "embed" in name.lower() else {"chat"}
    if "chat" in capabilities:
        capabilities |= {"stream"}
    return Offer(
        id=-1 - number,  # no offer of the catalogue has such an id
        model=name,
        provider=PROVIDER,
        adapter=ADAPTER,
        base_url="",
        upstream_model=name,
        context_window=window,
        max_output_tokens=None,
        capabilities=capabilities,
        tokenizer=TOKENIZER,
        quality=None,
        priority=0,
        resale_allowed=False,
        price=None,
        white_label_allowed=True,
    )


def stand_ins(
    models: Sequence[LocalModel], principal: Principal, wish: Wish, load: Callable[[ConnectedBridge], Load | None]
) -> tuple[Target, ...]:
    """Return the targets for a wish, the bridge first that has the fewest calls under way.

    The model asked for; else the first of the manifest's `fallback_models` that a bridge has; else, where the route
    is local by policy or wish, each bridge's first model that does what is asked for. `load` gives None for a bridge
    that is gone.
    """
    loads = {bridge.bridge_id: found for bridge in _bridges(models) if (found := load(bridge)) is not None}
    usable = [model for model in models if wish.operation in model.kinds and model.bridge.bridge_id in loads]
    if not usable:
        return ()
    asked = wish.model or principal.default_model
    for name in (asked, *principal.manifest.routing.fallback_models):
        if chosen := [model for model in usable if name in (model.id, model.id.removesuffix(_LATEST))]:
            break
    else:
        if not _takes_any(principal, wish):
            return ()
        chosen = usable
    once: dict[str, LocalModel] = {}
    for model in chosen:
        once.setdefault(model.bridge.bridge_id, model)

    def place(model: LocalModel) -> tuple[bool, Load]:
        known = loads[model.bridge.bridge_id]
        return known.calls >= model.bridge.max_concurrency, known

    ordered = sorted(once.values(), key=place)
    return tuple(_placed(model.target, number) for number, model in enumerate(ordered))


def _bridges(models: Sequence[LocalModel]) -> Iterable[ConnectedBridge]:
    return {model.bridge.bridge_id: model.bridge for model in models}.values()


def with_local(
    served: Mapping[str, tuple[Target, ...]],
    models: Sequence[LocalModel],
    principal: Principal,
    load: Callable[[ConnectedBridge], Load | None],
) -> dict[str, tuple[Target, ...]]:
    """Return what a caller is served with, its own models after the others of their name."""
    all_served = dict(served)
    for model in models:
        if (not principal.models or model.id in principal.models) and load(model.bridge) is not None:
            all_served[model.id] = (*all_served.get(model.id, ()), model.target)
    return all_served


def _placed(target: Target, number: int) -> Target:
    if not number:
        return target
    return replace(target, credential=replace(target.credential, priority=number))


def _takes_any(principal: Principal, wish: Wish) -> bool:
    """Tell whether a local model is wanted whatever it is called."""
    if wish.local_only or wish.prefer == LOCAL or principal.manifest.privacy.mode == LOCAL_ONLY:
        return True
    routing = principal.manifest.routing
    policies = (wish.policy, routing.policy, *(rule.policy for rule in routing.rules))
    return any(policy is not None and LOCAL in SOURCES.get(policy, ()) for policy in policies)
