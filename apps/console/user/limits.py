"""What end users let themselves spend in a day and in a month."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from apps.console.forms import UsdField, refuse
from apps.console.user.access import Visit, render_page, user_page
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.usage.budgets.queries import BudgetState, owned_budgets
from apps.usage.models import BudgetScope, Period
from apps.usage.services.caps import set_cap

_USER = BudgetScope.END_USER.value
_PERIODS = {"daily": Period.DAY.value, "monthly": Period.MONTH.value}


class LimitsForm(forms.Form):
    """Ask for the most in a day and in a month."""

    daily = UsdField(label=_("Most in a day, USD"), required=False, help_text=_("Empty: no limit of your own."))
    monthly = UsdField(label=_("Most in a month, USD"), required=False, help_text=_("Empty: no limit of your own."))


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def limits(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show the user's own limits with what is left of them, and change them."""
    states = _states(visit)
    initial = {name: states[period].amount if period in states else None for name, period in _PERIODS.items()}
    form = LimitsForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            _set(visit, {name: form.cleaned_data[name] for name in _PERIODS}, initial)
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, __("Saved."))
            return redirect("me:limits", visit.link_id)
    shown = [states[period] for period in _PERIODS.values() if period in states]
    return render_page(request, visit, "limits.html", {"form": form, "states": shown})


def count_change(user_id: str) -> None:
    """Count a change of budgets. Raises RateLimited."""
    addresses.count(
        "budget_changes", settings.BUDGET_CHANGES, user_id, message=__("Too many changes of limits; wait a little.")
    )


def _set(visit: Visit, asked: dict[str, int | None], before: dict[str, int | None]) -> None:
    """Set the limits that changed. Raises what `set_cap` raises, and RateLimited."""
    changed = {name: amount for name, amount in asked.items() if amount != before[name]}
    if not changed:
        return
    count_change(visit.user_id)
    who: dict[str, Any] = {"now": now(), "actor": visit.actor, "at_most": settings.MAX_BUDGETS}
    with transaction.atomic():
        for name, amount in changed.items():
            try:
                set_cap(_USER, visit.user_id, _PERIODS[name], amount, end_user_id=visit.user_id, **who)
            except FaucetError as error:
                error.param = name
                raise


def _states(visit: Visit) -> dict[str, BudgetState]:
    owned = owned_budgets(_USER, [visit.user_id], end_user_id=visit.user_id, now=now())
    return {row.period: row for row in owned if row.enabled}
