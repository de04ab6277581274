"""What other rooms may read of budgets. Amounts in nano-USD."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Q

from apps.usage.budgets.refs import BudgetRef, Budgets
from apps.usage.models import Alert, Budget, BudgetScope, Period


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget in its present period, which is from `period_start` to `period_end` (exclusive).

    `remaining` is what a new call may reserve: limit − spent − reserved, and never below 0. It is an end user's or a
    developer's own, or the operator's. `scope_id` is, of a credential that was rotated, the one in its place, and
    `scope_ids` are all whose calls count.
    """

    id: str
    developer_id: str | None
    end_user_id: str | None
    scope: str
    scope_id: str
    period: str
    period_start: datetime
    period_end: datetime
    hard: bool
    rollover: bool
    enabled: bool
    thresholds: tuple[int, ...]
    amount: int
    carried: int
    limit: int
    spent: int
    reserved: int
    scope_ids: tuple[str, ...]

    @property
    def remaining(self) -> int:
        return max(self.limit - self.spent - self.reserved, 0)


_COLUMNS = tuple(BudgetState.__dataclass_fields__)
# Before its first call a period has no row yet; what it will carry over is derived as that call will.
_STATES = """
SELECT b.id, b.developer_id, b.end_user_id, b.scope, coalesce(b.successors[cardinality(b.successors)], b.scope_id),
       b.period, this.start, usage_period_step(b.period, this.start, 1),
       b.hard, b.rollover, b.enabled, b.thresholds, b.amount_nano,
       coalesce(p.carried_nano, carried.nano), coalesce(p.limit_nano, b.amount_nano + carried.nano),
       coalesce(p.spent_nano, 0), coalesce(p.reserved_nano, 0), b.scope_id || b.successors
FROM budgets b
CROSS JOIN LATERAL (SELECT usage_period_start(b.period, %s) AS start) this
CROSS JOIN LATERAL (SELECT usage_carried_over(b.id, this.start) AS nano) carried
LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period_start = this.start
WHERE {}
"""
_NAMED = "b.scope = %s AND (b.scope_id = ANY (%s) OR b.successors && %s::varchar[])"
_BY_SCOPE = _STATES.format(f"{_NAMED} ORDER BY b.id")
_OWNED = _STATES.format(
    f"b.developer_id IS NOT DISTINCT FROM %s AND b.end_user_id IS NOT DISTINCT FROM %s AND {_NAMED} ORDER BY b.id"
)
_BY_ID = _STATES.format("b.id = %s")
_BY_DEVELOPER = _STATES.format("b.developer_id = %s AND (%s::text IS NULL OR b.id < %s) ORDER BY b.id DESC LIMIT %s")


# What the operator lets one end user spend. There may be one for each of them.
_OF_ONE_USER = Q(developer_id=None, end_user_id=None, scope=BudgetScope.END_USER)


def load_budgets() -> Budgets:
    """Return the enabled budgets of developers and the operator, to be kept until the policy epoch moves.

    Those of the operator for one end user are not among them: they come with that user.
    """
    return _enabled(Q(end_user_id=None) & ~_OF_ONE_USER)


def load_own_budgets(end_user_id: str) -> Budgets:
    """Return an end user's own enabled budgets and the operator's for that user, until the user is to be forgotten."""
    return _enabled(Q(end_user_id=end_user_id) | _OF_ONE_USER & Q(scope_id=end_user_id))


def _enabled(which: Q) -> Budgets:
    rows = Budget.objects.filter(which, enabled=True).order_by("id")
    named = rows.values_list("id", "scope", "scope_id", "successors")
    return Budgets(BudgetRef(id, scope, each) for id, scope, scope_id, later in named for each in (scope_id, *later))


def budget_states(scope: str, scope_id: str, *, now: datetime) -> tuple[BudgetState, ...]:
    """Return the budgets of one credential, app, feature (`app id/key`), end user or developer, disabled ones too."""
    return _states(_BY_SCOPE, now, scope, [scope_id], [scope_id])


def owned_budgets(
    scope: str,
    scope_ids: Sequence[str],
    *,
    developer_id: str | None = None,
    end_user_id: str | None = None,
    now: datetime,
) -> tuple[BudgetState, ...]:
    """Return what one owner (by default the operator) has set for these, disabled ones too."""
    ids = list(scope_ids)
    return _states(_OWNED, now, developer_id, end_user_id, scope, ids, ids)


def key_caps(
    key_ids: Sequence[str], *, developer_id: str | None = None, end_user_id: str | None = None, now: datetime
) -> dict[str, BudgetState]:
    """Return the monthly budgets in force that one owner has set for provider keys, by key.

    A budget follows its key through rotations.
    """
    owned = owned_budgets(
        BudgetScope.CREDENTIAL.value, key_ids, developer_id=developer_id, end_user_id=end_user_id, now=now
    )
    monthly = [budget for budget in owned if budget.enabled and budget.period == Period.MONTH]
    return {key_id: budget for budget in monthly for key_id in budget.scope_ids}


def budget_state(budget_id: str, *, now: datetime) -> BudgetState | None:
    """Return one budget in its present period; None if there is no such budget."""
    return next(iter(_states(_BY_ID, now, budget_id)), None)


def budgets_of_developer(
    developer_id: str, *, now: datetime, before: str | None = None, limit: int
) -> tuple[BudgetState, ...]:
    """Return at most `limit` budgets that a developer has set, newest first, older than `before`."""
    return _states(_BY_DEVELOPER, now, developer_id, before, before, limit)


def _states(query: str, *parameters: Any) -> tuple[BudgetState, ...]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[Any] = cursor.fetchall()
    named = (dict(zip(_COLUMNS, row, strict=True)) for row in rows)
    return tuple(
        BudgetState(**{**row, "thresholds": tuple(row["thresholds"]), "scope_ids": tuple(row["scope_ids"])})
        for row in named
    )


@dataclass(frozen=True, slots=True)
class AlertInfo:
    """What a developer is told, and what became of telling it.

    Of kind `budget`: a budget passed a threshold (per cent), amounts as they were then. Of others these are None and
    `data` is what is told.
    """

    id: int
    kind: str
    budget_id: str | None
    scope: str
    scope_id: str
    period_start: datetime | None
    threshold: int | None
    limit: int | None
    spent: int | None
    data: dict[str, Any]
    created_at: datetime
    delivered_at: datetime | None
    attempts: int
    last_error: str | None


def alerts_of(developer_id: str, *, before: int | None = None, limit: int) -> tuple[AlertInfo, ...]:
    """Return at most `limit` alerts to a developer, newest first, older than `before`."""
    rows = Alert.objects.filter(developer_id=developer_id).order_by("-id")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return tuple(
        AlertInfo(
            id=row.pk,
            kind=row.kind,
            data=row.data,
            budget_id=row.budget_id,
            scope=row.scope,
            scope_id=row.scope_id,
            period_start=row.period_start,
            threshold=row.threshold,
            limit=row.limit_nano,
            spent=row.spent_nano,
            created_at=row.created_at,
            delivered_at=row.delivered_at,
            attempts=row.attempts,
            last_error=row.last_error,
        )
        for row in rows[:limit]
    )
