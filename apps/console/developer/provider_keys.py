"""Keys of the developer's own for model providers: added, tried, changed, rotated, switched off, deleted.

A key goes in and never comes out: only its last four characters do.
"""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from apps.catalog.queries import ProviderInfo, providers
from apps.console.access import Seat, developer_page
from apps.console.forms import LinesField, UsdField, refuse
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.features.queries import apps_of_developer, features_of_apps
from apps.usage.budgets.queries import BudgetState, key_caps
from apps.usage.services.caps import set_key_cap
from apps.vault import services
from apps.vault.disclosures import training_notice
from apps.vault.models import OwnerClass, Status, Validation
from apps.vault.queries import CredentialInfo, credential_by_id, credentials_owned_by

_NAMES = {
    "models_allowed": "models",
    "apps_allowed": "apps",
    "features_allowed": "features",
    "amount": "budget",
}
_BADGES = {
    Validation.OK: "good",
    Validation.AUTH_FAILED: "bad",
    Validation.REFUSED_ADDRESS: "bad",
    Validation.UNREACHABLE: "warn",
    Validation.UNCLEAR: "warn",
}


class AddForm(forms.Form):
    """Ask for a key and whose it is."""

    provider = forms.ChoiceField(label=_("Provider"))
    label = forms.CharField(label=_("Name"), max_length=200, help_text=_("For your eyes: “Main account”."))
    secret = forms.CharField(
        label=_("Key"),
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=_("Stored encrypted. Nobody sees it again, you neither."),
    )
    base_url = forms.CharField(
        label=_("Address"),
        max_length=500,
        required=False,
        widget=forms.URLInput(attrs={"placeholder": "https://"}),
        help_text=_("Only where yours differs from the provider’s, as with a resource of your own."),
    )
    accepted = forms.BooleanField(label=_("I may use this key for my users’ calls, and the provider bills me."))

    def __init__(self, *args: Any, offered: list[ProviderInfo], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["provider"].choices = [(row.id, row.name) for row in offered]  # type: ignore[attr-defined]


class ScopeForm(forms.Form):
    """Ask for what a key is used for, and in which order."""

    label = forms.CharField(label=_("Name"), max_length=200)
    models = LinesField(
        label=_("Models"), required=False, help_text=_("One a line. Empty: every model that the provider has.")
    )
    apps = forms.MultipleChoiceField(
        label=_("Apps"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None ticked: all of them, also later ones."),
    )
    features = forms.MultipleChoiceField(
        label=_("Features"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None ticked: all of them."),
    )
    priority = forms.IntegerField(
        label=_("Priority"), min_value=-1000, max_value=1000, help_text=_("The lowest number is tried first.")
    )
    weight = forms.IntegerField(
        label=_("Weight"),
        min_value=1,
        max_value=1000,
        help_text=_("Among keys of one priority: one of weight 2 gets twice the calls of one of weight 1."),
    )
    budget = UsdField(label=_("Most in a month, USD"), required=False, help_text=_("Empty: no limit."))

    def __init__(self, *args: Any, seat: Seat, row: CredentialInfo, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        apps = apps_of_developer(seat.developer_id)
        found = {each.key for keys in features_of_apps([app.id for app in apps]).values() for each in keys}
        known = sorted(found | set(row.features_allowed))
        self.fields["apps"].choices = [(app.id, app.name) for app in apps]  # type: ignore[attr-defined]
        self.fields["features"].choices = [(key, key) for key in known]  # type: ignore[attr-defined]


class RotateForm(forms.Form):
    """Ask for the key that takes another's place."""

    secret = forms.CharField(
        label=_("New key"),
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


@developer_page("keys")
def provider_keys(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List the developer's keys."""
    rows = credentials_owned_by(OwnerClass.DEVELOPER.value, seat.developer_id, limit=settings.MAX_PROVIDER_KEYS)
    names = {row.id: row.name for row in providers()}
    budgets = _budgets(seat, [row.id for row in rows])
    context = {"seat": seat, "rows": [_shown(row, names, budgets.get(row.id)) for row in rows]}
    return render(request, "console/developer/provider_keys.html", context)


@developer_page("keys", change=True)
def add_provider_key(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Try a key with its provider and store it."""
    offered = [row for row in providers() if row.active and row.byok_allowed]
    form = AddForm(request.POST or None, offered=offered)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            services.count_key_check(seat.developer_id)
            made = services.add_checked_credential(
                owner_class=OwnerClass.DEVELOPER.value,
                owner_id=seat.developer_id,
                provider=given["provider"],
                label=given["label"],
                secret=given["secret"].strip(),
                base_url=given["base_url"],
                at_most=settings.MAX_PROVIDER_KEYS,
                now=now(),
                actor=seat.actor,
            )
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, __("The key is stored."))
            return redirect("console:provider-key", seat.developer_id, made)
    language = get_language() or "en"
    context = {
        "seat": seat,
        "form": form,
        "terms": [(row, training_notice(row, language=language)) for row in offered],
    }
    return render(request, "console/developer/provider_key_add.html", context)


@developer_page("keys")
def provider_key(request: HttpRequest, seat: Seat, key_id: str) -> HttpResponse:
    """Show a key, and change what it is used for."""
    row = _find(seat, key_id)
    budget = _budgets(seat, [row.id]).get(row.id)
    form = ScopeForm(request.POST or None, initial=_scope(row, budget), seat=seat, row=row)
    if request.method == "POST" and form.is_valid():
        try:
            _change(seat, row, budget, form.cleaned_data)
        except FaucetError as error:
            refuse(form, error, _NAMES)
        else:
            messages.success(request, __("Saved."))
            return redirect("console:provider-key", seat.developer_id, row.id)
    return _page(request, seat, row, budget, form, RotateForm())


@require_POST
@developer_page("keys")
def validate_provider_key(request: HttpRequest, seat: Seat, key_id: str) -> HttpResponse:
    """Try a stored key with its provider."""
    row = _find(seat, key_id)
    services.count_key_check(seat.developer_id)
    check = services.validate_credential(row.id, now=now(), actor=seat.actor)
    say = messages.success if check.result == Validation.OK else messages.warning
    say(request, __("The provider’s answer: %(result)s.") % {"result": Validation(check.result).label})
    return redirect("console:provider-key", seat.developer_id, row.id)


@require_POST
@developer_page("keys")
def rotate_provider_key(request: HttpRequest, seat: Seat, key_id: str) -> HttpResponse:
    """Try a new key with the provider and put it in the old one's place."""
    row = _find(seat, key_id)
    form = RotateForm(request.POST)
    if form.is_valid():
        try:
            services.count_key_check(seat.developer_id)
            made = services.rotate_checked_credential(
                row.id, secret=form.cleaned_data["secret"].strip(), now=now(), actor=seat.actor
            )
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, __("The new key is in use; the old one is not used any more."))
            return redirect("console:provider-key", seat.developer_id, made)
    budget = _budgets(seat, [row.id]).get(row.id)
    return _page(request, seat, row, budget, ScopeForm(initial=_scope(row, budget), seat=seat, row=row), form)


@require_POST
@developer_page("keys")
def switch_provider_key(request: HttpRequest, seat: Seat, key_id: str) -> HttpResponse:
    """Switch a key off, or on again."""
    row = _find(seat, key_id)
    if request.POST.get("to") == "on":
        services.enable_credential(row.id, now=now(), actor=seat.actor)
    else:
        services.disable_credential(row.id, now=now(), actor=seat.actor)
    return redirect("console:provider-key", seat.developer_id, row.id)


@developer_page("keys", change=True)
def delete_provider_key(request: HttpRequest, seat: Seat, key_id: str) -> HttpResponse:
    """Ask whether a key is to be erased, and erase it."""
    row = _find(seat, key_id)
    if request.method == "POST":
        services.delete_credential(row.id, now=now(), actor=seat.actor)
        messages.success(request, __("The key is erased."))
        return redirect("console:provider-keys", seat.developer_id)
    context = {"seat": seat, "row": row}
    return render(request, "console/developer/provider_key_delete.html", context)


def _scope(row: CredentialInfo, budget: BudgetState | None) -> dict[str, Any]:
    """Return what a key is used for now, as ScopeForm asks for it."""
    return {
        "label": row.label,
        "models": row.models_allowed,
        "apps": row.apps_allowed,
        "features": row.features_allowed,
        "priority": row.priority,
        "weight": row.weight,
        "budget": None if budget is None else budget.amount,
    }


@transaction.atomic
def _change(seat: Seat, row: CredentialInfo, budget: BudgetState | None, given: dict[str, Any]) -> None:
    """Change what a key is used for and its budget. Raises what the services raise."""
    moment = now()
    services.update_credential(
        row.id,
        label=given["label"],
        models_allowed=given["models"],
        apps_allowed=given["apps"],
        features_allowed=given["features"],
        priority=given["priority"],
        weight=given["weight"],
        now=moment,
        actor=seat.actor,
    )
    if given["budget"] != (None if budget is None else budget.amount):
        owner: dict[str, Any] = {"developer_id": seat.developer_id, "at_most": settings.MAX_BUDGETS}
        set_key_cap(row.id, given["budget"], **owner, now=moment, actor=seat.actor)


def _budgets(seat: Seat, key_ids: list[str]) -> dict[str, BudgetState]:
    return key_caps(key_ids, developer_id=seat.developer_id, now=now())


def _page(
    request: HttpRequest,
    seat: Seat,
    row: CredentialInfo,
    budget: BudgetState | None,
    form: ScopeForm,
    rotation: RotateForm,
) -> HttpResponse:
    names = {each.id: each.name for each in providers()}
    context = {"seat": seat, "key": _shown(row, names, budget), "form": form, "rotation": rotation}
    return render(request, "console/developer/provider_key.html", context)


def _find(seat: Seat, key_id: str) -> CredentialInfo:
    """Return a key of this developer. Raises Http404 for anybody else's."""
    row = credential_by_id(key_id)
    if row is None or (row.owner_class, row.owner_id) != (OwnerClass.DEVELOPER.value, seat.developer_id):
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
