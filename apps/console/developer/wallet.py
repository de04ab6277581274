"""The developer's prepaid credit: what there is, buying it, promo codes, allowances of apps, every entry."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from apps.billing.queries.credits import credits_of
from apps.billing.queries.top_ups import auto_top_up_of, card_of, offer, top_ups_of
from apps.billing.services.allowances import fund_allowance, monthly_allowances
from apps.billing.services.auto_top_ups import pause_without_card, set_auto_top_up, switch_off
from apps.billing.services.credits import redeem_code
from apps.billing.services.customers import Owner, forget_card
from apps.billing.services.notices import notices_of
from apps.billing.services.top_ups import charge_saved_card, start_top_up
from apps.billing.stripe_api import StripeUnknown
from apps.console import snippets
from apps.console.access import Seat, developer_page
from apps.console.developer.money_words import entry_words, lot_words, notice_words, top_up_words
from apps.console.forms import CentsField, UsdField, refuse
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError, NotFound
from apps.core.ids import new_id
from apps.features.queries import apps_of_developer
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_ids, balance, balances, entries_of
from apps.ledger.services.accounts import open_account

PAGE = 25
LATEST = 5


def account_of(seat: Seat) -> int:
    """Return the account of the developer's prepaid credit."""
    return open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=seat.developer_id, now=now())


def owner_of(seat: Seat) -> Owner:
    return Owner(AccountKind.DEVELOPER_CREDIT.value, seat.developer_id)


def own_address(request: HttpRequest) -> str:
    """Return this instance's address as people reach it, without a slash at the end."""
    return snippets.base_url(request).removesuffix("/v1")


