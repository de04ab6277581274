"""What routes, endings of calls and reasons of routing are called for developers."""

from typing import Any

from django.utils.translation import gettext as _

from apps.usage.models import Outcome

_BADGES = {
    Outcome.FINISHED: "good",
    Outcome.CLIENT_LEFT: "",
    Outcome.EMPTY: "warn",
    Outcome.ERROR_FINISH: "bad",
    Outcome.PROVIDER_FAILED: "bad",
    Outcome.NOT_SERVED: "bad",
    Outcome.ABANDONED: "bad",
}


def route_words(mode: str) -> str:
    """Return whose key or machine served a call."""
    return {
        "platform": _("platform’s key"),
        "developer_key": _("your key"),
        "byok": _("user’s own key"),
        "local": _("user’s local model"),
        "any": _("any route"),
    }.get(mode, mode)


def outcome_words(outcome: str) -> tuple[Any, str]:
    """Return (how a call ended, the colour of that)."""
    known = Outcome(outcome)
    return known.label, _BADGES[known]


def policy_words(policy: str | None) -> str:
    """Return what a routing policy does."""
    return {
        "platform_pool": _("the platform’s keys only"),
        "developer_key_first": _("your key first, then the platform’s"),
        "byok_first": _("the user’s key first"),
        "local_first": _("the user’s local model first"),
        "privacy_first": _("a local model, for privacy"),
        "cheapest_sufficient": _("the cheapest that is good enough"),
        "quality_first": _("the best model first"),
        "latency_first": _("the fastest first"),
    }.get(policy or "", policy or "")


def reason_words(reason: str) -> str:
    """Return why a candidate was not among the targets."""
    return {
        "local_bridge_unavailable": _("no local model was connected"),
        "local_only": _("the feature allows local models only"),
        "local_preferred": _("a local model was preferred"),
        "not_in_policy": _("the policy does not look there"),
        "platform_fallback_off": _("the manifest keeps it from the platform’s keys"),
        "model_not_offered": _("nobody offers the model"),
        "adapter_unknown": _("this version does not speak to the provider"),
        "operation_not_supported": _("the provider cannot do this kind of call"),
        "resale_not_allowed": _("the provider’s terms allow no resale"),
        "byok_not_allowed": _("the provider’s terms allow no keys of one’s own"),
        "provider_trains_on_data": _("the provider trains on what it is sent"),
        "unpriced": _("it has no price"),
        "no_credential": _("there was no key for it"),
        "model_not_allowed_for_credential": _("the key is not for this model"),
        "app_not_allowed_for_credential": _("the key is not for this app"),
        "feature_not_allowed_for_credential": _("the key is not for this feature"),
        "fee_not_acknowledged": _("the user had not agreed to the fee"),
        "fee_unpaid": _("a fee was not paid"),
        "capability_missing": _("it cannot do what the request needs"),
        "context_too_long": _("the prompt was too long for it"),
        "quality_floor": _("it is below the quality asked for"),
        "max_price_exceeded": _("it could cost more than allowed"),
        "circuit_open": _("it had failed just before"),
        "credential_unhealthy": _("its key failed the last check"),
        "ranked_lower": _("others were ranked higher"),
        "budget_exceeded": _("its budget is used up"),
    }.get(reason, reason)
