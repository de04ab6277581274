"""What a call's route, ending, failures and reasons are called; `operator`: for who reads of others' calls."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from apps.catalog.models import TaskClass
from apps.usage.models import CacheHit, Outcome

_BADGES = {
    Outcome.FINISHED: "good",
    Outcome.CLIENT_LEFT: "",
    Outcome.EMPTY: "warn",
    Outcome.ERROR_FINISH: "bad",
    Outcome.PROVIDER_FAILED: "bad",
    Outcome.NOT_SERVED: "bad",
    Outcome.ABANDONED: "bad",
}


def route_words(mode: str, *, operator: bool = False) -> str:
    """Return whose key or machine served a call."""
    return {
        "platform": _("platform’s key"),
        "developer_key": _("developer’s key") if operator else _("your key"),
        "byok": _("user’s own key"),
        "local": _("user’s local model"),
        "any": _("any route"),
    }.get(mode, mode)


def outcome_words(outcome: str) -> tuple[Any, str]:
    """Return (how a call ended, the colour of that)."""
    known = Outcome(outcome)
    return known.label, _BADGES[known]


def policy_words(policy: str | None, *, operator: bool = False) -> str:
    """Return what a routing policy does."""
    return {
        "platform_pool": _("the platform’s keys only"),
        "developer_key_first": _("the developer’s key first, then the platform’s")
        if operator
        else _("your key first, then the platform’s"),
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


def failure_words(code: str) -> Any:
    """Return how a target, or the whole call, failed; a code that says itself what was wrong stays as it is."""
    return {
        "all_providers_failed": _("every target failed in a way of its own"),
        "provider_rejected_request": _("the provider refused what was asked"),
        "provider_rate_limited": _("the provider’s rate limit was reached"),
        "credential_rate_limited": _("the limit on calls with the key was reached"),
        "provider_auth_failed": _("the provider refused the key"),
        "provider_out_of_credit": _("the account at the provider has run dry"),
        "provider_model_not_found": _("the provider does not know the model"),
        "unsupported_by_provider": _("the provider cannot do what was asked"),
        "provider_error": _("the provider failed"),
        "provider_error_in_stream": _("the provider reported an error in mid-answer"),
        "provider_broke_off": _("the connection ended before the answer did"),
        "provider_closed_kept_connection": _("the provider had closed a connection that was kept for it"),
        "provider_answer_broken": _("the answer was not in its format"),
        "provider_answer_too_large": _("the answer was too large"),
        "provider_timeout_connect": _("no connection in time"),
        "provider_timeout_first_byte": _("no first byte in time"),
        "provider_timeout_idle": _("the provider fell silent"),
        "provider_timeout_deadline": _("all attempts together took too long"),
        "provider_unreachable_address": _("its address may not be reached from here"),
        "provider_unreachable_name": _("its name does not resolve"),
        "provider_unreachable_refused": _("it refuses connections"),
        "provider_unreachable_tls": _("its certificate or TLS is not accepted"),
        "bridge_unavailable": _("the bridge is gone, or did not take the call"),
        "bridge_lost": _("the bridge was lost within the answer"),
        "bridge_busy": _("too many calls were under way over the bridge"),
        "bridge_failed": _("the bridge gave the call up"),
        "bridge_model_not_found": _("the bridge has the model no more"),
        "bridge_endpoint_unreachable": _("nothing answers where the bridge looks for its model server"),
        "bridge_endpoint_timeout": _("the model server behind the bridge took too long"),
        "bridge_endpoint_broke_off": _("the model server behind the bridge broke off"),
        "client_left": Outcome.CLIENT_LEFT.label,
        "process_died": Outcome.ABANDONED.label,
    }.get(code, code)


def task_words(task_class: str | None) -> Any:
    """Return what `auto` took a request for."""
    return TaskClass(task_class).label if task_class in TaskClass.values else task_class or ""


def cache_words(cache: str | None) -> Any:
    """Return which cache answered."""
    return CacheHit(cache).label if cache in CacheHit.values else cache or ""


def rule_number(routing: Mapping[str, Any]) -> int | None:
    """Return which of the manifest's rules held, from 1 on."""
    rule = routing.get("rule")
    return rule + 1 if isinstance(rule, int) else None
