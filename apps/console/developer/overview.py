"""Where one arrives: the choice of a developer, a new one, and its overview."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.billing.services.payout_accounts import account_info
from apps.billing.services.starters import start_developer
from apps.console.access import Seat, developer_page, person_of
from apps.console.developer.common import days_ago
from apps.core.clock import now
from apps.developers.queries import memberships
from apps.features.entitlements import virtual_keys_in_use
from apps.features.queries import AppInfo, apps_of_developer, features_of_apps
from apps.usage.days import DayTotals, day_totals
from apps.usage.queries import UsageFilter, usage_page
from apps.vault.queries import apps_with_secrets


class DeveloperForm(forms.Form):
    """Ask for what a developer is called."""

    name = forms.CharField(label=gettext_lazy("Name of your company or project"), max_length=200)


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Lead to the person's developer, to a choice where there are several, to a new one where there is none."""
    found = memberships(person_of(request).pk)
    if not found:
        return redirect("console:new")
    if len(found) == 1:
        return redirect("console:overview", found[0].developer_id)
    return render(request, "console/developer/choose.html", {"memberships": found})


@login_required
def new_developer(request: HttpRequest) -> HttpResponse:
    """Make a developer whose owner is the person who asks."""
    form = DeveloperForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = person_of(request)
        made = start_developer(
            form.cleaned_data["name"], user.email, owner_user_id=user.pk, now=now(), actor=f"user:{user.pk}"
        )
        return redirect("console:start", made)
    return render(request, "console/developer/new.html", {"form": form})


DAYS = 30


@dataclass(frozen=True, slots=True)
class Step:
    """A line of what is to be done until an app earns: whether it is, and where."""

    title: str
    url: str
    done: bool


@developer_page("overview")
def overview(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show what the developer has, the last 30 days, and what to do next."""
    moment = now()
    apps = apps_of_developer(seat.developer_id)
    begin, end = days_ago(DAYS, now=moment)
    by_day = day_totals("day", begin=begin, end=end, developer_id=seat.developer_id)
    by_app = {row.key[0]: row for row in day_totals("app_id", begin=begin, end=end, developer_id=seat.developer_id)}
    steps = _steps(seat, apps, called=bool(by_day), now=moment) if seat.may_change("apps") else []
    context = {
        "seat": seat,
        "rows": [{"app": app, "totals": by_app.get(app.id)} for app in apps],
        "days": _every_day(by_day, begin, end),
        "calls": sum(row.calls for row in by_day),
        "failed": sum(row.failed for row in by_day),
        "price": sum(row.price for row in by_day),
        "share": sum(row.developer for row in by_day),
        "steps": steps,
        "todo": any(not step.done for step in steps),
        "change": seat.may_change("apps"),
    }
    return render(request, "console/developer/overview.html", context)


def _every_day(found: list[DayTotals], begin: date, end: date) -> list[dict[str, Any]]:
    """Return each day with its calls, price and share, newest first; days without calls too."""
    totals = {row.key[0]: row for row in found}
    days = [end - timedelta(days=back) for back in range((end - begin).days + 1)]
    return [
        {"day": day, "calls": row.calls, "price": row.price, "share": row.developer}
        if (row := totals.get(day)) is not None
        else {"day": day, "calls": 0, "price": 0, "share": 0}
        for day in days
    ]


def _steps(seat: Seat, apps: tuple[AppInfo, ...], *, called: bool, now: datetime) -> list[Step]:
    """Return what leads to a first call and to a payout, each with whether it is done."""
    ids = [app.id for app in apps]
    features = [feature for found in features_of_apps(ids).values() for feature in found]
    callable_ = any(feature.manifest_id is not None or feature.default_model for feature in features)
    proven = bool(apps_with_secrets(ids)) or virtual_keys_in_use(seat.developer_id, now=now) > 0
    called = called or bool(usage_page(UsageFilter(developer_id=seat.developer_id), limit=1).calls)
    start = reverse("console:start", args=[seat.developer_id])

    def of_app(name: str) -> str:
        return reverse(f"console:{name}", args=[seat.developer_id, ids[0]]) if ids else start

    steps = [
        Step(_("Make an app"), start, bool(apps)),
        Step(_("Say where it runs: its allowed origins"), of_app("app-edit"), any(app.allowed_origins for app in apps)),
        Step(_("Choose what it asks: a feature"), of_app("feature-new"), callable_),
        Step(_("Get a key or an app secret"), of_app("first-call"), proven),
        Step(_("Make the first call"), of_app("first-call"), called),
    ]
    if seat.may_read("money"):
        ready = account_info(seat.developer_id).ready
        steps.append(Step(_("Say where your share is paid to"), _payout_url(seat), ready))
    return steps


def _payout_url(seat: Seat) -> str:
    try:
        return reverse("console:payouts", args=[seat.developer_id])
    except NoReverseMatch:
        return ""
