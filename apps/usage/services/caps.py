"""Caps: one hard budget for each owner, thing and period, set, changed or taken away by its amount alone."""

from datetime import datetime

from apps.core.ids import new_id
from apps.usage.budgets.queries import owned_budgets
from apps.usage.models import Budget, BudgetScope, Period
from apps.usage.services.budgets import create_budget, disable_budget, update_budget

# Who changed a budget that is as the instance's settings say.
DEFAULT = "default"


def set_cap(
    scope: str,
    scope_id: str,
    period: str,
    amount: int | None,
    *,
    developer_id: str | None = None,
    end_user_id: str | None = None,
    at_most: int | None = None,
    now: datetime,
    actor: str,
) -> None:
    """Have the owner's hard budget for this be `amount` nano-USD; None: have none. As it is already changes nothing.

    What was spent in the present period counts, also where the cap was taken away in between. Raises what
    `create_budget` and `update_budget` raise.
    """
    owned = owned_budgets(scope, [scope_id], developer_id=developer_id, end_user_id=end_user_id, now=now)
    found = next((budget for budget in owned if budget.period == period), None)
    if amount is None:
        if found is not None:
            disable_budget(found.id, now=now, actor=actor)
    elif found is not None:
        update_budget(found.id, amount=amount, hard=True, enabled=True, at_most=at_most, now=now, actor=actor)
    else:
        create_budget(
            scope=scope,
            scope_id=scope_id,
            period=period,
            amount=amount,
            thresholds=() if end_user_id is not None else (80, 95),
            developer_id=developer_id,
            end_user_id=end_user_id,
            at_most=at_most,
            now=now,
            actor=actor,
        )


def set_key_cap(
    key_id: str,
    amount: int | None,
    *,
    developer_id: str | None = None,
    end_user_id: str | None = None,
    at_most: int | None = None,
    now: datetime,
    actor: str,
) -> None:
    """Have the owner's hard monthly budget for a provider key be `amount` nano-USD; None: have none."""
    set_cap(
        BudgetScope.CREDENTIAL.value,
        key_id,
        Period.MONTH.value,
        amount,
        developer_id=developer_id,
        end_user_id=end_user_id,
        at_most=at_most,
        now=now,
        actor=actor,
    )


def default_daily_cap(end_user_id: str, amount: int | None, *, now: datetime) -> None:
    """Have an end user spend at most `amount` nano-USD a day, or as much as they like; a cap set by hand stays.

    For every end user there is, so it costs one query where nothing changes, takes no lock that they share, and is not
    in the audit trail. The gateways load it with that user alone.
    """
    found = Budget.objects.filter(
        scope=BudgetScope.END_USER, scope_id=end_user_id, period=Period.DAY, developer_id=None, end_user_id=None
    ).first()
    if found is None:
        if amount is not None:
            row = Budget(
                id=new_id("bud"),
                scope=BudgetScope.END_USER,
                scope_id=end_user_id,
                period=Period.DAY,
                amount_nano=amount,
                thresholds=[],
                created_at=now,
                created_by=DEFAULT,
                changed_at=now,
                changed_by=DEFAULT,
            )
            Budget.objects.bulk_create([row], ignore_conflicts=True)
    elif found.changed_by == DEFAULT and (found.amount_nano if found.enabled else None) != amount:
        set_cap(BudgetScope.END_USER, end_user_id, Period.DAY, amount, now=now, actor=DEFAULT)
