"""Budgets: set, changed, disabled. Each change moves the policy epoch by a trigger of the table."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext

from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id
from apps.core.money import MAX_NANO, usd
from apps.developers import queries as developers
from apps.developers.services import audit
from apps.features import queries as features
from apps.usage.models import Budget, BudgetPeriod, BudgetScope, Period
from apps.vault import queries as vault

CHANGEABLE = ("amount", "hard", "rollover", "enabled", "thresholds")
_PREFIXES = {"developer": "dev_", "app": "app_", "feature": "app_", "end_user": "usr_", "credential": "cred_"}


@transaction.atomic
def create_budget(
    *,
    scope: str,
    scope_id: str,
    period: str,
    amount: int,
    hard: bool = True,
    rollover: bool = False,
    thresholds: Sequence[int] = (80, 95),
    developer_id: str | None = None,
    end_user_id: str | None = None,
    at_most: int | None = None,
    now: datetime,
    actor: str,
) -> str:
    """Set a budget of `amount` nano-USD a day or month (UTC) and return its id.

    `developer_id` or `end_user_id` is whose budget it is, and what it is for must then be theirs; neither: the
    operator's. An end user's takes no thresholds. Calls count from now on. Raises BadRequest (invalid_budget), NotFound
    (budgeted_not_found) and Conflict (already_exists: one budget for each owner, scope, id and period;
    too_many_budgets where the owner has `at_most` that are enabled).
    """
    owner = {"developer_id": developer_id, "end_user_id": end_user_id}
    if scope not in BudgetScope.values:
        raise _invalid(f"scope is one of {', '.join(BudgetScope.values)}.", "scope")
    if period not in Period.values:
        raise _invalid("period is day or month.", "period")
    subject = _subject(scope, scope_id)
    if subject is None or any(id is not None and id != getattr(subject, name) for name, id in owner.items()):
        raise NotFound(
            gettext("There is no such %(scope)s.") % {"scope": scope}, code="budgeted_not_found", param="scope_id"
        )
    values = _clean({"amount": amount, "hard": hard, "rollover": rollover, "thresholds": thresholds})
    if end_user_id is not None and values["thresholds"]:
        raise _invalid("Nobody is told of an end user's budget: it takes no thresholds.", "thresholds")
    owned = _owned(at_most, **owner)
    if owned.filter(scope=scope, successors__contains=[scope_id], period=period).exists():
        raise _exists()
    row = Budget(
        id=new_id("bud"),
        **owner,
        scope=scope,
        scope_id=scope_id,
        period=period,
        **values,
        created_at=now,
        created_by=actor,
        changed_at=now,
        changed_by=actor,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise _exists() from error
    _audit("budget.create", row, now, actor, {"scope": scope, "scope_id": scope_id, "period": period, **_shown(row)})
    return row.id


@transaction.atomic
def update_budget(
    budget_id: str,
    *,
    developer_id: str | None = None,
    at_most: int | None = None,
    now: datetime,
    actor: str,
    **changes: Any,
) -> None:
    """Change amount (nano-USD), hard, rollover, thresholds or enabled.

    A new amount is in force in the present period at once; what was carried over stays. With `developer_id` only that
    developer's own budget is found. Raises NotFound (budget_not_found), BadRequest (invalid_budget) and, where one is
    enabled again beside `at_most` others of its owner, Conflict (too_many_budgets).
    """
    if unknown := set(changes) - set(CHANGEABLE):
        raise _invalid(f"Cannot be changed: {', '.join(sorted(unknown))}.", min(unknown))
    rows = Budget.objects.select_for_update(no_key=True).filter(id=budget_id)
    row = (rows if developer_id is None else rows.filter(developer_id=developer_id)).first()
    if row is None:
        raise NotFound(gettext("There is no budget %(budget_id)s.") % {"budget_id": budget_id}, code="budget_not_found")
    before = _shown(row)
    values = {name: value for name, value in _clean(changes).items() if getattr(row, name) != value}
    if not values:
        return
    if values.get("enabled"):
        _owned(at_most, developer_id=row.developer_id, end_user_id=row.end_user_id)
    for name, value in values.items():
        setattr(row, name, value)
    row.changed_at, row.changed_by = now, actor
    row.save(update_fields=[*values, "changed_at", "changed_by"])
    if "amount_nano" in values:
        with connection.cursor() as cursor:
            cursor.execute("SELECT usage_period_start(%s, %s)", [row.period, now])
            start = cursor.fetchone()[0]
        for period in BudgetPeriod.objects.select_for_update().filter(budget=row, period_start__gte=start):
            period.limit_nano = row.amount_nano + period.carried_nano
            period.save(update_fields=["limit_nano"])
    _audit("budget.update", row, now, actor, {"before": before, "after": _shown(row)})


def disable_budget(budget_id: str, *, developer_id: str | None = None, now: datetime, actor: str) -> None:
    """Let a budget refuse and count nothing any more; what it counted stays. Raises NotFound."""
    update_budget(budget_id, developer_id=developer_id, now=now, actor=actor, enabled=False)


def _clean(values: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of these values. Raises BadRequest (invalid_budget)."""
    cleaned = dict(values)
    if "amount" in cleaned:
        amount = cleaned.pop("amount")
        if type(amount) is not int or not 0 < amount <= MAX_NANO:
            raise _invalid("A budget is more than 0.", "amount")
        cleaned["amount_nano"] = amount
    if "thresholds" in cleaned:
        thresholds = sorted(set(cleaned["thresholds"]))
        if len(thresholds) > 10 or not all(type(one) is int and 0 < one <= 1000 for one in thresholds):
            raise _invalid("Thresholds are at most ten percentages from 1 to 1000.", "thresholds")
        cleaned["thresholds"] = thresholds
    for name in ("hard", "rollover", "enabled"):
        if type(cleaned.get(name, True)) is not bool:
            raise _invalid(f"{name} is true or false.", name)
    return cleaned


