"""/v1/developers/{id}/budgets: what a developer's apps, features, users and keys may spend in a day or month."""

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import BadRequest, FaucetError, NotFound
from apps.core.money import MAX_NANO, usd
from apps.developers.models import Scope
from apps.features.queries import app_by_public_id
from apps.gateway.api.inputs import Body, Query, read_json
from apps.gateway.api.views import ApiView, actor_of, identity_of, list_of, require_developer
from apps.usage.budgets.queries import BudgetState, budget_state, budgets_of_developer
from apps.usage.models import BudgetScope
from apps.usage.services.budgets import create_budget, disable_budget, update_budget

THRESHOLDS = (80, 95)
# What a budget keeps for good: another scope or period is another budget.
_FIXED = ("scope", "scope_id", "period")
# What the service calls otherwise than the body does.
_NAMES = {"amount": "amount_usd"}


class _Budgets(ApiView):
    http_method_names = ["get", "post", "patch", "delete", "head"]

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, FaucetError):
            exc.param = _NAMES.get(exc.param or "", exc.param)
        return super().handle_exception(exc)


class DeveloperBudgets(_Budgets):
    def get(self, request: Request, developer_id: str) -> Response:
        """List the developer's own budgets, newest first, each in its present period."""
        require_developer(identity_of(request, Scope.BUDGETS_READ), developer_id)
        query = Query(request)
        limit = query.limit()
        rows = budgets_of_developer(developer_id, before=query.text("cursor"), limit=limit + 1, now=now())
        return Response(list_of([_budget(row) for row in rows], limit))

    def post(self, request: Request, developer_id: str) -> Response:
        """Set a budget for something of the developer's."""
        identity = identity_of(request, Scope.BUDGETS_WRITE)
        require_developer(identity, developer_id)
        body = read_json(request)
        scope, period = body.required_text("scope"), body.required_text("period")
        asked = _asked(body)
        if "amount" not in asked:
            raise BadRequest("amount_usd is required.", code="missing_parameter", param="amount_usd")
        count_change(developer_id)
        moment = now()
        budget_id = create_budget(
            scope=scope,
            scope_id=_scope_id(body, scope, developer_id),
            period=period,
            **{"thresholds": THRESHOLDS, **asked},
            developer_id=developer_id,
            at_most=settings.MAX_BUDGETS,
            now=moment,
            actor=actor_of(identity),
        )
        return Response(_budget(_find(developer_id, budget_id)), status=201)


class DeveloperBudgetItem(_Budgets):
    def get(self, request: Request, developer_id: str, budget_id: str) -> Response:
        """Show a budget in its present period."""
        require_developer(identity_of(request, Scope.BUDGETS_READ), developer_id)
        return Response(_budget(_find(developer_id, budget_id)))

    def patch(self, request: Request, developer_id: str, budget_id: str) -> Response:
        """Change a budget; a new amount is in force at once."""
        identity = identity_of(request, Scope.BUDGETS_WRITE)
        require_developer(identity, developer_id)
        _find(developer_id, budget_id)
        body = read_json(request)
        for fixed in _FIXED:
            if body.has(fixed):
                raise BadRequest("That stays as it is: set another budget.", code="invalid_request", param=fixed)
        asked = _asked(body)
        if (enabled := body.flag("enabled")) is not None:
            asked["enabled"] = enabled
        count_change(developer_id)
        who: dict[str, Any] = {"now": now(), "actor": actor_of(identity)}
        update_budget(budget_id, developer_id=developer_id, at_most=settings.MAX_BUDGETS, **asked, **who)
        return Response(_budget(_find(developer_id, budget_id)))

    def delete(self, request: Request, developer_id: str, budget_id: str) -> Response:
        """Disable a budget: it refuses and counts nothing any more; what it counted stays."""
        identity = identity_of(request, Scope.BUDGETS_WRITE)
        require_developer(identity, developer_id)
        _find(developer_id, budget_id)
        disable_budget(budget_id, developer_id=developer_id, now=now(), actor=actor_of(identity))
        return Response(status=204)


def count_change(owner_id: str) -> None:
    """Count a change of an owner's budgets or alerts. Raises RateLimited: each has every gateway read the policy."""
    addresses.count("budget_changes", settings.BUDGET_CHANGES, owner_id, message="Too many changes of budgets; wait.")


def amount_of(body: Body, name: str) -> int | None:
    """Return a budget's amount in nano-USD, None where it was not given. Raises BadRequest."""
    amount = body.money(name, most=MAX_NANO)
    if amount == 0:
        raise BadRequest(f"{name} is more than 0.", code="invalid_budget", param=name)
    return amount


def state_of(row: BudgetState) -> dict[str, Any]:
    """Return the amounts of a budget in its present period."""
    return {
        "amount_usd": usd(row.amount),
        "period_start": row.period_start.isoformat(),
        "period_end": row.period_end.isoformat(),
        "limit_usd": usd(row.limit),
        "spent_usd": usd(row.spent),
        "reserved_usd": usd(row.reserved),
        "remaining_usd": usd(row.remaining),
    }


def _asked(body: Body) -> dict[str, Any]:
    """Return what a body says of a budget, under the service's names. Raises BadRequest."""
    given: dict[str, Any] = {
        "amount": amount_of(body, "amount_usd"),
        "hard": body.flag("hard"),
        "rollover": body.flag("rollover"),
        "thresholds": body.wholes("thresholds", least=1, most=1000, items=10),
    }
    return {name: value for name, value in given.items() if value is not None}


def _scope_id(body: Body, scope: str, developer_id: str) -> str:
    """Return whom a budget is for; apps may be named by their public ids. Raises BadRequest."""
    if scope == BudgetScope.DEVELOPER and not body.has("scope_id"):
        return developer_id
    given = body.required_text("scope_id", most=128)
    app_id, slash, key = given.partition("/")
    found = app_by_public_id(app_id) if app_id.startswith("app_pub_") else None
    return given if found is None else f"{found.id}{slash}{key}"


def _find(developer_id: str, budget_id: str) -> BudgetState:
    found = budget_state(budget_id, now=now()) if "\0" not in budget_id else None
    if found is None or found.developer_id != developer_id:
        raise NotFound("There is no such budget.", code="budget_not_found", param="budget_id")
    return found


def _budget(row: BudgetState) -> dict[str, Any]:
    return {
        "object": "budget",
        "id": row.id,
        "scope": row.scope,
        "scope_id": row.scope_id,
        "period": row.period,
        "hard": row.hard,
        "rollover": row.rollover,
        "thresholds": list(row.thresholds),
        "enabled": row.enabled,
        **state_of(row),
        "carried_over_usd": usd(row.carried),
    }
