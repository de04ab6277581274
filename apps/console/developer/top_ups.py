"""Top-ups of the prepaid credit: their list, each one's receipt, and giving one back."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _

from apps.billing.queries.top_ups import TopUpInfo, refunds_of, top_up, top_ups_of
from apps.billing.services.refunds import refund_top_up, refundable_cents
from apps.billing.services.top_ups import settle_top_up
from apps.billing.stripe_api import StripeUnknown, enabled
from apps.console.access import Seat, developer_page
from apps.console.developer.money_words import refund_words, top_up_words
from apps.console.developer.wallet import KeyedForm, account_of
from apps.console.forms import CentsField, refuse
from apps.core.clock import now
from apps.core.errors import FaucetError

PAGE = 25
WAITING = ("sending", "open", "pending")


@developer_page("money")
def top_ups(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List the top-ups, newest first."""
    before = request.GET.get("before", "").replace("\0", "") or None
    rows = top_ups_of(account_of(seat), before=before, limit=PAGE + 1)
    context = {
        "seat": seat,
        "rows": [(row, top_up_words(row.status)) for row in rows[:PAGE]],
        "next": rows[PAGE - 1].id if len(rows) > PAGE else None,
        "first": before is None,
    }
    return render(request, "console/developer/top_ups.html", context)


class RefundForm(KeyedForm):
    """Ask how much of a top-up goes back."""

    amount = CentsField(label=_("Amount in USD"), help_text=_("Its tax goes back with it."))
    reason = forms.CharField(label=_("Why"), max_length=500, required=False)


@developer_page("money")
def receipt(request: HttpRequest, seat: Seat, top_up_id: str) -> HttpResponse:
    """Show a top-up with its refunds; give back what was not used."""
    row = _settled(_find(seat, top_up_id))
    most = refundable_cents(row.id) if row.status == "paid" else 0
    form = RefundForm(request.POST or None, initial={"amount": most})
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        asked: dict[str, Any] = {
            "amount_cents": given["amount"],
            "source": "owner",
            "reason": given["reason"],
            "idempotency_key": given["key"],
        }
        try:
            refund_top_up(row.id, **asked, now=now(), actor=seat.actor)
        except FaucetError as error:
            refuse(form, error, {"amount_cents": "amount", "amount_usd": "amount"})
            if not isinstance(error, StripeUnknown):
                form.take_new_key()
        else:
            messages.success(request, __("The refund is on its way. Banks take some days."))
            return redirect("console:top-up", seat.developer_id, row.id)
    context = {
        "seat": seat,
        "row": row,
        "state": top_up_words(row.status),
        "refunds": [(refund, refund_words(refund.status)) for refund in refunds_of(row.id)],
        "most": most,
        "form": form if most > 0 and enabled() else None,
    }
    return render(request, "console/developer/receipt.html", context)


def _find(seat: Seat, top_up_id: str) -> TopUpInfo:
    row = top_up(top_up_id, account_id=account_of(seat))
    if row is None:
        raise Http404("There is no such top-up.")
    return row


def _settled(row: TopUpInfo) -> TopUpInfo:
    """Return a top-up as Stripe knows it now; as it was known last where Stripe cannot be asked."""
    if row.status not in WAITING or not enabled():
        return row
    try:
        return settle_top_up(row.id, now=now())
    except FaucetError:
        return row