def _owned(at_most: int | None, **owner: str | None) -> QuerySet[Budget]:
    """Return an owner's budgets, to which nobody else adds in the meantime. Raises Conflict where these are enough."""
    with connection.cursor() as cursor:
        key = f"budgets:{owner['developer_id'] or owner['end_user_id']}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
    rows = Budget.objects.filter(**owner)
    if at_most is not None and rows.filter(enabled=True).count() >= at_most:
        raise Conflict(
            gettext("There are %(at_most)s budgets already: disable one first.") % {"at_most": at_most},
            code="too_many_budgets",
        )
    return rows


class _Subject(NamedTuple):
    """Whose what a budget is for is: a developer's, an end user's own, or the operator's."""

    developer_id: str | None = None
    end_user_id: str | None = None


def _subject(scope: str, scope_id: str) -> _Subject | None:
    """Return who may set a budget for this beside the operator; None where there is nothing."""
    if not scope_id.startswith(_PREFIXES[scope]) or "\0" in scope_id:
        return None
    if scope == BudgetScope.DEVELOPER:
        return _Subject(scope_id) if developers.developer(scope_id) is not None else None
    if scope == BudgetScope.CREDENTIAL:
        credential = vault.credential_by_id(scope_id)
        if credential is None:
            return None
        owner = credential.owner_id
        is_users = credential.owner_class == "end_user"
        return _Subject(owner if credential.owner_class == "developer" else None, owner if is_users else None)
    app_id, _, feature_key = scope_id.partition("/")
    user_id = None
    if scope == BudgetScope.END_USER:
        user = features.end_user_by_id(scope_id)
        app_id, user_id = (user.app_id, scope_id) if user is not None else ("", None)
    elif scope == BudgetScope.FEATURE and features.feature_by_key(app_id, feature_key) is None:
        return None
    app = features.app_by_id(app_id)
    return _Subject(app.developer_id, user_id) if app is not None else None


def _shown(row: Budget) -> dict[str, Any]:
    return {
        "amount_usd": usd(row.amount_nano),
        "hard": row.hard,
        "rollover": row.rollover,
        "thresholds": list(row.thresholds),
        "enabled": row.enabled,
    }


def _audit(action: str, row: Budget, now: datetime, actor: str, detail: dict[str, Any]) -> None:
    subject = _subject(row.scope, row.current_id)
    concerned = row.developer_id or (subject.developer_id if subject is not None else None)
    audit.record(action, "budget", row.id, actor=actor, now=now, developer_id=concerned, detail=detail)


def _exists() -> Conflict:
    return Conflict(
        gettext("There is such a budget already: change that one."), code="already_exists", param="scope_id"
    )


def _invalid(message: str, param: str) -> BadRequest:
    return BadRequest(message, code="invalid_budget", param=param)
