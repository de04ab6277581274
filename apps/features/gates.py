"""Parts of the service that not every plan includes, and which of them a manifest uses. Pure."""

from apps.features.manifest import Manifest

CUSTOM_RULES = "custom_rules"
ADVANCED_ROUTING = "advanced_routing"
SEMANTIC_CACHE = "semantic_cache"
PROMPT_DEBUG_LOG = "prompt_debug_log"
VALUE_PRICING = "value_pricing"

GATES = (CUSTOM_RULES, ADVANCED_ROUTING, SEMANTIC_CACHE, PROMPT_DEBUG_LOG, VALUE_PRICING)

# Policies that weigh price, quality or speed; which key is used first is everybody's own affair, and privacy too.
_ADVANCED_POLICIES = frozenset({"cheapest_sufficient", "quality_first", "latency_first"})


def gates_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the gated parts that a manifest uses, in the order of GATES."""
    routing = manifest.routing
    policies = {routing.policy, *(rule.policy for rule in routing.rules)}
    uses = {
        CUSTOM_RULES: bool(routing.rules),
        ADVANCED_ROUTING: not _ADVANCED_POLICIES.isdisjoint(policies) or bool(routing.models_for),
        SEMANTIC_CACHE: manifest.cache.semantic,
        PROMPT_DEBUG_LOG: manifest.privacy.debug_log,
    }
    return tuple(gate for gate in GATES if uses.get(gate))
