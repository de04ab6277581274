"""What can be called by whom, as far as no single request matters: built once per policy snapshot and per caller."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from apps.catalog.queries import Catalog, Offer
from apps.features.queries import Principal, Terms
from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.routing import reasons
from apps.gateway.routing.decision import Decision
from apps.gateway.routing.reasons import Rejected
from apps.gateway.routing.target import HealthKey, Target, label_of, make_target
from apps.usage.rate import BPS, BYOK, DEVELOPER_KEY, LOCAL, PER_TOKENS, PLATFORM
from apps.vault.queries import Credential

_MODES = {"platform": PLATFORM, "operator": PLATFORM, "developer": DEVELOPER_KEY, "end_user": BYOK}
# Where nothing else decides, the source that costs the payer's provider least comes first.
MODE_RANK = {LOCAL: 0, BYOK: 1, DEVELOPER_KEY: 2, PLATFORM: 3}
UNKNOWN = float("inf")
ANY_ROUTE = "any"
NOTHING_WITHHELD: Mapping[str, str] = {}
# A local model has no adapter: its bridge speaks the canonical form.
_CHAT = frozenset({"chat"})


class Candidate:
    """A target with what plans compare, taken out of it once.

    `group`: the priorities of offer and credential. What a call costs its payer is `base` nano-USD plus `factor` times
    the list price of its tokens, the provider's bill for a key of the payer's own included.
    """

    __slots__ = (
        "_quality",
        "_rates",
        "_task_quality",
        "base",
        "capabilities",
        "credential_key",
        "factor",
        "group",
        "inverse_weight",
        "key",
        "label",
        "mode",
        "mode_rank",
        "offer",
        "operations",
        "our_part",
        "target",
        "window",
    )

    def __init__(self, target: Target, principal: Principal) -> None:
        offer, credential = target.offer, target.credential
        self.target = target
        self.offer = offer
        self.label = label_of(offer)
        self.mode = target.mode
        self.mode_rank = MODE_RANK[target.mode]
        self.key: HealthKey = target.health_key
        self.credential_key: HealthKey = (credential.id, "")
        self.group = (offer.priority, credential.priority)
        self.inverse_weight = 1 / credential.weight
        self.capabilities = offer.capabilities
        adapter = ADAPTERS.get(offer.adapter)
        self.operations = adapter.operations if adapter is not None else _CHAT
        self.window = offer.context_window
        self.base, self.factor = _formula(target.mode, principal.terms)
        price = offer.price
        only = price.tiers[0] if price is not None and len(price.tiers) == 1 else None
        self._rates = None if only is None else (only.input / PER_TOKENS, only.output / PER_TOKENS)
        # What we owe of the list price; whoever calls with a key of their own has a contract of their own.
        self.our_part = 1 - price.discount_bps / BPS if price is not None and target.mode == PLATFORM else 1.0
        self._quality = offer.quality
        self._task_quality = offer.task_quality

    def quality(self, task_class: str | None) -> int | None:
        """Return the offer's quality for a class of tasks, 0 to 1000; None where nobody judged it."""
        if task_class is None:
            return self._quality
        return self._task_quality.get(task_class, self._quality)

    def cost(self, prompt_tokens: int, output_tokens: int) -> float:
        """Return what a call of this size is estimated to cost its payer, in nano-USD; infinite if not known."""
        rates = self._rates
        if rates is not None:
            return self.base + self.factor * (prompt_tokens * rates[0] + output_tokens * rates[1])
        return self.base + self.factor * self.list_price(prompt_tokens, output_tokens) if self.factor else self.base

    def list_price(self, prompt_tokens: int, output_tokens: int) -> float:
        """Return what the provider bills for a call of this size, in nano-USD; infinite if not known."""
        if self._rates is not None:
            return prompt_tokens * self._rates[0] + output_tokens * self._rates[1]
        if self.offer.price is None:
            return 0.0 if self.mode == LOCAL else UNKNOWN
        tier = self.offer.price.tier(prompt_tokens)
        return (prompt_tokens * tier.input + output_tokens * tier.output) / PER_TOKENS


def _formula(mode: str, terms: Terms) -> tuple[int, float]:
    if mode == LOCAL:
        return terms.local_fee, 0.0
    if mode == BYOK:
        return terms.byok_fee, 1.0
    if mode == PLATFORM and terms.platform_pricing == "fixed":
        return terms.fixed_price, 0.0
    if mode == DEVELOPER_KEY and terms.developer_pricing != "markup_share":
        return (terms.own_price if terms.developer_pricing == "own_price" else terms.gateway_fee), 0.0
    return 0, (BPS + terms.markup_bps) / BPS


class RouteTable:
    """The offers by model, and the shared credentials by provider."""

    __slots__ = ("_shared_by_provider", "_targets", "offers")

    def __init__(self, catalog: Catalog, credentials: Sequence[Credential]) -> None:
        self.offers: Mapping[str, tuple[Offer, ...]] = catalog.offers
        self._shared_by_provider: dict[str, list[Credential]] = {}
        for credential in credentials:
            if _MODES[credential.owner_class] == PLATFORM:
                self._shared_by_provider.setdefault(credential.provider, []).append(credential)
        self._targets: dict[tuple[int, str], Target] = {}

    def shared(self, provider: str) -> Sequence[Credential]:
        """Return the platform's and the operator's credentials for a provider."""
        return self._shared_by_provider.get(provider, ())

    def shared_target(self, offer: Offer, credential: Credential) -> Target:
        """Return the target of an offer with a shared credential; made once for all callers."""
        key = offer.id, credential.id
        if key not in self._targets:
            self._targets[key] = make_target(offer, credential)
        return self._targets[key]


