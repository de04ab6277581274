"""GET, PUT /v1/user/budget: what an end user lets themself spend in a day and in a month."""

from typing import Any

from django.conf import settings
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import BadRequest
from apps.features.queries import Principal
from apps.gateway.api.budgets import amount_of, count_change, state_of
from apps.gateway.api.fees import end_user_of
from apps.gateway.api.inputs import read_json
from apps.gateway.api.views import ApiView
from apps.usage.budgets.queries import owned_budgets
from apps.usage.models import BudgetScope, Period
from apps.usage.services.caps import set_cap

_PERIODS = {"daily_usd": Period.DAY.value, "monthly_usd": Period.MONTH.value}


class UserBudget(ApiView):
    http_method_names = ["get", "put", "head"]

    def get(self, request: Request) -> Response:
        """Show the end user's own limits with what is left of them."""
        return Response(_shown(end_user_of(request, keeps="budget")))

    def put(self, request: Request) -> Response:
        """Set the limits that are named, take away those given as null."""
        principal = end_user_of(request, keeps="budget")
        assert principal.end_user_id is not None
        body = read_json(request)
        given = {name: amount_of(body, name) for name in _PERIODS if body.has(name) or body.is_null(name)}
        if not given:
            raise BadRequest("daily_usd or monthly_usd is required.", code="missing_parameter", param="monthly_usd")
        count_change(principal.end_user_id)
        who: dict[str, Any] = {"now": now(), "actor": f"session:{principal.id}", "at_most": settings.MAX_BUDGETS}
        with transaction.atomic():
            for name, amount in given.items():
                user = principal.end_user_id
                set_cap(BudgetScope.END_USER.value, user, _PERIODS[name], amount, end_user_id=user, **who)
        return Response(_shown(principal))


def _shown(principal: Principal) -> dict[str, Any]:
    user = principal.end_user_id
    assert user is not None
    owned = owned_budgets(BudgetScope.END_USER.value, [user], end_user_id=user, now=now())
    states = {row.period: state_of(row) for row in owned if row.enabled}
    return {"object": "user_budget", "daily": states.get(Period.DAY), "monthly": states.get(Period.MONTH)}
