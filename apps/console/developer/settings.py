"""The developer's own settings, and its switches: each app and feature, and everything at once."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from apps.console.access import Seat, developer_page
from apps.console.contacts import contacts
from apps.console.developer.common import app_of, feature_of
from apps.console.forms import refuse
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.developers.queries import DeveloperInfo, developer
from apps.developers.services.developers import start_developer, stop_developer, update_developer
from apps.features.queries import apps_of_developer, features_of_apps
from apps.features.services.apps import disable_app, enable_app
from apps.features.services.features import disable_feature, enable_feature


class SettingsForm(forms.Form):
    """Ask for what a developer is called, and where it is written to."""

    name = forms.CharField(label=_("Name of your company or project"), max_length=200)
    email = forms.EmailField(label=_("E-mail address"), help_text=_("Where notices about money and abuse go."))


class StopForm(forms.Form):
    """Ask for the developer's name, so that nobody stops everything by mistake."""

    name = forms.CharField(max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._expected = expected.strip()
        self.fields["name"].label = __("Write “%(name)s” to confirm") % {"name": self._expected}

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if name != self._expected:
            raise forms.ValidationError(__("This is not the name."))
        return name


@developer_page("settings")
def settings(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show and change the developer's settings, and show its switches."""
    found = _developer(seat)
    form = SettingsForm(request.POST or None, initial={"name": found.name, "email": found.email})
    if request.method == "POST" and form.is_valid():
        try:
            update_developer(seat.developer_id, **form.cleaned_data, now=now(), actor=seat.actor)
        except FaucetError as error:
            refuse(form, error)
        else:
            messages.success(request, __("Saved."))
            return redirect("console:settings", seat.developer_id)
    apps = apps_of_developer(seat.developer_id)
    features = features_of_apps([app.id for app in apps])
    context = {
        "seat": seat,
        "form": form,
        "developer": found,
        "apps": [{"app": app, "features": features.get(app.id, ())} for app in apps],
        "contacts": contacts(),
    }
    return render(request, "console/developer/settings.html", context)


@developer_page("settings", change=True)
def stop(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Ask whether everything is to stop, and stop it."""
    form = StopForm(request.POST or None, expected=seat.developer_name)
    if request.method == "POST" and form.is_valid():
        stop_developer(seat.developer_id, now=now(), actor=seat.actor)
        return redirect("console:settings", seat.developer_id)
    return render(request, "console/developer/stop.html", {"seat": seat, "form": form})


@require_POST
@developer_page("settings")
def start(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Admit calls again."""
    start_developer(seat.developer_id, now=now(), actor=seat.actor)
    messages.success(request, __("Calls are answered again."))
    return redirect("console:settings", seat.developer_id)


@require_POST
@developer_page("settings")
def switch(request: HttpRequest, seat: Seat, app_id: str, feature_key: str = "") -> HttpResponse:
    """Switch an app or one of its features off, or on again."""
    app = app_of(seat, app_id)
    on = request.POST.get("to") == "on"
    who: dict[str, Any] = {"now": now(), "actor": seat.actor}
    if feature_key:
        feature = feature_of(app, feature_key)
        (enable_feature if on else disable_feature)(feature_id=feature.id, **who)
    else:
        (enable_app if on else disable_app)(app_id=app.id, **who)
    messages.success(request, __("Switched on.") if on else __("Switched off."))
    return redirect("console:settings", seat.developer_id)


def _developer(seat: Seat) -> DeveloperInfo:
    found = developer(seat.developer_id)
    if found is None:
        raise Http404
    return found
