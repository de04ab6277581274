"""Buying credit: presets, Stripe's page, the saved card, automatic top-ups, receipts, refunds, promo codes."""

import re
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.billing.models.top_ups import RefundStatus, TopUpStatus
from apps.billing.queries.top_ups import (
    AutoTopUpInfo,
    TopUpInfo,
    auto_top_up_of,
    card_of,
    offer,
    refunds_of,
    top_up,
    top_ups_of,
)
from apps.billing.services.auto_top_ups import pause_without_card, set_auto_top_up, switch_off
from apps.billing.services.credits import redeem_code
from apps.billing.services.customers import Owner, forget_card
from apps.billing.services.refunds import refund_top_up, refundable_cents
from apps.billing.services.top_ups import charge_saved_card, settle_top_up, start_top_up
from apps.console.forms import CentsField, UsdField, refuse
from apps.console.user.access import Visit, render_page, user_page
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError, NotFound
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT
from apps.core.site import site_url
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance

TOP_UPS = 25
# How often one wallet's pages may have Stripe asked how a payment stands.
LOOKS = "60/minute"
_BADGES = {"paid": "good", "failed": "bad", "expired": "", "canceled": ""}
_KEY = re.compile(r"key_[0-9a-f]{32}")
_ABOUT_TO = ("sending", "open", "pending")


class BuyForm(forms.Form):
    """Ask how much credit, and how it is paid."""

    preset = forms.IntegerField(required=False, widget=forms.HiddenInput)
    amount = CentsField(label=_("Another amount, USD"), required=False)
    save_card = forms.BooleanField(label=_("Save the card for later, at Stripe"), required=False)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if not self.errors and not (given.get("preset") or given.get("amount")):
            self.add_error("amount", forms.ValidationError(_("Choose an amount."), code="required"))
        return given

    @property
    def cents(self) -> int:
        return int(self.cleaned_data.get("preset") or self.cleaned_data["amount"])


class AutoForm(forms.Form):
    """Ask when the wallet is topped up by itself, and with how much."""

    threshold = UsdField(label=_("When less is left than, USD"))
    amount = CentsField(label=_("Buy credit of, USD"))
    monthly_cap = CentsField(label=_("At most in a month, USD"))


class PromoForm(forms.Form):
    """Ask for a promo code."""

    code = forms.CharField(
        label=_("Promo code"),
        max_length=60,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false"}),
    )


