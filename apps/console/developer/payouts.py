"""Payouts: what is payable and why, when the rest will be, what was paid, where it goes."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from apps.billing.models.payouts import PayoutOrigin, Rail
from apps.billing.queries.payouts import payout_of, payouts_of, skipped_for
from apps.billing.services.payout_accounts import (
    account_info,
    refresh_account,
    start_onboarding,
    use_bank_details,
)
from apps.billing.services.payouts import Payable, next_run, payable, propose
from apps.billing.stripe_api import enabled
from apps.console.access import Seat, developer_page
from apps.console.developer.money_words import entry_words, payout_words, skip_words
from apps.console.developer.wallet import own_address
from apps.console.forms import UsdField, refuse
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.features.queries import apps_of_developer

PAGE = 10
OPEN = ("pending", "held", "approved")


@developer_page("money")
def payouts(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show what is payable line by line, when the rest matures, and the payouts so far."""
    moment = now()
    found = payable(seat.developer_id, now=moment, by_app=False)
    account = account_info(seat.developer_id)
    before = request.GET.get("before", "").replace("\0", "") or None
    rows = payouts_of(seat.developer_id, before=before, limit=PAGE + 1)
    skipped = skipped_for(seat.developer_id, now=moment)
    context = {
        "seat": seat,
        "found": found,
        # Until it is approved a payout is still part of what is payable.
        "waiting": sum(row.amount for row in rows if row.status in ("pending", "held")),
        "kept": found.free - found.payable if found.free > 0 else 0,
        "kinds": [(entry_words(kind.kind), kind) for kind in found.kinds],
        "account": account,
        "required": [requirement_words(name) for name in account.required],
        "rows": [(row, payout_words(row.status)) for row in rows[:PAGE]],
        "next": rows[PAGE - 1].id if len(rows) > PAGE else None,
        "first": before is None,
        "next_run": next_run(seat.developer_id, now=moment),
        "skipped": skip_words(skipped) if skipped else "",
        "can_ask": _can_ask(found) and account.ready and not any(row.status in OPEN for row in rows),
    }
    return render(request, "console/developer/payouts.html", context)


def requirement_words(name: str) -> str:
    """Return what Stripe still wants, in words: `individual.id_number` is `individual: id number`."""
    return name.replace("_", " ").replace(".", ": ")


def _can_ask(found: Payable) -> bool:
    return found.payable > 0 and found.payable >= found.terms.minimum


@developer_page("money")
def payout(request: HttpRequest, seat: Seat, payout_id: str) -> HttpResponse:
    """Show one payout: its way so far, and what it pays for."""
    row = payout_of(seat.developer_id, payout_id)
    if row is None:
        raise Http404("There is no such payout.")
    names = {app.id: app.name for app in apps_of_developer(seat.developer_id)}
    context = {
        "seat": seat,
        "row": row,
        "state": payout_words(row.status),
        "asked": row.origin == PayoutOrigin.REQUESTED,
        "stripe": row.rail == Rail.STRIPE,
        "parts": [(names.get(part.app_id, part.app_id), part) for part in row.by_app],
        "steps": [
            (words, at)
            for words, at in (
                (__("Proposed"), row.created_at),
                (__("Approved"), row.approved_at),
                (__("Sent"), row.sent_at),
                (__("Paid"), row.paid_at),
                (__("Closed"), row.closed_at if row.status in ("failed", "rejected") else None),
            )
            if at is not None
        ],
    }
    return render(request, "console/developer/payout.html", context)


class RequestForm(forms.Form):
    """Ask how much is to be paid out."""

    amount = UsdField(label=_("Amount in USD"), required=False, help_text=_("Leave it empty for all that is payable."))


