"""Prices by value: what was saved against the baseline, the agreement, its bills; and fees that users are charged."""

from datetime import date

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _

from apps.billing.models.fees import FeeInterval, FeeRoute
from apps.billing.months import month_after, month_of
from apps.billing.queries.fees import fees_of_apps
from apps.billing.queries.value import baselines_of, bills_of
from apps.billing.services.value import agreement_of, enter_baseline, savings_of
from apps.console.access import Seat, developer_page
from apps.console.forms import UsdField, refuse
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.features.queries import apps_of_developer

# The months of a baseline that may be entered: the latest that are over.
MONTHS = 12


@developer_page("money")
def value(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show what the present month saves, the agreement, its bills and the months of the baseline."""
    moment = now()
    context = {
        "seat": seat,
        "savings": savings_of(seat.developer_id, month_of(moment), now=moment),
        "agreement": agreement_of(seat.developer_id),
        "bills": bills_of(seat.developer_id),
        "baselines": baselines_of(seat.developer_id, limit=24),
    }
    return render(request, "console/developer/value.html", context)


class BaselineForm(forms.Form):
    """Ask what a month cost before, and where that is written."""

    month = forms.ChoiceField(label=_("Month"))
    cost = UsdField(label=_("What calls cost you in that month, in USD"))
    evidence = forms.CharField(
        label=_("Where that is written"),
        max_length=2_000,
        help_text=_("An invoice’s number or address. The operator looks at it."),
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def __init__(self, *args: object, present: date, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        months = [month_after(present, -back) for back in range(1, MONTHS + 1)]
        field = self.fields["month"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(f"{month:%Y-%m}", f"{month:%Y-%m}") for month in months]

    def clean_month(self) -> date:
        return date.fromisoformat(f"{self.cleaned_data['month']}-01")


@developer_page("money", change=True)
def baseline(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Enter a month of the baseline; it counts once the operator has accepted it."""
    form = BaselineForm(request.POST or None, present=month_of(now()))
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            enter_baseline(
                seat.developer_id,
                given["month"],
                given["cost"],
                evidence=given["evidence"],
                accepted=False,
                now=now(),
                actor=seat.actor,
            )
        except FaucetError as error:
            refuse(form, error, {"cost_usd": "cost"})
        else:
            messages.success(request, __("The month was entered. It counts once the operator has accepted it."))
            return redirect("console:value", seat.developer_id)
    return render(request, "console/developer/baseline.html", {"seat": seat, "form": form})


@developer_page("apps")
def fees(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List the fees of the operator's catalogue that the developer's apps charge their users."""
    apps = {app.id: app.name for app in apps_of_developer(seat.developer_id)}
    rows = [
        {
            "fee": fee,
            "app": apps[fee.app_id],
            "route": FeeRoute(fee.route).label,
            "interval": FeeInterval(fee.interval).label,
        }
        for fee in fees_of_apps(list(apps))
    ]
    return render(request, "console/developer/fees.html", {"seat": seat, "rows": rows})
