"""From nothing to a first call: an app with a feature, a key that is shown once, and a page that waits for the call."""

from datetime import datetime
from typing import Any

from django import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from apps.billing.services.allowances import fund_allowance, fundable, monthly_allowance, set_monthly_allowance
from apps.billing.services.plans import noting_gates
from apps.catalog.queries import load_catalog
from apps.console import snippets
from apps.console.access import Seat, developer_page
from apps.console.developer.common import app_of, feature_of, models_offered
from apps.console.forms import LinesField, refuse
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.core.ids import new_id
from apps.core.money import nano_from_usd
from apps.features.library import templates
from apps.features.queries import AppInfo, FeatureInfo, features_of_app, manifest_in_force, virtual_keys_of_app
from apps.features.services.starting import start_app
from apps.features.services.tokens import issue_virtual_key, revoke_virtual_key
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.usage.queries import UsageFilter, usage_page
from apps.vault.services.app_secrets import issue_app_secret

# The name of the key that the first call is made with; a new one takes the place of the one before.
FIRST_KEY = "First call"
# What a first end user may have for nothing, and what of the developer's credit pays for it.
ALLOWANCE = nano_from_usd("0.05")
ALLOWANCE_FUNDS = nano_from_usd("0.25")
LANGUAGES = (
    ("curl", _("curl, in a terminal")),
    ("python", _("Python, with OpenAI’s library")),
    ("javascript", _("JavaScript, with OpenAI’s library")),
    ("session", _("A backend that opens sessions for its users")),
)


def template_choices() -> list[tuple[str, Any]]:
    """Return the templates in the reader's language, after the feature without one."""
    language = "zh" if (get_language() or "").startswith("zh") else "en"
    found = [(name, each.title) for name, each in templates().items() if each.language == language]
    return [("", _("Conversation: messages in, an answer out")), *found]


class TemplateForm(forms.Form):
    """Refuses a model that cannot do what the chosen template asks of it: its first call would be refused."""

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        found = templates().get(given.get("template", ""))
        if found is not None and given.get("model"):
            offers = load_catalog(now=now()).offers.get(given["model"], ())
            if not any(found.requires <= offer.capabilities for offer in offers):
                lacking = ", ".join(sorted(found.requires))
                self.add_error("model", gettext("This template needs a model that can do this: %s.") % lacking)
        return given


