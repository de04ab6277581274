"""Limits of requests, tokens and calls at once, for whoever serves calls; see docs/reference/limits.md."""

from apps.usage.limits.rules import NO_RULES, Dimension, LimitRules, feature_limits, scopes_of
from apps.usage.limits.stores import LimitStore, open_store
from apps.usage.limits.verdicts import PASSED, Refused, Standing, Verdict, limit_headers, refusal

__all__ = [
    "NO_RULES",
    "PASSED",
    "Dimension",
    "LimitRules",
    "LimitStore",
    "Refused",
    "Standing",
    "Verdict",
    "feature_limits",
    "limit_headers",
    "open_store",
    "refusal",
    "scopes_of",
]