class Found(NamedTuple):
    """The candidates for one model and those rejected whatever the request is."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]


class Plain(NamedTuple):
    """The decision on a model and needs when all is well, and the context window up to which it holds."""

    decision: Decision
    window: float


class CallerRoutes:
    """What one caller can reach: kept beside the caller for as long as `table` is the one in force.

    `acknowledged_fee` is the fee in nano-USD that the end user has agreed to pay per call on keys of their own, None
    where there is no such agreement; `withheld` the routes (a mode, or any) of fees that are not agreed to or not paid,
    with why. Filled model by model as they are asked for; `compiled` is the memory of
    `orders.compiled`, `plain` that of `plan`.
    """

    __slots__ = (
        *("_found", "_withheld", "acknowledged_fee", "compiled", "max_price", "min_quality", "own", "plain"),
        *("principal", "table"),
    )

    def __init__(
        self,
        table: RouteTable,
        principal: Principal,
        own_credentials: Sequence[Credential] = (),
        acknowledged_fee: int | None = None,
        withheld: Mapping[str, str] = NOTHING_WITHHELD,
    ) -> None:
        self.table = table
        self._withheld = withheld
        self.principal = principal
        self.acknowledged_fee = acknowledged_fee
        routing = principal.manifest.routing
        self.max_price = routing.max_price
        self.min_quality = None if routing.min_quality is None else round(routing.min_quality * 1000)
        self.own: dict[str, list[Credential]] = {}
        for credential in own_credentials:
            self.own.setdefault(credential.provider, []).append(credential)
        self._found: dict[str, Found] = {}
        self.compiled: dict[object, Any] = {}
        self.plain: dict[tuple[str | None, frozenset[str]], Plain] = {}

    @property
    def allowed(self) -> tuple[str, ...]:
        """Return the offered models that this caller may name."""
        models = self.principal.models
        return tuple(name for name in self.table.offers if not models or name in models)

    def found(self, model: str) -> Found:
        """Return the candidates for one model."""
        found = self._found.get(model)
        if found is None:
            found = self._found[model] = self._find(model)
        return found

    def withheld(self, mode: str) -> str | None:
        """Return why a mode is not open to this caller: a fee of the app's. None where it is."""
        return self._withheld.get(mode) or self._withheld.get(ANY_ROUTE) if self._withheld else None

    def modes(self) -> frozenset[str]:
        """Return the route modes in which at least one allowed model can be served."""
        return frozenset(each.mode for model in self.allowed for each in self.found(model).candidates)

    def served(self) -> dict[str, tuple[Target, ...]]:
        """Return the models that this caller may name and something can serve, each with its targets by priority."""
        served = {}
        for model in self.allowed:
            candidates = sorted(self.found(model).candidates, key=lambda each: (each.group, each.mode_rank))
            if candidates:
                served[model] = tuple(candidate.target for candidate in candidates)
        return served

    def _find(self, model: str) -> Found:
        candidates: list[Candidate] = []
        rejected: list[Rejected] = []
        offers = self.table.offers.get(model, ())
        if not offers:
            rejected.append(Rejected(model, "any", reasons.NO_SUCH_MODEL))
        for offer in offers:
            label = label_of(offer)
            if offer.adapter not in ADAPTERS:
                rejected.append(Rejected(label, "any", reasons.NO_ADAPTER))
                continue
            shared = self.table.shared(offer.provider)
            if not shared:
                missing = self._refuse_offer(offer, PLATFORM) or reasons.NO_CREDENTIAL
                rejected.append(Rejected(label, PLATFORM, missing))
            for credential in (*shared, *self.own.get(offer.provider, ())):
                mode = _MODES[credential.owner_class]
                reason = self._refuse_offer(offer, mode) or self._refuse_credential(model, mode, credential)
                if reason is not None:
                    rejected.append(Rejected(label, mode, reason))
                    continue
                own = mode != PLATFORM
                target = make_target(offer, credential, mode) if own else self.table.shared_target(offer, credential)
                candidates.append(Candidate(target, self.principal))
        return Found(tuple(candidates), tuple(dict.fromkeys(rejected)))

    def _refuse_offer(self, offer: Offer, mode: str) -> str | None:
        if mode == PLATFORM and not offer.resale_allowed:
            return reasons.RESALE
        if mode != PLATFORM and not offer.byok_allowed:
            return reasons.BYOK_TERMS
        billed = mode == PLATFORM or (
            mode == DEVELOPER_KEY and self.principal.terms.developer_pricing == "markup_share"
        )
        return reasons.UNPRICED if billed and offer.price is None else None

    def _refuse_credential(self, model: str, mode: str, credential: Credential) -> str | None:
        if credential.models_allowed and model not in credential.models_allowed:
            return reasons.CREDENTIAL_MODEL
        if credential.apps_allowed and self.principal.app_id not in credential.apps_allowed:
            return reasons.CREDENTIAL_APP
        if credential.features_allowed and self.principal.feature_key not in credential.features_allowed:
            return reasons.CREDENTIAL_FEATURE
        if mode == BYOK and (self.acknowledged_fee is None or self.acknowledged_fee < self.principal.terms.byok_fee):
            return reasons.FEE
        return self.withheld(mode)