def cursor_of(request: HttpRequest) -> int | None:
    """Return the id below which a page begins, None for the first page or where it is no number."""
    given = request.GET.get("before", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


@developer_page("money")
def credit(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show the prepaid credit, what it consists of, and what the developer is told of it."""
    account, moment = account_of(seat), now()
    context = {
        "seat": seat,
        "funds": balance(account),
        "credits": [(lot_words(part.kind), part) for part in credits_of(account)],
        "notices": [
            (*notice_words(notice.kind, notice.data), notice.created_at) for notice in notices_of(account, now=moment)
        ],
        "top_ups": [(row, top_up_words(row.status)) for row in top_ups_of(account, limit=LATEST)],
        "auto": auto_top_up_of(account),
        "offer": offer(),
    }
    return render(request, "console/developer/credit.html", context)


class KeyedForm(forms.Form):
    """A form that does its work once, however often it is sent: its key is the work's."""

    key = forms.CharField(widget=forms.HiddenInput, min_length=10, max_length=60)

    def __init__(self, *args: Any, **options: Any) -> None:
        options["initial"] = {"key": new_id("key"), **options.get("initial", {})}
        super().__init__(*args, **options)

    def take_new_key(self) -> None:
        """Let the form be sent again as something new: what was asked for is known not to have been done."""
        self.data = {**dict(self.data.items()), "key": new_id("key")}


class BuyForm(KeyedForm):
    """Ask how much credit to buy, and how it is paid."""

    preset = forms.TypedChoiceField(label=_("Amount"), coerce=int, widget=forms.RadioSelect, required=False)
    amount = CentsField(label=_("Or another amount, in USD"), required=False)
    method = forms.ChoiceField(label=_("Pay with"), widget=forms.RadioSelect)
    save_card = forms.BooleanField(
        label=_("Save the card, so that it can be charged again when you or automatic top-ups ask for it"),
        required=False,
    )

    def __init__(self, *args: Any, presets: tuple[int, ...], card: str, **options: Any) -> None:
        super().__init__(*args, **options)
        preset, method = self.fields["preset"], self.fields["method"]
        assert isinstance(preset, forms.ChoiceField)
        assert isinstance(method, forms.ChoiceField)
        preset.choices = [(cents, f"${cents / 100:,.2f}") for cents in presets]
        preset.initial = presets[len(presets) // 2] if presets else None
        page = ("checkout", _("A card or another way, on Stripe’s page"))
        if card:
            method.choices, method.initial = [("saved_card", card), page], "saved_card"
        else:
            method.choices, method.initial, method.widget = [page], "checkout", forms.HiddenInput()
            method.widget.attrs["value"] = "checkout"
        if not presets:
            del self.fields["preset"]
            self.fields["amount"].label = _("Amount in USD")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        given["cents"] = given.get("amount") or given.get("preset") or None
        if not given["cents"] and "amount" not in self.errors:
            self.add_error("amount", _("Choose an amount or write one."))
        return given


@developer_page("money", change=True)
def buy(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Buy credit: with the saved card at once, or on Stripe's page."""
    found, account = offer(), account_of(seat)
    card = card_of(account)
    words = (
        "" if card is None else __("%(brand)s ending in %(last4)s") % {"brand": card.brand.title(), "last4": card.last4}
    )
    form = BuyForm(request.POST or None, presets=found.presets_cents, card=words)
    if request.method == "POST" and found.enabled and form.is_valid():
        try:
            return redirect(_bought(request, seat, account, form.cleaned_data))
        except StripeUnknown as error:
            refuse(form, error)
        except FaucetError as error:
            refuse(form, error, {"amount_usd": "amount"})
            form.take_new_key()
    return render(request, "console/developer/buy.html", {"seat": seat, "form": form, "offer": found})


def _bought(request: HttpRequest, seat: Seat, account: int, given: dict[str, Any]) -> str:
    """Start a top-up and return where its payer goes on."""
    addresses.count("top_ups", settings.TOP_UP_RATE, str(account), message=__("Too many top-ups; wait a while."))
    asked: dict[str, Any] = {
        "amount_cents": given["cents"],
        "owner": owner_of(seat),
        "idempotency_key": given["key"],
        "now": now(),
        "actor": seat.actor,
    }
    if given["method"] == "saved_card":
        row = charge_saved_card(account, **asked)
        if row.status == "paid":
            messages.success(request, __("Thank you: your credit is there."))
        return reverse("console:top-up", args=[seat.developer_id, row.id])
    base = own_address(request)
    back = base + reverse("console:credit", args=[seat.developer_id])
    row = start_top_up(account, return_url=back, base_url=base, save_card=given["save_card"], **asked)
    return row.checkout_url or reverse("console:top-up", args=[seat.developer_id, row.id])


class AutoForm(forms.Form):
    """Ask when a wallet is topped up by itself, with how much, and how much a month at most."""

    threshold = UsdField(label=_("When less than this is available, in USD"))
    amount_cents = CentsField(label=_("Buy this much, in USD"))
    monthly_cap_cents = CentsField(
        label=_("At most this much a month, in USD"), help_text=_("Without tax, counted by months in UTC.")
    )


@developer_page("money")
def auto_top_up(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show and set the automatic top-up, and the card that pays it."""
    account, found = account_of(seat), offer()
    auto, card = auto_top_up_of(account), card_of(account)
    initial = {name: getattr(auto, name) for name in AutoForm.base_fields} if auto is not None else {}
    form = AutoForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            set_auto_top_up(account, **form.cleaned_data, owner=owner_of(seat), now=now(), actor=seat.actor)
        except FaucetError as error:
            refuse(
                form,
                error,
                {"amount_usd": "amount_cents", "monthly_cap_usd": "monthly_cap_cents", "threshold_usd": "threshold"},
            )
        else:
            messages.success(request, __("Automatic top-ups are on."))
            return redirect("console:auto-top-up", seat.developer_id)
    context = {"seat": seat, "form": form, "auto": auto, "card": card, "offer": found}
    return render(request, "console/developer/auto_top_up.html", context)


@require_POST
@developer_page("money", change=True)
def auto_top_up_off(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Top up no more by itself."""
    switch_off(account_of(seat), now=now(), actor=seat.actor)
    messages.success(request, __("Automatic top-ups are off."))
    return redirect("console:auto-top-up", seat.developer_id)


@developer_page("money", change=True)
def remove_card(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Ask before the saved card is forgotten, and forget it."""
    account = account_of(seat)
    card = card_of(account)
    if card is None:
        return redirect("console:auto-top-up", seat.developer_id)
    if request.method == "POST":
        forget_card(account, now=now(), actor=seat.actor)
        pause_without_card(account, now=now())
        messages.success(request, __("The card was removed, here and at Stripe."))
        return redirect("console:auto-top-up", seat.developer_id)
    return render(request, "console/developer/card_remove.html", {"seat": seat, "card": card})


class CodeForm(forms.Form):
    """Ask for a promo code."""

    code = forms.CharField(
        label=_("Promo code"),
        max_length=60,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false"}),
    )


@developer_page("money", change=True)
def promo_code(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Redeem a promo code. Guesses are counted: the developer's, and an address's wrong ones."""
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            _redeem(request, seat, form.cleaned_data["code"])
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, __("The code was redeemed: its credit is there."))
            return redirect("console:credit", seat.developer_id)
    return render(request, "console/developer/promo_code.html", {"seat": seat, "form": form})


def _redeem(request: HttpRequest, seat: Seat, code: str) -> None:
    address = addresses.address_key(request)
    message = __("Too many codes tried; wait a while.")
    addresses.check("promo_guesses", settings.PROMO_ATTEMPTS, address, message=message)
    addresses.count("promo_attempts", settings.PROMO_ATTEMPTS, seat.developer_id, message=message)
    try:
        redeem_code(account_of(seat), code, now=now(), actor=seat.actor)
    except NotFound:
        try:
            addresses.count("promo_guesses", settings.PROMO_ATTEMPTS, address)
        except FaucetError:
            pass  # that this guess was wrong is the answer; the next one is refused
        raise


class FundForm(KeyedForm):
    """Ask which app's allowance account gets how much."""

    app = forms.ChoiceField(label=_("App"))
    amount = UsdField(label=_("Amount in USD"))


@developer_page("money", change=True)
def fund(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Move prepaid credit to an app's allowance account, from which its users get theirs."""
    apps, account = apps_of_developer(seat.developer_id), account_of(seat)
    form = FundForm(request.POST or None, initial={"app": request.GET.get("app", "")})
    choice = form.fields["app"]
    assert isinstance(choice, forms.ChoiceField)
    choice.choices = [(app.id, app.name) for app in apps]
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            fund_allowance(given["app"], given["amount"], idempotency_key=given["key"], now=now(), actor=seat.actor)
        except FaucetError as error:
            refuse(form, error)
            form.take_new_key()
        else:
            messages.success(request, __("The money was moved to the app’s allowance account."))
            return redirect("console:fund", seat.developer_id)
    accounts = account_ids(AccountKind.APP_ALLOWANCE, [app.id for app in apps])
    funds, monthly = balances(list(accounts.values())), monthly_allowances([app.id for app in apps])
    rows = [
        {
            "app": app,
            "monthly": monthly.get(app.id, 0),
            "funds": funds[accounts[app.id]].available if app.id in accounts else 0,
        }
        for app in apps
    ]
    context = {"seat": seat, "form": form, "rows": rows, "available": balance(account).available}
    return render(request, "console/developer/fund.html", context)


@developer_page("money")
def entries(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List every entry of the prepaid credit, newest first."""
    page = entries_of(account_of(seat), before=cursor_of(request), limit=PAGE)
    rows = [(entry_words(entry.kind), entry) for entry in page.entries]
    context = {"seat": seat, "rows": rows, "next": page.next_before, "first": cursor_of(request) is None}
    return render(request, "console/developer/entries.html", context)