class RefundForm(forms.Form):
    """Ask how much of a top-up goes back, and why."""

    amount = CentsField(label=_("Amount, USD"))
    reason = forms.CharField(label=_("Why"), max_length=300, required=False)


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def buy(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Offer credit, and start a top-up: on Stripe's page, or at once with the saved card."""
    form = BuyForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            row = _start(request, visit, form)
        except FaucetError as error:
            refuse(form, error, {"amount_usd": "amount"})
        else:
            if row.checkout_url and row.status == TopUpStatus.OPEN and not visit.embed:
                return redirect(row.checkout_url)
            return redirect("me:top-up", visit.link_id, row.id)
    return _page(request, visit, buying=form)


@require_POST
@user_page()
def redeem(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Redeem a promo code. Guesses are counted as at the API: an owner's, and an address's wrong ones."""
    form = PromoForm(request.POST)
    if not form.is_valid():
        return _page(request, visit, promo=form)
    address = addresses.address_key(request)
    try:
        addresses.check("promo_guesses", settings.PROMO_ATTEMPTS, address)
        addresses.count("promo_attempts", settings.PROMO_ATTEMPTS, visit.user_id)
        redeem_code(visit.account_id, form.cleaned_data["code"], now=now(), actor=visit.actor)
    except FaucetError as error:
        if isinstance(error, NotFound):
            _count_guess(address)
        refuse(form, error)
        return _page(request, visit, promo=form)
    messages.success(request, __("The code was redeemed. The credit is yours."))
    return redirect("me:wallet", visit.link_id)


@require_POST
@user_page()
def auto(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Top the wallet up by itself with the saved card, or no longer."""
    if request.POST.get("to") == "off":
        switch_off(visit.account_id, now=now(), actor=visit.actor)
        return redirect("me:buy", visit.link_id)
    form = AutoForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data
        try:
            set_auto_top_up(
                visit.account_id,
                threshold=given["threshold"],
                amount_cents=given["amount"],
                monthly_cap_cents=given["monthly_cap"],
                owner=_owner(visit),
                now=now(),
                actor=visit.actor,
            )
        except FaucetError as error:
            names = {"threshold_usd": "threshold", "amount_usd": "amount", "monthly_cap_usd": "monthly_cap"}
            refuse(form, error, names)
        else:
            messages.success(request, __("Saved."))
            return redirect("me:buy", visit.link_id)
    return _page(request, visit, automatic=form)


@require_POST
@user_page()
def forget(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Forget the saved card, here and at Stripe; automatic top-ups pause."""
    forget_card(visit.account_id, now=now(), actor=visit.actor)
    pause_without_card(visit.account_id, now=now())
    messages.success(request, __("The card is forgotten."))
    return redirect("me:buy", visit.link_id)


@require_safe
@user_page()
def top_up_page(request: HttpRequest, visit: Visit, top_up_id: str) -> HttpResponse:
    """Show a top-up with its refunds: its receipt. One on its way is asked after."""
    row = _settled(visit, _find(visit, top_up_id))
    refunds = [
        {"row": each, "status": RefundStatus(each.status).label, "total": _nano(each.amount_cents + each.tax_cents)}
        for each in refunds_of(row.id)
    ]
    waiting = row.status in _ABOUT_TO
    context = {**_shown(row), "refunds": refunds, "waiting": waiting, "refundable": refundable_cents(row.id)}
    response = render_page(request, visit, "top_up.html", context)
    if waiting and not row.problem:
        response["Refresh"] = "5"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def refund(request: HttpRequest, visit: Visit, top_up_id: str) -> HttpResponse:
    """Ask how much goes back, and give it back."""
    row = _find(visit, top_up_id)
    most = refundable_cents(row.id)
    form = RefundForm(request.POST if request.method == "POST" else None, initial={"amount": most})
    if request.method == "POST" and form.is_valid():
        try:
            refund_top_up(
                row.id,
                amount_cents=form.cleaned_data["amount"],
                source="owner",
                reason=form.cleaned_data["reason"],
                idempotency_key=_key(request),
                now=now(),
                actor=visit.actor,
            )
        except FaucetError as error:
            refuse(form, error, {"amount_usd": "amount", "amount_cents": "amount"})
        else:
            messages.success(request, __("The refund is on its way."))
            return redirect("me:top-up", visit.link_id, row.id)
    context = {**_shown(row), "form": form, "most": _nano(most), "once": _key(request)}
    return render_page(request, visit, "refund.html", context)


def _page(request: HttpRequest, visit: Visit, **given: forms.Form) -> HttpResponse:
    """Return the page of buying with the forms that were sent, and fresh ones for the others."""
    offered, card, found = offer(), card_of(visit.account_id), auto_top_up_of(visit.account_id)
    context = {
        "offer": offered,
        "presets": [{"cents": cents, "usd": _nano(cents)} for cents in offered.presets_cents],
        "least": _nano(offered.min_cents),
        "most": _nano(offered.max_cents),
        "card": card,
        "auto": found,
        "buying": given.get("buying") or BuyForm(),
        "promo": given.get("promo") or PromoForm(),
        "automatic": given.get("automatic") or AutoForm(initial=_auto(found)),
        "rows": [_shown(row) for row in top_ups_of(visit.account_id, limit=TOP_UPS)],
        "funds": balance(visit.account_id),
        "once": _key(request),
    }
    return render_page(request, visit, "buy.html", context)


def _start(request: HttpRequest, visit: Visit, form: BuyForm) -> TopUpInfo:
    """Start a top-up as the form asks. Raises what the services raise, and RateLimited."""
    addresses.count(
        "top_ups", settings.TOP_UP_RATE, str(visit.account_id), message=__("Too many top-ups; wait a little.")
    )
    asked: dict[str, Any] = {
        "amount_cents": form.cents,
        "owner": _owner(visit),
        "idempotency_key": _key(request),
        "now": now(),
        "actor": visit.actor,
    }
    if request.POST.get("method") == "saved_card":
        return charge_saved_card(visit.account_id, **asked)
    base = site_url(request)
    # A frame's pages are open in the frame alone: Stripe's page, in a window of its own, has none to lead back to.
    back = "" if visit.embed else base + reverse("me:wallet", args=[visit.link_id])
    return start_top_up(
        visit.account_id,
        return_url=back,
        base_url=base,
        save_card=form.cleaned_data["save_card"],
        **asked,
    )


def _settled(visit: Visit, row: TopUpInfo) -> TopUpInfo:
    """Return a top-up as it is now; as it was known last where Stripe cannot be asked."""
    if row.status not in _ABOUT_TO:
        return row
    try:
        addresses.count("top_up_page", LOOKS, str(visit.account_id))
        return settle_top_up(row.id, now=now())
    except FaucetError:
        return row


def _find(visit: Visit, top_up_id: str) -> TopUpInfo:
    row = top_up(top_up_id, account_id=visit.account_id)
    if row is None:
        raise Http404("There is no such top-up.")
    return row


def _shown(row: TopUpInfo) -> dict[str, Any]:
    return {
        "row": row,
        "status": TopUpStatus(row.status).label,
        "badge": _BADGES.get(row.status, "warn"),
        "credit": _nano(row.amount_cents),
        "tax": _nano(row.tax_cents),
        "total": _nano(row.total_cents),
        "refunded": _nano(row.refunded_cents + row.refunded_tax_cents),
    }


def _auto(found: AutoTopUpInfo | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {"threshold": found.threshold, "amount": found.amount_cents, "monthly_cap": found.monthly_cap_cents}


def _owner(visit: Visit) -> Owner:
    return Owner(AccountKind.END_USER.value, visit.user_id, visit.app.id)


def _key(request: HttpRequest) -> str:
    """Return the key of this form, which a second click sends again: nothing is charged or given back twice."""
    given = request.POST.get("once", "")
    return given if _KEY.fullmatch(given) else new_id("key")


def _nano(cents: int) -> int:
    return cents * NANO_PER_CENT


def _count_guess(address: str) -> None:
    try:
        addresses.count("promo_guesses", settings.PROMO_ATTEMPTS, address)
    except FaucetError:
        pass  # that this guess was wrong is the answer; the next one is refused
