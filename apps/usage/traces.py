"""What a call left behind in usage beside its event, for the page that tells its whole story. Amounts in nano-USD."""

from dataclasses import dataclass
from datetime import datetime

from apps.usage.models import Alert, BudgetUse, IdempotencyRecord, PromptLog
from apps.usage.operations import AlertInfo, alert_info


@dataclass(frozen=True, slots=True)
class BudgetTrace:
    """What a call reserved of a budget and spent of it."""

    budget_id: str
    scope: str
    scope_id: str
    period_start: datetime
    limit: int
    reserved: int
    spent: int
    state: str


@dataclass(frozen=True, slots=True)
class RepeatTrace:
    """That a call came with an Idempotency-Key: for whom it counts, how far it is, until when a repeat is answered."""

    scope: str
    done_at: datetime | None
    status: int | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class CallTraces:
    """What a call touched. Of a logged prompt only that there is one: reading it is another page, and recorded."""

    budgets: tuple[BudgetTrace, ...]
    alerts: tuple[AlertInfo, ...]
    repeat: RepeatTrace | None
    prompt_logs: int


def traces_of(request_id: str) -> CallTraces:
    """Return what a call left behind. Alerts are those of its budgets in their period."""
    uses = list(BudgetUse.objects.filter(request_id=request_id).select_related("budget", "period").order_by("id"))
    periods = {(use.budget_id, use.period.period_start) for use in uses}
    alerts = Alert.objects.filter(budget__in=[use.budget_id for use in uses]).order_by("id") if uses else ()
    repeat = (
        IdempotencyRecord.objects.filter(request_id=request_id)
        .values_list("scope", "done_at", "status", "expires_at")
        .first()
    )
    return CallTraces(
        budgets=tuple(
            BudgetTrace(
                budget_id=use.budget_id,
                scope=use.budget.get_scope_display(),
                scope_id=use.budget.current_id,
                period_start=use.period.period_start,
                limit=use.period.limit_nano,
                reserved=use.reserved_nano,
                spent=use.spent_nano,
                state=use.get_state_display(),
            )
            for use in uses
        ),
        alerts=tuple(alert_info(row) for row in alerts if (row.budget_id, row.period_start) in periods),
        repeat=None if repeat is None else RepeatTrace(*repeat),
        prompt_logs=PromptLog.objects.filter(request_id=request_id).count(),
    )
