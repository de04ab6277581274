"""Budgets: what the developer's apps, features, users and provider keys may spend; the operator's limits."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from apps.console.access import Seat, developer_page
from apps.console.forms import UsdField, refuse
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.features.queries import apps_of_developer, features_of_apps
from apps.usage.budgets.queries import BudgetState, budget_state, budgets_of_developer
from apps.usage.limits.queries import limit_rules_for
from apps.usage.services.budgets import create_budget, disable_budget, update_budget
from apps.vault.queries import credentials_owned_by

PAGE = 25
THRESHOLDS = [80, 95]
MAX_KEYS = 100


@developer_page("budgets")
def budgets(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List the developer's budgets with what remains of each, and the limits that the operator set."""
    before = request.GET.get("before", "").replace("\0", "") or None
    rows = budgets_of_developer(seat.developer_id, before=before, limit=PAGE + 1, now=now())
    shown = rows[:PAGE]
    apps = {app.id: app.name for app in apps_of_developer(seat.developer_id)}
    names = _names(seat, apps, shown)
    limits = limit_rules_for(seat.developer_id, list(apps))
    context = {
        "seat": seat,
        "rows": [(scope_words(row.scope), names.get(row.scope_id, row.scope_id), row, _state(row)) for row in shown],
        "next": shown[-1].id if len(rows) > PAGE else None,
        "first": before is None,
        "limits": [(_limited(rule.scope, rule.scope_id, apps), rule) for rule in limits],
        "change": seat.may_change("budgets"),
    }
    return render(request, "console/developer/budgets.html", context)


def scope_words(scope: str) -> str:
    """Return what a budget or a limit is for."""
    return {
        "platform": __("Everybody on this instance"),
        "developer": __("All your apps"),
        "app": __("App"),
        "feature": __("Feature"),
        "end_user": __("User"),
        "credential": __("Provider key"),
        "session": __("Session"),
        "key": __("Virtual key"),
        "ip": __("Network address"),
    }.get(scope, scope)


def feature_name(scope_id: str, apps: Mapping[str, str]) -> str:
    """Return a feature as `app / feature`."""
    app_id, _slash, key = scope_id.partition("/")
    return f"{apps.get(app_id, app_id)} / {key}"


def _names(seat: Seat, apps: Mapping[str, str], rows: tuple[BudgetState, ...]) -> dict[str, str]:
    """Return by id what the budgets of a page are for."""
    names = {seat.developer_id: "", **apps}
    names |= {row.scope_id: feature_name(row.scope_id, apps) for row in rows if row.scope == "feature"}
    if any(row.scope == "credential" for row in rows):
        names |= _key_names(seat)
    return names


def _key_names(seat: Seat) -> dict[str, str]:
    keys = credentials_owned_by("developer", seat.developer_id, limit=MAX_KEYS)
    return {key.id: f"{key.label or key.provider} …{key.hint}" for key in keys}


def _state(row: BudgetState) -> tuple[str, str]:
    """Return (how a budget stands, its colour)."""
    if not row.enabled:
        return __("off"), ""
    used = row.spent + row.reserved
    if used >= row.limit:
        return (__("used up: calls are refused"), "bad") if row.hard else (__("used up"), "warn")
    if row.thresholds and used * 100 >= row.limit * min(row.thresholds):
        return __("running low"), "warn"
    return __("in force"), "good"


def _limited(scope: str, scope_id: str, apps: Mapping[str, str]) -> str:
    """Return whom a limit is for."""
    if not scope_id:
        return __("Each: %(scope)s") % {"scope": scope_words(scope)} if scope != "platform" else scope_words(scope)
    if scope == "feature":
        return feature_name(scope_id, apps)
    return apps.get(scope_id, scope_words(scope))


class BudgetForm(forms.Form):
    """Ask for what may change of a budget."""

    amount = UsdField(label=_("Amount in USD"))
    hard = forms.TypedChoiceField(
        label=_("When it is used up"),
        coerce=lambda value: value == "True",
        choices=((True, _("Refuse calls")), (False, _("Only tell me"))),
        widget=forms.RadioSelect,
        initial=True,
    )
    rollover = forms.BooleanField(label=_("What is left over is carried into the next period"), required=False)
    thresholds = forms.CharField(
        label=_("Tell me at, in per cent"),
        required=False,
        max_length=60,
        help_text=_("Such as 80, 95. Alerts are posted to your alert endpoint and listed under Alerts."),
    )

    def clean_thresholds(self) -> list[int]:
        text = str(self.cleaned_data["thresholds"]).replace("%", " ").replace(",", " ").replace("，", " ")
        parts = text.split()
        if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts):
            raise forms.ValidationError(_("Write whole numbers with commas between."))
        return [int(part) for part in parts]


