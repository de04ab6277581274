"""What an app calls and vouches with: virtual keys, and the secrets that sign user tokens. Each is shown once."""

from datetime import UTC, datetime, time, timedelta

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from apps.console import snippets
from apps.console.access import Seat, developer_page
from apps.console.developer.common import app_of
from apps.console.developer.once import shown_once
from apps.console.forms import refuse
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.features.queries import (
    AppInfo,
    apps_of_developer,
    features_of_app,
    virtual_key_by_id,
    virtual_keys_of_app,
)
from apps.features.services.tokens import issue_virtual_key, revoke_virtual_key
from apps.vault.queries import AppSecretInfo, secrets_of_app
from apps.vault.services import issue_app_secret, revoke_app_secret

# Rows of a list: who has more keys than this of one app uses the API.
MOST = 100
_SIGN = """\
# pip install pyjwt
import os
import time
import jwt

now = int(time.time())
user_token = jwt.encode(
    {{
        "sub": "your-own-id-of-the-user",
        "aud": "{app}",
        "iat": now,
        "exp": now + 600,
    }},
    os.environ["MODELFAUCET_APP_SECRET"],
    algorithm="HS256",
)

# The browser or your backend exchanges it for a session:
# POST {base}/sessions
# {{"public_app_id": "{app}", "user_token": user_token}}
"""


class DayField(forms.DateField):
    """A day, whose end (UTC) is meant."""

    widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")

    def clean(self, value: object) -> datetime | None:
        day = super().clean(value)
        return None if day is None else datetime.combine(day, time(), tzinfo=UTC) + timedelta(days=1)


class KeyForm(forms.Form):
    """Ask for what a virtual key is for."""

    name = forms.CharField(label=_("Name"), max_length=200, help_text=_("Where it is used: “Nightly job”."))
    feature_key = forms.ChoiceField(label=_("Feature"), required=False)
    expires_at = DayField(label=_("Last day"), required=False, help_text=_("Until its end, UTC. Empty: no end."))

    def __init__(self, *args: object, app: AppInfo, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        choices = [("", __("every feature of the app"))]
        choices += [(row.key, row.name) for row in features_of_app(app.id)]
        self.fields["feature_key"].choices = choices  # type: ignore[attr-defined]


@developer_page("keys")
def app_keys(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Lead to the keys of the first app, or say that there is none."""
    found = apps_of_developer(seat.developer_id)
    if not found:
        return render(request, "console/developer/app_keys.html", {"seat": seat, "app": None})
    return redirect("console:keys-of-app", seat.developer_id, found[0].id)


@developer_page("keys")
def keys_of_app(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Show an app's virtual keys and secrets, and make a key."""
    app = app_of(seat, app_id)
    form = KeyForm(request.POST or None, app=app)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            key, _id = issue_virtual_key(
                app_id=app.id,
                name=given["name"],
                feature_key=given["feature_key"] or None,
                expires_at=given["expires_at"],
                now=now(),
                actor=seat.actor,
            )
        except FaucetError as error:
            refuse(form, error)
        else:
            return shown_once(request, seat, key, title=__("A new virtual key"), back=("console:keys-of-app", app.id))
    moment = now()
    secrets = secrets_of_app(app.id, limit=MOST)
    context = {
        "seat": seat,
        "app": app,
        "apps": apps_of_developer(seat.developer_id),
        "form": form,
        "now": moment,
        "keys": virtual_keys_of_app(app.id, limit=MOST),
        "secrets": secrets,
        "live": sum(row.revoked_at is None for row in secrets),
        "snippet": _SIGN.format(app=app.public_id, base=snippets.base_url(request)),
    }
    return render(request, "console/developer/app_keys.html", context)


@developer_page("keys", change=True)
def revoke_key(request: HttpRequest, seat: Seat, app_id: str, key_id: str) -> HttpResponse:
    """Ask whether a virtual key is to be revoked, and revoke it."""
    app = app_of(seat, app_id)
    row = virtual_key_by_id(key_id)
    if row is None or row.app_id != app.id:
        raise Http404("There is no such key.")
    if request.method == "POST":
        revoke_virtual_key(key_id=row.id, now=now(), actor=seat.actor)
        messages.success(request, __("The key is refused from now on."))
        return redirect("console:keys-of-app", seat.developer_id, app.id)
    context = {"seat": seat, "app": app, "name": row.name, "hint": row.hint, "kind": "key"}
    return render(request, "console/developer/app_key_revoke.html", context)


@require_POST
@developer_page("keys")
def issue_secret(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Make an app secret and show it; older ones stay valid until they are revoked."""
    app = app_of(seat, app_id)
    secret = issue_app_secret(app.id, now=now(), actor=seat.actor)
    return shown_once(request, seat, secret, title=__("A new app secret"), back=("console:keys-of-app", app.id))


@developer_page("keys", change=True)
def revoke_secret(request: HttpRequest, seat: Seat, app_id: str, secret_id: str) -> HttpResponse:
    """Ask whether an app secret is to be revoked, and revoke it."""
    app = app_of(seat, app_id)
    row = _secret(app, secret_id)
    if request.method == "POST":
        revoke_app_secret(row.id, now=now(), actor=seat.actor)
        messages.success(request, __("The secret is refused from now on."))
        return redirect("console:keys-of-app", seat.developer_id, app.id)
    context = {"seat": seat, "app": app, "name": app.name, "hint": row.hint, "kind": "secret"}
    return render(request, "console/developer/app_key_revoke.html", context)


def _secret(app: AppInfo, secret_id: str) -> AppSecretInfo:
    """Return a secret of an app. Raises Http404 for anybody else's."""
    for row in secrets_of_app(app.id, limit=MOST):
        if row.id == secret_id:
            return row
    raise Http404("There is no such secret.")
