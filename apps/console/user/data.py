"""What is held about an end user: taken home, or erased."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from apps.billing.queries.personal import file_name, personal_data, personal_table
from apps.billing.services.erasure import erase_end_user
from apps.billing.services.refunds import refundable_top_ups
from apps.console.forms import refuse
from apps.console.user.access import COOKIE, Visit, render_page, user_page
from apps.core.clock import now
from apps.core.csv_stream import csv_response
from apps.core.errors import FaucetError
from apps.core.json_stream import json_response
from apps.core.money import NANO_PER_CENT
from apps.ledger.queries import balance

# Top-ups that are offered for a refund before somebody leaves; older ones are beyond it anyway.
REFUNDABLE = 5


class DeleteForm(forms.Form):
    """Ask to be erased, in so many words."""

    forfeit = forms.BooleanField(label=_("I give up the credit that is left."), required=False)
    word = forms.CharField(
        max_length=40, widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"})
    )

    def __init__(self, *args: Any, left: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["word"].label = __("Type %(word)s to confirm") % {"word": word()}
        if left <= 0:
            del self.fields["forfeit"]

    def clean_word(self) -> str:
        given: str = self.cleaned_data["word"]
        if given.strip().casefold() != word().casefold():
            raise forms.ValidationError(__("Type the word as it is shown."), code="invalid")
        return given


def word() -> str:
    """Return what is typed to confirm."""
    return __("delete")


@require_safe
@user_page()
def data(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Say what is held, and offer it as files."""
    tables = [(export.name, _NAMES.get(export.name, export.name)) for export in personal_data(visit.user_id)]
    return render_page(request, visit, "data.html", {"tables": tables})


@require_GET
@user_page()
def all_data(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Stream everything that is held, as one file of JSON."""
    moment = now()
    about = {"object": "personal_data", "end_user_id": visit.user_id, "exported_at": moment.isoformat()}
    name = file_name(visit.user_id, now=moment)
    return json_response(name, personal_data(visit.user_id), owner=visit.user_id, about=about)


@require_GET
@user_page()
def table(request: HttpRequest, visit: Visit, name: str) -> HttpResponseBase:
    """Stream one of the tables as CSV."""
    return csv_response(personal_table(visit.user_id, name), owner=visit.user_id)


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def delete(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Say what is erased and what stays and why, and erase it."""
    funds = balance(visit.account_id)
    form = DeleteForm(request.POST if request.method == "POST" else None, left=funds.posted)
    if request.method == "POST" and form.is_valid():
        try:
            gone = erase_end_user(
                visit.user_id, forfeit=form.cleaned_data.get("forfeit", False), now=now(), actor=visit.actor
            )
        except FaucetError as error:
            refuse(form, error)
        else:
            response = render_page(request, visit, "deleted.html", {"gone": gone, "over": True})
            response.delete_cookie(COOKIE, path=f"/me/{visit.link_id}/")
            return response
    rows = refundable_top_ups(visit.account_id, limit=REFUNDABLE) if funds.posted > 0 else []
    refundable = [{"row": row, "left": cents * NANO_PER_CENT} for row, cents in rows]
    return render_page(request, visit, "delete.html", {"form": form, "funds": funds, "refundable": refundable})


_NAMES = {
    "account": _("Account"),
    "sessions": _("Sessions"),
    "bridges": _("Bridges"),
    "local_endpoints": _("Local endpoints"),
    "local_reports": _("Reports of local calls"),
    "calls": _("Calls"),
    "limits": _("Limits"),
    "logged_prompts": _("Logged prompts"),
    "ledger": _("Ledger entries"),
    "credit": _("Credit"),
    "top_ups": _("Top-ups"),
    "refunds": _("Refunds"),
    "payment_method": _("Payment method"),
    "automatic_top_up": _("Automatic top-up"),
    "promo_codes": _("Promo codes"),
    "notices": _("Notices"),
    "fees": _("Fees"),
    "clients": _("Clients, as hashes"),
    "risk": _("Risk score"),
    "provider_keys": _("Provider keys"),
    "fee_consents": _("Consents to fees"),
}