class StartForm(TemplateForm):
    """Ask for all that a first call takes."""

    name = forms.CharField(label=_("Name of the app"), max_length=200)
    allowed_origins = LinesField(
        label=_("Allowed origins"),
        required=False,
        help_text=_("Where the app runs, one address a line, such as https://example.com. A program needs none."),
    )
    template = forms.ChoiceField(label=_("What it asks a model"), required=False, widget=forms.RadioSelect)
    model = forms.ChoiceField(label=_("Model"), help_text=_("You can change it at any time."))
    language = forms.ChoiceField(
        label=_("How you call it"), choices=LANGUAGES, widget=forms.RadioSelect, initial="curl"
    )

    def __init__(self, *args: Any, models: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["template"].choices = template_choices()  # type: ignore[attr-defined]
        self.fields["model"].choices = [(name, name) for name in models]  # type: ignore[attr-defined]


@developer_page("apps", change=True)
def start(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Make an app with its first feature, and lead to its first call."""
    models = models_offered(now=now())
    form = StartForm(request.POST or None, models=models)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        who: dict[str, Any] = {"now": now(), "actor": seat.actor}
        try:
            with noting_gates(seat.developer_id, subject="app", **who):
                app_id, feature = start_app(
                    developer_id=seat.developer_id,
                    name=given["name"],
                    allowed_origins=given["allowed_origins"],
                    template=given["template"],
                    default_model=given["model"],
                    **who,
                )
        except FaucetError as error:
            refuse(form, error, {"default_model": "model"})
        else:
            address = reverse("console:first-call", args=[seat.developer_id, app_id])
            return redirect(f"{address}?feature={feature}&language={given['language']}")
    return render(request, "console/developer/start.html", {"seat": seat, "form": form, "models": models})


class KeyForm(forms.Form):
    """Ask how the first call is made, and for an end user, who pays for it."""

    language = forms.ChoiceField(label=_("How you call it"), choices=LANGUAGES, widget=forms.RadioSelect)
    feature = forms.ChoiceField(label=_("Feature"))
    allowance = forms.BooleanField(
        label=_("Let each user try it: $0.05 a month, paid from $0.25 of your credit"),
        required=False,
        initial=True,
        help_text=_("Only for sessions: a user without credit cannot call. You can change it on the app’s page."),
    )

    def __init__(self, *args: Any, features: tuple[FeatureInfo, ...], **options: Any) -> None:
        super().__init__(*args, **options)
        found = [(feature.key, f"{feature.name} ({feature.key})") for feature in features]
        self.fields["feature"].choices = found  # type: ignore[attr-defined]


@developer_page("apps")
@never_cache
def first_call(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Give out a key with code that uses it, once, and wait for the call."""
    app, moment = app_of(seat, app_id), now()
    features = features_of_app(app.id)
    initial = {name: request.GET[name] for name in ("language", "feature") if name in request.GET}
    initial = {"language": "curl", **initial}
    form = KeyForm(request.POST or None, features=features, initial=initial)
    context: dict[str, Any] = {"seat": seat, "app": app, "form": form, "available": _credit(seat.developer_id)}
    if request.method == "POST" and form.is_valid():
        try:
            context |= _snippets(request, seat, app, form.cleaned_data)
        except FaucetError as error:
            refuse(form, error)
    context |= _state(app, since=moment if "secret" in context else None)
    response = render(request, "console/developer/first_call.html", context)
    if "secret" in context:
        response["Cache-Control"] = "no-store, private"
    return response


@developer_page("apps")
@never_cache
def first_call_state(request: HttpRequest, seat: Seat, app_id: str) -> HttpResponse:
    """Tell whether the app's first call, or its first since a moment, has come; a page asks until it has."""
    app = app_of(seat, app_id)
    try:
        since = datetime.fromisoformat(request.GET.get("since", ""))
    except ValueError:
        since = None
    since = since if since is not None and since.tzinfo is not None else None
    context = {"seat": seat, "app": app, **_state(app, since=since)}
    return render(request, "console/developer/_first_call.html", context)


def _state(app: AppInfo, *, since: datetime | None) -> dict[str, Any]:
    which = UsageFilter(app_id=app.id, developer_id=app.developer_id, begin=since)
    latest = usage_page(which, limit=1).calls
    return {"call": latest[0] if latest else None, "since": since.isoformat() if since is not None else ""}


def _snippets(request: HttpRequest, seat: Seat, app: AppInfo, given: dict[str, Any]) -> dict[str, Any]:
    moment = now()
    feature = feature_of(app, given["feature"])
    session = given["language"] == "session"
    if session:
        secret = _issue_secret(app, allowance=given["allowance"], now=moment, actor=seat.actor)
    else:
        secret = _issue_key(app, feature.key, now=moment, actor=seat.actor)
    manifest = manifest_in_force(feature.id)
    schema = manifest.content.get("input") if manifest is not None else None
    typed = manifest is not None and "prompt" in manifest.content
    make = snippets.session_snippets if session else snippets.key_snippets
    found = make(
        snippets.base_url(request),
        secret,
        model=feature.default_model or next(iter(sorted(load_catalog(now=moment).offers)), ""),
        feature=feature.key,
        sample=snippets.sample_input(schema or {}) if typed else None,
    )
    # The language that was asked for comes first.
    chosen = sorted(found, key=lambda snippet: snippet.key != given["language"])
    unfunded = session and given["allowance"] and monthly_allowance(app.id) == 0
    available = _credit(seat.developer_id)
    return {"secret": secret, "session": session, "snippets": chosen, "available": available, "unfunded": unfunded}


@transaction.atomic
def _issue_key(app: AppInfo, feature_key: str, *, now: datetime, actor: str) -> str:
    for key in virtual_keys_of_app(app.id, limit=100):
        if key.name == FIRST_KEY and key.revoked_at is None:
            revoke_virtual_key(key_id=key.id, now=now, actor=actor)
    return issue_virtual_key(app_id=app.id, name=FIRST_KEY, feature_key=feature_key, now=now, actor=actor)[0]


@transaction.atomic
def _issue_secret(app: AppInfo, *, allowance: bool, now: datetime, actor: str) -> str:
    if allowance and monthly_allowance(app.id) == 0 and fundable(app.developer_id) >= ALLOWANCE_FUNDS:
        set_monthly_allowance(app.id, ALLOWANCE, now=now, actor=actor)
        fund_allowance(app.id, ALLOWANCE_FUNDS, idempotency_key=new_id("start"), now=now, actor=actor)
    return issue_app_secret(app.id, now=now, actor=actor)


def _credit(developer_id: str) -> int:
    """Return a developer's prepaid credit in nano-USD."""
    account = account_id(AccountKind.DEVELOPER_CREDIT, developer_id)
    return 0 if account is None else balance(account).available