@developer_page("money", change=True)
def request_payout(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Ask for a payout of what is payable, or of a part; an operator decides."""
    form = RequestForm(request.POST or None) if request.method == "POST" else RequestForm()
    if request.method == "POST" and form.is_valid():
        try:
            _count(seat)
            made = propose(
                seat.developer_id,
                origin=PayoutOrigin.REQUESTED,
                amount=form.cleaned_data["amount"],
                now=now(),
                actor=seat.actor,
            )
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, __("You asked for a payout. The operator looks at it next."))
            return redirect("console:payout", seat.developer_id, made)
    found = payable(seat.developer_id, now=now(), by_app=False)
    return render(request, "console/developer/payout_request.html", {"seat": seat, "form": form, "found": found})


class StripeForm(forms.Form):
    """Ask where the business is: Stripe's own form asks for everything else."""

    country = forms.CharField(
        label=_("Country"),
        min_length=2,
        max_length=2,
        help_text=_("Two letters, such as US."),
        widget=forms.TextInput(attrs={"autocapitalize": "characters", "autocomplete": "country"}),
    )

    def clean_country(self) -> str:
        return str(self.cleaned_data["country"]).upper()


class BankForm(StripeForm):
    """Ask where a bank transfer goes."""

    holder = forms.CharField(label=_("Account holder"), max_length=200)
    bank_name = forms.CharField(label=_("Bank"), max_length=200)
    iban = forms.CharField(label=_("IBAN"), max_length=200, required=False)
    account_number = forms.CharField(
        label=_("Account number"), max_length=200, required=False, help_text=_("Where there is no IBAN.")
    )
    routing_number = forms.CharField(label=_("Routing number"), max_length=200, required=False)
    bic = forms.CharField(label=_("BIC or SWIFT code"), max_length=200, required=False)
    note = forms.CharField(label=_("Note for the operator"), max_length=200, required=False)
    field_order = ("holder", "country", "bank_name", "iban", "account_number", "routing_number", "bic", "note")


@developer_page("money")
def payout_account(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show where payouts go and what is still required; whoever comes back from Stripe sees its present state."""
    account = account_info(seat.developer_id)
    if "back" in request.GET and account.stripe_account_id is not None and enabled():
        try:
            _count(seat)
            account = refresh_account(account.stripe_account_id, now=now()) or account
        except FaucetError as error:
            messages.warning(request, error.message)
    return _account_page(request, seat, StripeForm(initial={"country": account.country}))


@require_POST
@developer_page("money", change=True)
def connect(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Lead to Stripe's own form, which asks for what it needs to pay a business."""
    form = StripeForm(request.POST)
    if form.is_valid():
        page = own_address(request) + reverse("console:payout-account", args=[seat.developer_id])
        try:
            _count(seat)
            found = start_onboarding(
                seat.developer_id,
                country=form.cleaned_data["country"],
                return_url=f"{page}?back=1",
                refresh_url=f"{page}?back=1",
                now=now(),
                actor=seat.actor,
            )
        except FaucetError as error:
            refuse(form, error)
        else:
            return redirect(found.url)
    return _account_page(request, seat, form)


@developer_page("money", change=True)
def bank_details(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Give bank details, which are kept sealed and never shown again."""
    form = BankForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = {name: value for name, value in form.cleaned_data.items() if value}
        try:
            _count(seat)
            use_bank_details(seat.developer_id, given, now=now(), actor=seat.actor)
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, __("Payouts go to this bank account from now on."))
            return redirect("console:payout-account", seat.developer_id)
    account = account_info(seat.developer_id)
    return render(request, "console/developer/bank_details.html", {"seat": seat, "form": form, "account": account})


def _account_page(request: HttpRequest, seat: Seat, form: StripeForm) -> HttpResponse:
    account = account_info(seat.developer_id)
    context: dict[str, Any] = {
        "seat": seat,
        "form": form,
        "account": account,
        "stripe": account.rail == Rail.STRIPE,
        "manual": account.rail == Rail.MANUAL,
        "required": [requirement_words(name) for name in account.required],
        "enabled": enabled(),
    }
    return render(request, "console/developer/payout_account.html", context)


def _count(seat: Seat) -> None:
    """Count what a developer asks about its payouts. Raises RateLimited: most of it has Stripe or an operator work."""
    addresses.count(
        "payout_changes",
        settings.PAYOUT_CHANGES,
        seat.developer_id,
        message=__("Too many changes of payouts; wait a while."),
    )
