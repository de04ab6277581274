"""An end user's own keys for model providers. A key goes in and never comes out: only its last four characters do."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import get_language
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.catalog.queries import ProviderInfo, providers
from apps.console.forms import LinesField, UsdField, refuse
from apps.console.user.access import Visit, render_page, user_page
from apps.console.user.limits import count_change
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.usage.budgets.queries import BudgetState, key_caps
from apps.usage.services.caps import set_key_cap
from apps.vault import services
from apps.vault.disclosures import Disclosure, disclosure, training_notice
from apps.vault.models import FeeMode, OwnerClass, Status, Validation
from apps.vault.queries import CredentialInfo, consents_of, credential_by_id, credentials_owned_by

_NAMES = {"models_allowed": "models", "features_allowed": "features", "amount": "budget"}
_BADGES = {
    Validation.OK: "good",
    Validation.AUTH_FAILED: "bad",
    Validation.REFUSED_ADDRESS: "bad",
    Validation.UNREACHABLE: "warn",
    Validation.UNCLEAR: "warn",
}


def _secret(label: Any) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=_("Stored encrypted. Nobody sees it again, you neither."),
    )


class AddForm(forms.Form):
    """Ask for a key, and that its fee was read."""

    provider = forms.ChoiceField(label=_("Provider"))
    label = forms.CharField(label=_("Name"), max_length=200, help_text=_("For your eyes: “My account”."))
    secret = _secret(_("Key"))
    budget = UsdField(
        label=_("Most in a month, USD"), required=False, help_text=_("What the provider may bill you for it.")
    )
    fee = forms.IntegerField(widget=forms.HiddenInput)
    accepted = forms.BooleanField(label=_("I have read what it costs, and what the provider does with my data."))

    def __init__(self, *args: Any, offered: list[ProviderInfo], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["provider"].choices = [(row.id, row.name) for row in offered]  # type: ignore[attr-defined]


class ChangeForm(forms.Form):
    """Ask what a key is used for, in which order, and for how much."""

    label = forms.CharField(label=_("Name"), max_length=200)
    priority = forms.IntegerField(
        label=_("Priority"), min_value=-1000, max_value=1000, help_text=_("The lowest number is tried first.")
    )
    budget = UsdField(label=_("Most in a month, USD"), required=False, help_text=_("Empty: no limit."))
    models = LinesField(
        label=_("Models"), required=False, help_text=_("One a line. Empty: every model that the provider has.")
    )


class RotateForm(forms.Form):
    """Ask for the key that takes another's place."""

    secret = _secret(_("New key"))


