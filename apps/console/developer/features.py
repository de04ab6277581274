"""Features: made from templates, their manifests edited as form and YAML side by side, in versions."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.billing.queries.plans import plans
from apps.billing.services.plans import noting_gates
from apps.console.access import Seat, developer_page
from apps.console.developer.common import app_of, feature_of, models_offered, plan_gate_words
from apps.console.developer.manifest_form import ManifestForm, members_changed, read_form
from apps.console.developer.start import TemplateForm, template_choices
from apps.console.forms import refuse
from apps.core.clock import now
from apps.core.errors import BadRequest, FaucetError, NotFound
from apps.features.entitlements import entitlements_of
from apps.features.gates import GATES
from apps.features.manifest_diff import changes
from apps.features.manifest_edit import change, from_json, line_of
from apps.features.manifest_source import MAX_SOURCE
from apps.features.queries import (
    AppInfo,
    FeatureInfo,
    ManifestInfo,
    manifest_in_force,
    manifest_version,
    manifests_of,
)
from apps.features.services.entitlements import PlanUpgradeRequired
from apps.features.services.features import disable_feature, enable_feature, update_feature
from apps.features.services.manifests import put_manifest, read_manifest, roll_back
from apps.features.services.starting import create_feature_from_template

EMPTY = "version: 1\n"
VERSIONS = 20
_MAX_NUMBER = 2**31 - 1


class NewFeatureForm(TemplateForm):
    """Ask for a feature's key, name, template and model."""

    key = forms.CharField(
        label=_("Feature key"),
        max_length=64,
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
        help_text=_("How programs call it, such as summary: a-z, 0-9, - and _. It stays as it is."),
    )
    name = forms.CharField(label=_("Name"), max_length=200, required=False)
    template = forms.ChoiceField(label=_("What it asks a model"), required=False, widget=forms.RadioSelect)
    model = forms.ChoiceField(label=_("Model"))

    def __init__(self, *args: Any, models: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["template"].choices = template_choices()  # type: ignore[attr-defined]
        self.fields["model"].choices = [(name, name) for name in models]  # type: ignore[attr-defined]


@developer_page("apps", change=True)
def new_feature(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Make a feature, and lead to its manifest."""
    app = app_of(seat, app_id)
    form = NewFeatureForm(request.POST or None, models=models_offered(now=now()))
    upgrade = None
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        who: dict[str, Any] = {"now": now(), "actor": seat.actor}
        try:
            with noting_gates(seat.developer_id, subject=app.id, **who):
                create_feature_from_template(
                    app_id=app.id,
                    key=given["key"],
                    name=given["name"],
                    template=given["template"],
                    default_model=given["model"],
                    **who,
                )
        except PlanUpgradeRequired as error:
            upgrade = _upgrade(error)
        except FaucetError as error:
            refuse(form, error, {"default_model": "model"})
        else:
            messages.success(request, gettext("The feature was made."))
            return redirect("console:feature", seat.developer_id, app.id, given["key"])
    context = {"seat": seat, "app": app, "form": form, "upgrade": upgrade}
    return render(request, "console/developer/feature_new.html", context)


@developer_page("apps")
def feature(request: HttpRequest, seat: Seat, app_id: str, key: str) -> HttpResponse:
    """Show a feature's manifest as form and YAML, and change it.

    Posted are the YAML and the form. What of the form differs from the YAML that it was filled from is written into
    the YAML first, so that both may be edited; `action` says whether that is then shown or saved.
    """
    app = app_of(seat, app_id)
    found = feature_of(app, key)
    current = manifest_in_force(found.id)
    source = _yaml_of(current)
    context: dict[str, Any] = {"seat": seat, "app": app, "feature": found, "current": current}
    if request.method != "POST":
        return _editor(request, context, source)
    source, form, refusal = _posted(request, source)
    if form is not None:
        context["form"] = form
    elif refusal is None:
        try:
            if request.POST.get("action") == "save":
                return _save(request, seat, app, found, source)
            read_manifest(source, "yaml")
        except PlanUpgradeRequired as error:
            context["upgrade"] = _upgrade(error)
        except BadRequest as error:
            refusal = error
        except FaucetError as error:
            context["refused"] = error.message
    return _editor(request, context, source, refusal=refusal, unsaved=True)


def _save(request: HttpRequest, seat: Seat, app: AppInfo, found: FeatureInfo, source: str) -> HttpResponse:
    who: dict[str, Any] = {"now": now(), "actor": seat.actor}
    with noting_gates(seat.developer_id, subject=found.id, **who):
        number = put_manifest(feature_id=found.id, source=source, source_format="yaml", may_price=False, **who)
    messages.success(request, gettext("Version %(number)s is in force.") % {"number": number})
    return redirect("console:feature", seat.developer_id, app.id, found.key)


def _posted(request: HttpRequest, current: str) -> tuple[str, ManifestForm | None, BadRequest | None]:
    """Return the posted YAML with what was changed in the form; the form if it is wrong; why it cannot be written.

    `seen` is the YAML from which the form was filled.
    """
    source = request.POST.get("source", current).replace("\r\n", "\n")[: MAX_SOURCE + 1]
    seen = request.POST.get("seen", source).replace("\r\n", "\n")
    before, unread = read_form(seen)
    if unread is not None:
        return source, None, None  # the form was empty: there is nothing of it to write
    form = ManifestForm(request.POST, initial=before, models=models_offered(now=now()))
    if set(form.errors) & set(form.changed_data):
        return source, form, None
    try:
        # A field that is wrong as it was shown is the YAML's affair, where it may have been mended by now.
        return change(source, members_changed({**before, **form.cleaned_data}, before)), None, None
    except BadRequest as error:
        return source, None, error


def _editor(
    request: HttpRequest,
    context: dict[str, Any],
    source: str,
    *,
    refusal: BadRequest | None = None,
    unsaved: bool = False,
) -> HttpResponse:
    values, unread = read_form(source)
    refusal = refusal or unread
    seat = context["seat"]
    plan = entitlements_of(seat.developer_id)
    missing = [gate for gate in GATES if plan is not None and gate not in plan.gates]
    if "form" in context:  # as it was posted, with its errors; it was filled from what it was filled from
        seen = request.POST.get("seen", source)
    else:
        context["form"], seen = ManifestForm(initial=values, models=models_offered(now=now())), source
    context |= {
        "readable": unread is None,
        "source": source,
        "seen": seen,
        "lines": source.count("\n") + 4,
        "refusal": refusal.message if refusal is not None else "",
        "line": line_of(source, refusal) if refusal is not None else None,
        "unsaved": unsaved,
        "missing": [plan_gate_words(gate) for gate in missing if gate != "value_pricing"],
        "change": seat.may_change("apps"),
    }
    return render(request, "console/developer/feature.html", context)


def _yaml_of(manifest: ManifestInfo | None) -> str:
    if manifest is None:
        return EMPTY
    return manifest.source if manifest.source_format == "yaml" else from_json(manifest.source)


def _upgrade(error: PlanUpgradeRequired) -> dict[str, Any]:
    """Return what an upgrade prompt says: what was asked for, and the plan that has it."""
    key = (error.details or {}).get("upgrade")
    names = {plan.key: plan.name for plan in plans(all_of_them=True)}
    return {"parts": [plan_gate_words(gate) for gate in error.gates], "plan": names.get(key or "", "")}


@developer_page("apps")
def versions(request: HttpRequest, seat: Seat, app_id: str, key: str) -> HttpResponse:
    """List a manifest's versions, newest first."""
    app = app_of(seat, app_id)
    found = feature_of(app, key)
    before = request.GET.get("before", "")
    at = min(int(before), _MAX_NUMBER) if before.isascii() and before.isdigit() else _MAX_NUMBER
    rows = manifests_of(found.id, before=at, limit=VERSIONS + 1)
    more = rows[VERSIONS - 1].number if len(rows) > VERSIONS else None
    context = {"seat": seat, "app": app, "feature": found, "rows": rows[:VERSIONS], "more": more}
    return render(request, "console/developer/versions.html", context)


@developer_page("apps")
def version(request: HttpRequest, seat: Seat, app_id: str, key: str, number: int) -> HttpResponse:
    """Show a version, what it changed, and how it differs from the one in force; put it in force again."""
    app = app_of(seat, app_id)
    found = feature_of(app, key)
    row = manifest_version(found.id, min(number, _MAX_NUMBER))
    if row is None:
        raise Http404("There is no such version.")
    context: dict[str, Any] = {"seat": seat, "app": app, "feature": found, "row": row}
    if request.method == "POST":
        who: dict[str, Any] = {"now": now(), "actor": seat.actor}
        try:
            with noting_gates(seat.developer_id, subject=found.id, **who):
                roll_back(feature_id=found.id, number=row.number, may_price=False, **who)
        except PlanUpgradeRequired as error:
            context["upgrade"] = _upgrade(error)
        else:
            messages.success(request, gettext("Version %(number)s is in force.") % {"number": row.number})
            return redirect("console:feature", seat.developer_id, app.id, found.key)
    earlier = manifest_version(found.id, row.number - 1)
    current = manifest_in_force(found.id)
    context |= {
        "changed": changes(earlier.content if earlier else {}, row.content),
        "earlier": earlier,
        "current": current,
        "against": changes(current.content, row.content) if current and current.id != row.id else [],
        "change": seat.may_change("apps"),
    }
    return render(request, "console/developer/version.html", context)


class SettingsForm(forms.Form):
    """Ask for what of a feature stands beside its manifest."""

    name = forms.CharField(label=_("Name"), max_length=200)
    default_model = forms.ChoiceField(
        label=_("Model"), required=False, help_text=_("Used where neither the call nor the manifest names one.")
    )
    max_output_tokens = forms.IntegerField(label=_("Longest answer, in tokens"), min_value=1, max_value=10_000_000)
    affordable_clamp = forms.BooleanField(
        label=_("Shorten an answer to what the user can pay, instead of refusing it"), required=False
    )

    def __init__(self, data: Any, *, models: list[str], feature: FeatureInfo) -> None:
        super().__init__(data, initial={name: getattr(feature, name) for name in self.base_fields})
        names = sorted({*models, feature.default_model} - {""})
        self.fields["default_model"].choices = [("", _("none")), *((name, name) for name in names)]  # type: ignore[attr-defined]


@developer_page("apps", change=True)
def feature_settings(request: HttpRequest, seat: Seat, app_id: str, key: str) -> HttpResponse:
    """Change a feature's name and what its manifest leaves open."""
    app = app_of(seat, app_id)
    found = feature_of(app, key)
    form = SettingsForm(request.POST or None, models=models_offered(now=now()), feature=found)
    if request.method == "POST" and form.is_valid():
        try:
            update_feature(feature_id=found.id, now=now(), actor=seat.actor, **form.cleaned_data)
        except NotFound:
            raise
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, gettext("The feature was changed."))
            return redirect("console:feature", seat.developer_id, app.id, found.key)
    context = {"seat": seat, "app": app, "feature": found, "form": form}
    return render(request, "console/developer/feature_settings.html", context)


@developer_page("apps", change=True)
def switch_feature(request: HttpRequest, seat: Seat, app_id: str, key: str) -> HttpResponse:
    """Ask before a feature is switched off or on, and do it."""
    app = app_of(seat, app_id)
    found = feature_of(app, key)
    if request.method == "POST":
        switch = enable_feature if request.POST.get("to") == "on" else disable_feature
        switch(feature_id=found.id, now=now(), actor=seat.actor)
        messages.success(
            request,
            gettext("The feature is on.")
            if switch is enable_feature
            else gettext("The feature is off. Its calls are refused."),
        )
        return redirect("console:app", seat.developer_id, app.id)
    context = {"seat": seat, "app": app, "feature": found, "active": found.active}
    return render(request, "console/developer/switch.html", context)
