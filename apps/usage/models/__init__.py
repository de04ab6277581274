"""What was consumed (calls), how much may be (limits, budgets), and who is told."""

from apps.usage.models.budgets import (
    Alert,
    AlertEndpoint,
    Budget,
    BudgetPeriod,
    BudgetScope,
    BudgetUse,
    Period,
    UseState,
)
from apps.usage.models.calls import CacheHit, IdempotencyRecord, Outcome, UsageCharge, UsageEvent
from apps.usage.models.days import UsageDay, UserDay
from apps.usage.models.limits import LimitRule, LimitScope
from apps.usage.models.local import LOCAL_REPORT, LocalReport
from apps.usage.models.prompts import PromptLog, PromptLogKind
from apps.usage.models.similar import SemanticEntry

__all__ = [
    "LOCAL_REPORT",
    "Alert",
    "AlertEndpoint",
    "Budget",
    "BudgetPeriod",
    "BudgetScope",
    "BudgetUse",
    "CacheHit",
    "IdempotencyRecord",
    "LimitRule",
    "LimitScope",
    "LocalReport",
    "Outcome",
    "Period",
    "PromptLog",
    "PromptLogKind",
    "SemanticEntry",
    "UsageCharge",
    "UsageDay",
    "UsageEvent",
    "UseState",
    "UserDay",
]