class NewBudgetForm(BudgetForm):
    """Ask what a new budget is for besides."""

    subject = forms.ChoiceField(label=_("For"))
    end_user = forms.CharField(
        label=_("Id of a user"), required=False, max_length=40, help_text=_("usr_…, if it is for one user alone.")
    )
    period = forms.ChoiceField(
        label=_("Period"), choices=(("day", _("A day (UTC)")), ("month", _("A month (UTC)"))), initial="month"
    )
    field_order = ("subject", "end_user", "period", "amount", "hard", "rollover", "thresholds")

    def __init__(self, *args: Any, seat: Seat, **options: Any) -> None:
        super().__init__(*args, **options)
        subject = self.fields["subject"]
        assert isinstance(subject, forms.ChoiceField)
        subject.choices = _subjects(seat)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        given["scope"], _colon, given["scope_id"] = given.get("subject", "").partition(":")
        if given["scope"] == "end_user":
            given["scope_id"] = given.get("end_user", "")
            if not given["scope_id"]:
                self.add_error("end_user", _("Say which user."))
        return given


def _subjects(seat: Seat) -> list[Any]:
    """Return what a budget may be for, as choices in groups."""
    apps = apps_of_developer(seat.developer_id)
    names = {app.id: app.name for app in apps}
    features = features_of_apps(list(names))
    choices: list[Any] = [(f"developer:{seat.developer_id}", scope_words("developer"))]
    if apps:
        choices.append((__("Apps"), [(f"app:{app.id}", app.name) for app in apps]))
    found = [
        (f"feature:{app.id}/{feature.key}", feature_name(f"{app.id}/{feature.key}", names))
        for app in apps
        for feature in features.get(app.id, ())
    ]
    if found:
        choices.append((__("Features"), found))
    if keys := _key_names(seat):
        choices.append((__("Provider keys"), [(f"credential:{id}", name) for id, name in keys.items()]))
    return [*choices, ("end_user:", __("One user (give the id below)"))]


_FORM_NAMES = {"amount_usd": "amount", "scope_id": "subject", "scope": "subject"}


@developer_page("budgets", change=True)
def new_budget(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Set a budget for something of the developer's."""
    user = request.GET.get("end_user", "")
    initial = {"thresholds": ", ".join(map(str, THRESHOLDS)), "end_user": user, "subject": request.GET.get("for", "")}
    if user:
        initial["subject"] = "end_user:"
    form = NewBudgetForm(request.POST or None, seat=seat, initial=initial)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        asked = {name: given[name] for name in ("scope", "scope_id", "period", *_CHANGES)}
        try:
            count_change(seat)
            create_budget(
                **asked, developer_id=seat.developer_id, at_most=settings.MAX_BUDGETS, now=now(), actor=seat.actor
            )
        except FaucetError as error:
            names = _FORM_NAMES | ({"scope_id": "end_user"} if given["scope"] == "end_user" else {})
            refuse(form, error, names)
        else:
            messages.success(request, __("The budget is in force. Calls count from now on."))
            return redirect("console:budgets", seat.developer_id)
    return render(request, "console/developer/budget_form.html", {"seat": seat, "form": form})


_CHANGES = ("amount", "hard", "rollover", "thresholds")


@developer_page("budgets", change=True)
def budget(request: HttpRequest, seat: Seat, budget_id: str) -> HttpResponse:
    """Change a budget; a new amount is in force at once."""
    row = _find(seat, budget_id)
    initial = {name: getattr(row, name) for name in _CHANGES} | {"thresholds": ", ".join(map(str, row.thresholds))}
    form = BudgetForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        asked = {name: form.cleaned_data[name] for name in _CHANGES}
        try:
            count_change(seat)
            update_budget(row.id, developer_id=seat.developer_id, **asked, now=now(), actor=seat.actor)
        except FaucetError as error:
            refuse(form, error, _FORM_NAMES)
        else:
            messages.success(request, __("The budget was changed."))
            return redirect("console:budgets", seat.developer_id)
    apps = {app.id: app.name for app in apps_of_developer(seat.developer_id)}
    name = _names(seat, apps, (row,)).get(row.scope_id, row.scope_id)
    context = {"seat": seat, "form": form, "row": row, "scope": scope_words(row.scope), "name": name}
    return render(request, "console/developer/budget_form.html", {**context, "state": _state(row)})


@require_POST
@developer_page("budgets", change=True)
def switch_budget(request: HttpRequest, seat: Seat, budget_id: str) -> HttpResponse:
    """Disable a budget, or put it in force again; which of them is posted."""
    row = _find(seat, budget_id)
    who: dict[str, Any] = {"developer_id": seat.developer_id, "now": now(), "actor": seat.actor}
    count_change(seat)
    if request.POST.get("to") == "on":
        update_budget(row.id, enabled=True, at_most=settings.MAX_BUDGETS, **who)
        messages.success(request, __("The budget is in force again."))
    else:
        disable_budget(row.id, **who)
        messages.success(request, __("The budget is off: it refuses and counts nothing any more."))
    return redirect("console:budgets", seat.developer_id)


def count_change(seat: Seat) -> None:
    """Count a change of budgets or alerts. Raises RateLimited: each has every gateway read the policy."""
    addresses.count(
        "budget_changes",
        settings.BUDGET_CHANGES,
        seat.developer_id,
        message=__("Too many changes of budgets; wait a while."),
    )


def _find(seat: Seat, budget_id: str) -> BudgetState:
    found = budget_state(budget_id, now=now()) if "\0" not in budget_id else None
    if found is None or found.developer_id != seat.developer_id:
        raise Http404("There is no such budget.")
    return found
