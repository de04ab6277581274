"""Calls that reserve of budgets, without a gateway. Amounts are nano-USD."""

from collections.abc import Sequence
from typing import Any

from django.db import connection

from apps.core.clock import now
from apps.core.ids import new_id
from apps.ledger.statements import HoldRequest, HoldResult
from apps.usage.budgets.queries import BudgetState, budget_state
from apps.usage.budgets.refs import BudgetWish
from apps.usage.services import budgets
from apps.usage.services.admit import ADMIT, AdmitResult, BudgetedHold, admit_parameters, admit_results
from tests.live import ACTOR
from tests.usage.factories import Desk


def budget(desk: Desk, amount: int, *, scope: str = "app", scope_id: str = "", **more: Any) -> str:
    """Set a budget and return its id."""
    moment = more.pop("now", None) or now()
    values = {"period": "month", "scope_id": scope_id or desk.world.app_id, **more}
    return budgets.create_budget(scope=scope, amount=amount, **values, now=moment, actor=ACTOR)


def state(budget_id: str) -> BudgetState:
    found = budget_state(budget_id, now=now())
    assert found is not None
    return found


def ask(
    desk: Desk,
    amount: int,
    *wishes: str | tuple[str, int] | tuple[str, int, tuple[str, ...]],
    minimum: int | None = None,
    **more: Any,
) -> BudgetedHold:
    """Return a hold that asks of budgets: their ids, or (id, cost) or (id, cost, credentials) of a credential's."""
    asked = tuple(BudgetWish(wish) if isinstance(wish, str) else BudgetWish(*wish) for wish in wishes)
    values = {"account_id": desk.world.account_id, "lease": 60.0, "memo": desk.memo(), **more}
    return BudgetedHold(
        request_id=new_id("req"), amount=amount, minimum=amount if minimum is None else minimum, budgets=asked, **values
    )


def admit(*requests: HoldRequest, settled: Sequence[str] = ()) -> list[HoldResult]:
    """Admit calls in one statement and return what became of each."""
    with connection.cursor() as cursor:
        cursor.execute(ADMIT, admit_parameters(requests, settled))
        return admit_results(requests, cursor.fetchall())


def admit_one(request: BudgetedHold) -> AdmitResult:
    (result,) = admit(request)
    assert isinstance(result, AdmitResult)
    return result
