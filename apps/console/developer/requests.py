"""The log of calls, and the receipt of each: what it cost and why it went where it went, never what it said."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from apps.console.access import Seat, developer_page
from apps.console.call_words import (
    cache_words,
    outcome_words,
    policy_words,
    reason_words,
    route_words,
    rule_number,
    task_words,
)
from apps.console.developer.periods import DateInput, at_midnight, today_of
from apps.console.paging import place_of, place_text
from apps.core.clock import now
from apps.features.entitlements import kept_since
from apps.features.queries import app_by_id, apps_of_developer
from apps.usage.models import Outcome
from apps.usage.queries import UsageFilter, usage_page
from apps.usage.rate import ROUTE_MODES
from apps.usage.receipts import Receipt, basis_of, payer_rate, receipt_of

PAGE = 50
# Calls that are looked at for a page of those that a filter takes.
LOOK = 20_000
# Without a first day the log goes back so far.
DAYS = 7
# What of the form narrows the log, beside the days, and as what.
_FILTERS = {"app": "app_id", "feature": "feature_key", "model": "model", "outcome": "outcome", "route": "route_mode"}


class LogForm(forms.Form):
    """Ask which calls the log is to list."""

    request_id = forms.CharField(
        label=_("Request id"), required=False, max_length=40, widget=forms.TextInput(attrs={"placeholder": "req_…"})
    )
    begin = forms.DateField(label=_("From"), required=False, widget=DateInput())
    end = forms.DateField(label=_("To"), required=False, widget=DateInput())
    app = forms.ChoiceField(label=_("App"), required=False)
    feature = forms.CharField(label=_("Feature"), required=False, max_length=64)
    model = forms.CharField(label=_("Model"), required=False, max_length=200)
    outcome = forms.ChoiceField(label=_("How it ended"), required=False)
    route = forms.ChoiceField(label=_("Route"), required=False)

    def __init__(self, given: dict[str, Any], apps: list[tuple[str, str]], *, today: Any) -> None:
        first = (today - timedelta(days=DAYS - 1)).isoformat()
        super().__init__({"begin": first, **{name: value for name, value in given.items() if value}})
        listed: dict[str, list[tuple[Any, Any]]] = {
            "app": [("", _("All apps")), *apps],
            "outcome": [("", _("All")), *Outcome.choices],
            "route": [("", _("All")), *((mode, route_words(mode)) for mode in ROUTE_MODES)],
        }
        for name, choices in listed.items():
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = choices


@developer_page("usage")
def requests(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List calls, newest first, for as long as the developer's plan keeps them."""
    moment = now()
    apps = {app.id: app.name for app in apps_of_developer(seat.developer_id)}
    form = LogForm(request.GET.dict(), list(apps.items()), today=today_of(moment))
    asked = form.cleaned_data if form.is_valid() else {}
    if request_id := asked.get("request_id"):
        if _own_receipt(seat, request_id, now=moment) is not None:
            return redirect("console:request", seat.developer_id, request_id)
        form.add_error("request_id", _("There is no such call, or your plan no longer keeps it."))
    kept = kept_since(seat.developer_id, now=moment)
    begin = at_midnight(asked["begin"]) if asked.get("begin") else at_midnight(today_of(moment) - timedelta(days=DAYS))
    which = UsageFilter(
        developer_id=seat.developer_id,
        begin=begin if kept is None else max(begin, kept),
        end=at_midnight(asked["end"] + timedelta(days=1)) if asked.get("end") else None,
    )
    narrowed = {column: asked[name] for name, column in _FILTERS.items() if asked.get(name)}
    page = usage_page(
        replace(which, **narrowed),
        after=place_of(request.GET.get("after", "")),
        limit=PAGE,
        look=LOOK if narrowed.keys() - {"app_id"} else None,
    )
    given: dict[str, Any] = {name: value for name, value in request.GET.dict().items() if value and name != "after"}
    context = {
        "seat": seat,
        "form": form,
        "rows": [
            {"call": call, "app": apps.get(call.app_id, call.app_id), "ending": outcome_words(call.outcome)}
            for call in page.calls
        ],
        "kept": kept,
        "newest": urlencode(given) if request.GET.get("after") else None,
        "older": urlencode({**given, "after": place_text(page.next)}) if page.next else None,
        "narrowed": bool(narrowed),
        "look": LOOK if len(page.calls) < PAGE and page.next else None,
    }
    return render(request, "console/developer/requests.html", context)


@developer_page("usage")
def receipt(request: HttpRequest, seat: Seat, request_id: str) -> HttpResponse:
    """Show one call: what it cost, its tokens, its route and why, and the prices behind it."""
    found = _own_receipt(seat, request_id, now=now())
    if found is None:
        raise Http404("There is no such call.")
    call = found.call
    basis, per_request, markup = basis_of(found)
    tier = found.price.tier(call.tokens.prompt) if found.price is not None else None
    app = app_by_id(call.app_id)
    context = {
        "seat": seat,
        "receipt": found,
        "call": call,
        "app_name": app.name if app is not None else call.app_id,
        "ending": outcome_words(call.outcome),
        "route": route_words(call.route_mode),
        "policy": policy_words(call.policy),
        "rule": rule_number(found.routing),
        "task": task_words(call.task_class),
        "cache": cache_words(call.cache),
        "targets": [
            (each.get("candidate", ""), route_words(each.get("mode", ""))) for each in found.routing.get("targets", ())
        ],
        "rejected": [
            (each.get("candidate", ""), route_words(each.get("mode", "")), reason_words(each.get("reason", "")))
            for each in found.routing.get("rejected", ())
        ],
        "tokens": _tokens(found, tier, markup if basis == "tokens" else None),
        "per_request": per_request,
        "markup": markup if basis == "tokens" else None,
        "own_bill": call.route_mode == "developer_key",
    }
    return render(request, "console/developer/request.html", context)


def _own_receipt(seat: Seat, request_id: str, *, now: datetime) -> Receipt | None:
    """Return the receipt of one of the developer's calls that its plan still keeps."""
    found = receipt_of(request_id)
    if found is None or found.call.developer_id != seat.developer_id:
        return None
    kept = kept_since(seat.developer_id, now=now)
    return None if kept is not None and found.call.effective_at < kept else found


def _tokens(found: Receipt, tier: Any, markup: int | None) -> list[tuple[Any, int, int | None, int | None]]:
    """Return (kind, tokens, the provider's list price, the payer's rate) of a call, per million tokens."""
    counted = found.call.tokens
    kinds = (
        ("input", _("Input"), counted.input),
        ("cache_read", _("Input from the provider’s cache"), counted.cache_read),
        ("cache_write", _("Input written to the provider’s cache"), counted.cache_write),
        ("output", _("Output"), counted.output),
    )
    rows = []
    for name, title, count in kinds:
        price = getattr(tier, name) if tier is not None else None
        rate = payer_rate(price, markup) if price is not None and markup is not None else None
        rows.append((title, count, price, rate))
    return [row for row in rows if row[1] or row[0] in (kinds[0][1], kinds[3][1])]
