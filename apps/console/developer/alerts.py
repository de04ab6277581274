"""Alerts: where they are posted, those that were raised, and hours that were unlike others."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _

from apps.billing.queries.anomalies import anomalies_of
from apps.console.access import Seat, developer_page
from apps.console.developer.budgets import count_change, feature_name, scope_words
from apps.console.developer.money_words import metric_words, usd_of, value_words
from apps.console.developer.wallet import cursor_of
from apps.console.forms import refuse
from apps.console.templatetags.console import usd_short
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.features.queries import apps_of_developer
from apps.usage.budgets.queries import AlertInfo, alerts_of
from apps.usage.services.alerts import endpoint_of, remove_endpoint, set_endpoint

PAGE = 25
ANOMALIES = 10


@developer_page("budgets")
def alerts(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show where alerts are posted, the alerts so far, and the latest hours that were unlike others."""
    apps = {app.id: app.name for app in apps_of_developer(seat.developer_id)}
    rows = alerts_of(seat.developer_id, before=cursor_of(request), limit=PAGE + 1)
    unlike = anomalies_of(seat.developer_id, list(apps), limit=ANOMALIES)
    context = {
        "seat": seat,
        "endpoint": endpoint_of(seat.developer_id),
        "rows": [(alert_words(row), _about(row.scope, row.scope_id, apps), row, _delivery(row)) for row in rows[:PAGE]],
        "next": rows[PAGE - 1].id if len(rows) > PAGE else None,
        "first": cursor_of(request) is None,
        "anomalies": [
            {
                "hour": row.hour,
                "about": apps.get(row.scope_id, scope_words("developer")),
                "metric": metric_words(row.metric),
                "value": value_words(row.metric, row.value),
                "usual": value_words(row.metric, row.baseline),
            }
            for row in unlike
        ],
        "change": seat.may_change("budgets"),
    }
    return render(request, "console/developer/alerts.html", context)


def alert_words(row: AlertInfo) -> str:
    """Return what an alert says."""
    if row.threshold is not None:
        return __("%(percent)s %% of a budget is used: %(spent)s of %(limit)s") % {
            "percent": row.threshold,
            "spent": usd_short(row.spent),
            "limit": usd_short(row.limit),
        }
    if row.kind == "clawback":
        amount = row.data.get("amount_usd")
        words = __("A user disputed a payment: your share of what it paid for was taken back")
        return f"{words}: {usd_of(amount)}" if amount else words
    texts = {
        "anomaly": __("An hour was unlike others"),
        "risk": __("The risk score has changed"),
        "dispute": __("A payment is disputed"),
    }
    return texts.get(row.kind, row.kind.replace("_", " "))


def _about(scope: str, scope_id: str, apps: dict[str, str]) -> str:
    """Return what an alert is about."""
    if scope == "feature":
        return feature_name(scope_id, apps)
    return apps.get(scope_id, scope_words(scope))


def _delivery(row: AlertInfo) -> tuple[str, str]:
    """Return (what became of posting an alert, its colour)."""
    if row.delivered_at is not None:
        return __("posted"), "good"
    if row.last_error:
        return __("not posted: %(error)s") % {"error": row.last_error}, "bad"
    return __("only listed here"), ""


class EndpointForm(forms.Form):
    """Ask where alerts are posted."""

    url = forms.URLField(
        label=_("Address"),
        max_length=500,
        assume_scheme="https",
        help_text=_("https://… Each alert is a POST of JSON, signed as Standard Webhooks are."),
        widget=forms.URLInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


@developer_page("budgets", change=True)
def alert_endpoint(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Say where alerts are posted; the secret that signs them is in the answer and never shown again."""
    found = endpoint_of(seat.developer_id)
    form = EndpointForm(request.POST or None, initial={"url": found.url if found is not None else ""})
    context: dict[str, Any] = {"seat": seat, "form": form, "endpoint": found}
    if request.method == "POST" and form.is_valid():
        try:
            count_change(seat)
            _id, secret = set_endpoint(seat.developer_id, form.cleaned_data["url"], now=now(), actor=seat.actor)
        except FaucetError as error:
            refuse(form, error)
        else:
            # The answer to the POST itself: a message would pass through a cookie or the session table.
            shown = {**context, "secret": secret, "url": form.cleaned_data["url"]}
            response = render(request, "console/developer/alert_secret.html", shown)
            response["Cache-Control"] = "no-store, private"
            return response
    return render(request, "console/developer/alert_endpoint.html", context)


@developer_page("budgets", change=True)
def remove_alert_endpoint(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Ask before alerts are posted nowhere any more, and do it."""
    found = endpoint_of(seat.developer_id)
    if found is None:
        return redirect("console:alerts", seat.developer_id)
    if request.method == "POST":
        remove_endpoint(seat.developer_id, now=now(), actor=seat.actor)
        messages.success(request, __("Alerts are posted nowhere any more. They are still listed here."))
        return redirect("console:alerts", seat.developer_id)
    return render(request, "console/developer/alert_endpoint_remove.html", {"seat": seat, "endpoint": found})
