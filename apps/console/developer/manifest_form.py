"""The form beside a manifest's YAML: the members that most people change, each a field."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.console.forms import LinesField
from apps.core.errors import BadRequest
from apps.features.manifest import POLICIES
from apps.features.manifest_edit import content_of, value_at

POLICY_WORDS = {
    "platform_pool": _("the platform’s keys"),
    "developer_key_first": _("your keys first"),
    "byok_first": _("the user’s own key first"),
    "local_first": _("the user’s local model first"),
    "cheapest_sufficient": _("the cheapest that is good enough"),
    "quality_first": _("the best first"),
    "latency_first": _("the fastest first"),
    "privacy_first": _("the most private first"),
}
# Where each field stands in a manifest, and what it is where it is not named.
MEMBERS: dict[str, tuple[str, Any]] = {
    "description": ("description", ""),
    "system": ("prompt.system", ""),
    "user": ("prompt.user", ""),
    "default_model": ("models.default", ""),
    "allowed_models": ("models.allow", []),
    "max_tokens": ("output.max_tokens", None),
    "policy": ("routing.policy", "platform_pool"),
    "fallback_models": ("routing.fallback_models", []),
    "max_price": ("routing.max_price_usd", ""),
    "min_quality": ("routing.min_quality", None),
    "privacy": ("privacy.mode", "allow"),
    "debug_log": ("privacy.debug_log", False),
    "cache_exact": ("cache.exact", False),
    "cache_semantic": ("cache.semantic", False),
    "cache_seconds": ("cache.ttl_seconds", 3600),
    "rpm": ("limits.rpm", None),
    "tpm": ("limits.tpm", None),
    "concurrency": ("limits.concurrency", None),
}
GROUPS = (
    (_("What it asks"), ("description", "system", "user")),
    (_("Models and answers"), ("default_model", "allowed_models", "max_tokens")),
    (_("Route"), ("policy", "fallback_models", "max_price", "min_quality")),
    (_("Privacy and cache"), ("privacy", "debug_log", "cache_exact", "cache_semantic", "cache_seconds")),
    (_("Limits of each user"), ("rpm", "tpm", "concurrency")),
)


class ManifestForm(forms.Form):
    """The members of a manifest that a form can say; the rest stays as the YAML says it."""

    description = forms.CharField(label=_("Description"), required=False, max_length=2_000)
    system = forms.CharField(
        label=_("Instructions to the model"),
        required=False,
        max_length=20_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    user = forms.CharField(
        label=_("Question"),
        required=False,
        max_length=20_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=_("{{ input.name }} stands for what the app sends. Empty: the app sends the messages itself."),
    )
    default_model = forms.ChoiceField(label=_("Model"), required=False)
    allowed_models = LinesField(
        label=_("Models that a call may name"), required=False, help_text=_("One a line. Empty: any.")
    )
    max_tokens = forms.IntegerField(label=_("Longest answer, in tokens"), required=False, min_value=1)
    policy = forms.ChoiceField(
        label=_("Whose key is used"), required=False, choices=[(name, POLICY_WORDS[name]) for name in POLICIES]
    )
    fallback_models = LinesField(
        label=_("Models to try when it fails"), required=False, help_text=_("One a line, in order.")
    )
    max_price = forms.CharField(label=_("Most that a call may cost, in USD"), required=False, max_length=20)
    min_quality = forms.FloatField(label=_("Least quality, 0 to 1"), required=False, min_value=0, max_value=1)
    privacy = forms.ChoiceField(
        label=_("Personal data"),
        required=False,
        choices=(
            ("allow", _("goes to the provider as it is")),
            ("redact_before_cloud", _("is taken out before it leaves for a cloud")),
            ("local_only", _("never leaves: only local models are called")),
        ),
    )
    debug_log = forms.BooleanField(label=_("Keep prompts for a while, to find faults"), required=False)
    cache_exact = forms.BooleanField(label=_("Answer the same question from the cache"), required=False)
    cache_semantic = forms.BooleanField(label=_("Answer similar questions from the cache, too"), required=False)
    cache_seconds = forms.IntegerField(
        label=_("Seconds an answer is kept"), required=False, min_value=1, max_value=30 * 86_400
    )
    rpm = forms.IntegerField(label=_("Calls a minute"), required=False, min_value=1)
    tpm = forms.IntegerField(label=_("Tokens a minute"), required=False, min_value=1)
    concurrency = forms.IntegerField(label=_("Calls at once"), required=False, min_value=1)

    def __init__(self, *args: Any, models: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        named = self.initial.get("default_model") or ""
        names = sorted({*models, named} - {"", "auto"})
        choices = [("", _("the feature’s")), ("auto", _("auto: chosen by the task")), *((name, name) for name in names)]
        self.fields["default_model"].choices = choices  # type: ignore[attr-defined]

    def groups(self) -> list[tuple[Any, list[Any]]]:
        """Return the fields in groups, for the template."""
        return [(title, [self[name] for name in names]) for title, names in GROUPS]


def values_of(source: str) -> dict[str, Any]:
    """Return the form's values as a YAML source says them. Raises BadRequest (invalid_manifest)."""
    content = content_of(source)
    found = {}
    for name, (path, default) in MEMBERS.items():
        value = value_at(content, path)
        # What a form cannot show (a number where a text belongs) is for the check of the YAML to refuse.
        fits = value is not None and (default is None or isinstance(value, type(default)))
        found[name] = value if fits else default
    return found


def members_changed(given: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return by path what a form was changed to; None where that is what holds without being said."""
    changed: dict[str, Any] = {}
    for name, (path, default) in MEMBERS.items():
        value = _plain(given.get(name), default)
        if value != _plain(before.get(name), default):
            changed[path] = None if value == default else value
    return changed


def _plain(value: Any, default: Any) -> Any:
    if isinstance(value, str):
        value = value.replace("\r\n", "\n")
        # A textarea takes a trailing line break with it or not.
        return value.rstrip("\n") or default
    if value is None or value == "":
        return default
    return value


def read_form(source: str) -> tuple[dict[str, Any], BadRequest | None]:
    """Return the form's values of a source, empty with the refusal where it cannot be read."""
    try:
        return values_of(source), None
    except BadRequest as error:
        return {name: default for name, (_path, default) in MEMBERS.items()}, error