@require_safe
@user_page()
def keys(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List the user's keys, the first to be tried first."""
    rows = credentials_owned_by(OwnerClass.END_USER.value, visit.user_id, limit=settings.MAX_PROVIDER_KEYS)
    names = {row.id: row.name for row in providers()}
    budgets = _budgets(visit, [row.id for row in rows])
    told = _fee(visit)
    shown = [_shown(row, names, budgets.get(row.id)) for row in sorted(rows, key=lambda row: (row.priority, row.id))]
    return render_page(request, visit, "keys.html", {"rows": shown, "fee": told, "acknowledged": _knows(visit, told)})


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def add_key(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Tell the fee, have it acknowledged, try a key with its provider and store it."""
    offered = [row for row in providers() if row.active and row.byok_allowed]
    told = _fee(visit)
    sent = request.POST.copy() if request.method == "POST" else None
    form = AddForm(sent, offered=offered, initial={"fee": told.fee})
    if request.method == "POST" and form.is_valid():
        try:
            _add(visit, form.cleaned_data)
        except FaucetError as error:
            assert sent is not None
            sent["fee"] = str(told.fee)  # what is shown now is what the next answer acknowledges
            refuse(form, error, _NAMES)
        else:
            messages.success(request, __("The key is stored. Calls go through it from now on."))
            return redirect("me:keys", visit.link_id)
    language = get_language() or "en"
    terms = [{"row": row, "notice": training_notice(row, language=language)} for row in offered]
    return render_page(request, visit, "key_add.html", {"form": form, "fee": told, "terms": terms})


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def key(request: HttpRequest, visit: Visit, key_id: str) -> HttpResponse:
    """Show a key, and change what it is used for."""
    row = _find(visit, key_id)
    budget = _budgets(visit, [row.id]).get(row.id)
    initial = {
        "label": row.label,
        "priority": row.priority,
        "models": row.models_allowed,
        "budget": None if budget is None else budget.amount,
    }
    form = ChangeForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            _change(visit, row, form.cleaned_data)
        except FaucetError as error:
            refuse(form, error, _NAMES)
        else:
            messages.success(request, __("Saved."))
            return redirect("me:key", visit.link_id, row.id)
    return _key_page(request, visit, row, form, RotateForm())


@require_POST
@user_page()
def validate_key(request: HttpRequest, visit: Visit, key_id: str) -> HttpResponse:
    """Try a stored key with its provider."""
    row = _find(visit, key_id)
    services.count_key_check(visit.user_id)
    services.validate_credential(row.id, now=now(), actor=visit.actor)
    return redirect("me:key", visit.link_id, row.id)


@require_POST
@user_page()
def rotate_key(request: HttpRequest, visit: Visit, key_id: str) -> HttpResponse:
    """Try a new key with the provider and put it in the old one's place."""
    row = _find(visit, key_id)
    form = RotateForm(request.POST)
    if form.is_valid():
        try:
            services.count_key_check(visit.user_id)
            made = services.rotate_checked_credential(
                row.id, secret=form.cleaned_data["secret"].strip(), now=now(), actor=visit.actor
            )
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, __("The new key is in use. The old one is off."))
            return redirect("me:key", visit.link_id, made)
    return _key_page(request, visit, row, None, form)


@require_POST
@user_page()
def switch_key(request: HttpRequest, visit: Visit, key_id: str) -> HttpResponse:
    """Switch a key off, or on again."""
    row = _find(visit, key_id)
    if request.POST.get("to") == "on":
        services.enable_credential(row.id, now=now(), actor=visit.actor)
    else:
        services.disable_credential(row.id, now=now(), actor=visit.actor)
    return redirect("me:key", visit.link_id, row.id)


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def delete_key(request: HttpRequest, visit: Visit, key_id: str) -> HttpResponse:
    """Ask whether a key is to be erased, and erase it."""
    row = _find(visit, key_id)
    if request.method == "POST":
        services.delete_credential(row.id, now=now(), actor=visit.actor)
        messages.success(request, __("The key is erased."))
        return redirect("me:keys", visit.link_id)
    return render_page(request, visit, "key_delete.html", {"row": row})


def _add(visit: Visit, given: dict[str, Any]) -> str:
    """Store that the fee was acknowledged, and the key. Raises what the services raise, and RateLimited."""
    services.count_key_check(visit.user_id)
    moment = now()
    services.acknowledge_fee(
        end_user_id=visit.user_id,
        app_id=visit.app.id,
        terms=visit.principal.terms,
        mode=FeeMode.BYOK.value,
        fee=given["fee"],
        language=get_language() or "en",
        now=moment,
    )
    budget = given["budget"]
    return services.add_checked_credential(
        owner_class=OwnerClass.END_USER.value,
        owner_id=visit.user_id,
        provider=given["provider"],
        label=given["label"],
        secret=given["secret"].strip(),
        at_most=settings.MAX_PROVIDER_KEYS,
        also=None if budget is None else lambda key_id: _limit(visit, key_id, budget),
        now=moment,
        actor=visit.actor,
    )


def _change(visit: Visit, row: CredentialInfo, given: dict[str, Any]) -> None:
    """Change a key and its budget. Raises what the services raise, and RateLimited."""
    budget = _budgets(visit, [row.id]).get(row.id)
    limits = given["budget"] != (None if budget is None else budget.amount)
    if limits:
        count_change(visit.user_id)
    with transaction.atomic():
        services.update_credential(
            row.id,
            label=given["label"],
            models_allowed=given["models"],
            priority=given["priority"],
            now=now(),
            actor=visit.actor,
        )
        if limits:
            _limit(visit, row.id, given["budget"])


def _limit(visit: Visit, key_id: str, amount: int | None) -> None:
    """Have a key's hard monthly budget be `amount` nano-USD; None: none."""
    who: dict[str, Any] = {"at_most": settings.MAX_BUDGETS, "now": now(), "actor": visit.actor}
    set_key_cap(key_id, amount, end_user_id=visit.user_id, **who)


def _budgets(visit: Visit, key_ids: list[str]) -> dict[str, BudgetState]:
    return key_caps(key_ids, end_user_id=visit.user_id, now=now())


def _key_page(
    request: HttpRequest, visit: Visit, row: CredentialInfo, form: forms.Form | None, rotation: RotateForm
) -> HttpResponse:
    names = {each.id: each.name for each in providers()}
    budget = _budgets(visit, [row.id]).get(row.id)
    if form is None:
        amount = None if budget is None else budget.amount
        initial = {"label": row.label, "priority": row.priority, "models": row.models_allowed, "budget": amount}
        form = ChangeForm(initial=initial)
    context = {"key": _shown(row, names, budget), "form": form, "rotation": rotation}
    return render_page(request, visit, "key.html", context)


def _find(visit: Visit, key_id: str) -> CredentialInfo:
    """Return a key of this user. Raises Http404 for anybody else's."""
    row = credential_by_id(key_id)
    if row is None or (row.owner_class, row.owner_id) != (OwnerClass.END_USER.value, visit.user_id):
        raise Http404("There is no such key.")
    return row


def _shown(row: CredentialInfo, names: dict[str, str], budget: BudgetState | None) -> dict[str, Any]:
    return {
        "row": row,
        "provider": names.get(row.provider, row.provider),
        "active": row.status == Status.ACTIVE,
        "validation": Validation(row.validation).label,
        "badge": _BADGES.get(Validation(row.validation), ""),
        "budget": budget,
    }


def _fee(visit: Visit) -> Disclosure:
    return disclosure(visit.principal.terms, FeeMode.BYOK.value, language=get_language() or "en")


def _knows(visit: Visit, told: Disclosure) -> bool:
    """Tell whether the user acknowledged this fee, or a higher one."""
    known = consents_of(visit.user_id).get(told.mode)
    return known is not None and known >= told.fee
