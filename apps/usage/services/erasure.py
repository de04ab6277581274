"""What is erased here when an end user leaves. Calls stay: they are what was paid for."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from apps.usage.models import Budget, IdempotencyRecord, PromptLog, UsageEvent
from apps.usage.services.budgets import disable_budget


@dataclass(frozen=True, slots=True)
class Erased:
    """How many own limits ended, and how many logged prompts and stored answers were deleted."""

    limits: int
    prompts: int
    answers: int


@transaction.atomic
def erase_usage_of(end_user_id: str, *, now: datetime, actor: str) -> Erased:
    """End an end user's own limits and delete what is left of prompts and answers. Again changes nothing."""
    limits = list(
        Budget.objects.filter(end_user_id=end_user_id, enabled=True).order_by("id").values_list("id", flat=True)
    )
    for budget_id in limits:
        disable_budget(budget_id, now=now, actor=actor)
    calls = UsageEvent.objects.filter(end_user_id=end_user_id).values("request_id")
    prompts, _ = PromptLog.objects.filter(request_id__in=calls).delete()
    # One that still runs is left to its call, which a purge deletes in time.
    answers, _ = IdempotencyRecord.objects.filter(scope=end_user_id, done_at__isnull=False).delete()
    return Erased(len(limits), prompts, answers)
