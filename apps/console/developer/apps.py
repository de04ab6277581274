"""Apps: listed, shown, changed, priced, switched off and on."""

from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.billing.services.allowances import monthly_allowance, set_monthly_allowance
from apps.console.access import Seat, developer_page
from apps.console.developer.common import app_of, days_ago, gate_words
from apps.console.forms import LinesField, PercentField, UsdField, refuse
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.features.models import DeveloperPricing, PlatformPricing
from apps.features.queries import Terms, apps_of_developer, features_of_app, features_of_apps, load_terms
from apps.features.services.apps import disable_app, enable_app, set_app_prices, update_app
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.usage.app_gates import gates_of
from apps.usage.days import day_totals
from apps.usage.limits.queries import is_limited

DAYS = 30


@developer_page("apps")
def apps(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List the developer's apps with what they came to in 30 days."""
    found = apps_of_developer(seat.developer_id)
    features = features_of_apps([app.id for app in found])
    begin, end = days_ago(DAYS, now=now())
    totals = {row.key[0]: row for row in day_totals("app_id", begin=begin, end=end, developer_id=seat.developer_id)}
    rows = [{"app": app, "features": len(features.get(app.id, ())), "totals": totals.get(app.id)} for app in found]
    return render(request, "console/developer/apps.html", {"seat": seat, "rows": rows})


@developer_page("apps")
def app(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Show an app: what it is, its features, its prices, what it lacks."""
    found = app_of(seat, app_id)
    begin, end = days_ago(DAYS, now=now())
    by_feature = day_totals("feature_key", begin=begin, end=end, developer_id=seat.developer_id, app_id=found.id)
    totals = {row.key[0]: row for row in by_feature}
    features = features_of_app(found.id)
    terms = load_terms([found.terms_id])[found.terms_id]
    gates = gates_of(found, terms, features, limited=is_limited("app", found.id))
    funds = account_id(AccountKind.APP_ALLOWANCE, found.id)
    context = {
        "seat": seat,
        "app": found,
        "terms": terms,
        "monthly": monthly_allowance(found.id),
        "funds": 0 if funds is None else balance(funds).available,
        "gates": [(gate_words(gate.key), gate.met) for gate in gates],
        "rows": [{"feature": each, "totals": totals.get(each.key)} for each in features],
        "calls": sum(row.calls for row in by_feature),
        "price": sum(row.price for row in by_feature),
        "share": sum(row.developer for row in by_feature),
        "change": seat.may_change("apps"),
    }
    return render(request, "console/developer/app.html", context)


class AppForm(forms.Form):
    """Ask for what a developer may change of an app."""

    name = forms.CharField(label=_("Name"), max_length=200)
    allowed_origins = LinesField(
        label=_("Allowed origins"),
        required=False,
        help_text=_("Pages that may use the app, one address a line, such as https://example.com, without a path."),
    )
    monthly_allowance = UsdField(
        label=_("Free for each user a month, in USD"),
        required=False,
        help_text=_("Paid from the app’s allowance account; what a user leaves over goes back at the month’s end."),
    )
    anonymous_allowance = UsdField(
        label=_("Free for each visitor without an account, in USD"),
        required=False,
        help_text=_("Given once a device. 0: only users whom your app knows may call."),
    )


@developer_page("apps", change=True)
def edit_app(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Change an app's name, origins and allowances."""
    found = app_of(seat, app_id)
    initial = {
        "name": found.name,
        "allowed_origins": found.allowed_origins,
        "monthly_allowance": monthly_allowance(found.id),
        "anonymous_allowance": found.anonymous_allowance,
    }
    form = AppForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            _change(found.id, form.cleaned_data, actor=seat.actor)
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, gettext("The app was changed."))
            return redirect("console:app", seat.developer_id, found.id)
    return render(request, "console/developer/app_edit.html", {"seat": seat, "app": found, "form": form})


@transaction.atomic
def _change(app_id: str, given: dict[str, Any], *, actor: str) -> None:
    moment = now()
    update_app(
        app_id=app_id,
        name=given["name"],
        allowed_origins=given["allowed_origins"],
        anonymous_allowance=given["anonymous_allowance"] or 0,
        now=moment,
        actor=actor,
    )
    set_monthly_allowance(app_id, given["monthly_allowance"] or 0, now=moment, actor=actor)


class PricesForm(forms.Form):
    """Ask for what a developer may set of an app's terms."""

    markup_bps = PercentField(
        label=_("Markup on the model’s cost, in per cent"),
        most=10_000,
        help_text=_("On the platform’s keys a user pays the cost and this on top. You and the platform share it."),
    )
    developer_pricing = forms.ChoiceField(
        label=_("Calls on your own provider keys"),
        choices=(
            (DeveloperPricing.FEE_ONLY, _("Users pay the gateway fee alone; you pay your provider")),
            (DeveloperPricing.MARKUP_SHARE, _("Users pay cost and markup; your bill comes back to you first")),
            (DeveloperPricing.OWN_PRICE, _("Users pay your own price a call; you get it less the gateway fee")),
        ),
        widget=forms.RadioSelect,
    )
    own_price = UsdField(label=_("Your own price a call, in USD"), required=False)

    def __init__(self, data: Any, *, terms: Terms) -> None:
        super().__init__(data, initial={name: getattr(terms, name) for name in self.base_fields})
        if terms.platform_pricing == PlatformPricing.FIXED:
            del self.fields["markup_bps"]


@developer_page("apps", change=True)
def prices(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Change an app's prices, from the next call on; show what the operator sets."""
    found = app_of(seat, app_id)
    terms = load_terms([found.terms_id])[found.terms_id]
    form = PricesForm(request.POST or None, terms=terms)
    if request.method == "POST" and form.is_valid():
        try:
            set_app_prices(app_id=found.id, now=now(), actor=seat.actor, **form.cleaned_data)
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, gettext("The prices were changed. The next call is charged by them."))
            return redirect("console:app", seat.developer_id, found.id)
    context = {"seat": seat, "app": found, "form": form, "terms": terms, "features": _own_terms(found.id)}
    return render(request, "console/developer/app_prices.html", context)


def _own_terms(app_id: str) -> list[str]:
    """Return the features that have terms of their own and do not follow the app's."""
    return [feature.name for feature in features_of_app(app_id) if feature.terms_id is not None]


@developer_page("apps", change=True)
def switch_app(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Ask before an app is switched off or on, and do it."""
    found = app_of(seat, app_id)
    if request.method == "POST":
        # Which way is posted, so that a page that was left open does not do the contrary.
        change = enable_app if request.POST.get("to") == "on" else disable_app
        change(app_id=found.id, now=now(), actor=seat.actor)
        messages.success(
            request,
            gettext("The app is on.") if change is enable_app else gettext("The app is off. Its calls are refused."),
        )
        return redirect("console:app", seat.developer_id, found.id)
    return render(request, "console/developer/switch.html", {"seat": seat, "app": found, "active": found.active})
