from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, actor_of
from apps.core.clock import now
from apps.core.hashing import keyed_hash
from apps.core.shown_once import show_once
from apps.vault import services
from apps.vault.models import AppSecret, CredentialHealth, FeeConsent, ProviderCredential, Validation

_WRITTEN = (
    *("id", "owner_class", "owner_id", "provider", "base_url", "hint", "status", "replaces"),
    *("validation", "validation_status", "validation_ms", "validated_at", "failing_since", "last_used_at"),
    *("created_at", "audit_trail"),
)
_ASKED = ("label", "models_allowed", "apps_allowed", "features_allowed", "weight", "priority")


class CredentialForm(forms.ModelForm):
    """The secret goes in and never comes back: the field is empty on every page."""

    new_secret = forms.CharField(
        label=_("Secret"),
        max_length=4096,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("The provider's key. On an existing credential: replaces it by a new one, which takes its place."),
    )

    def clean_new_secret(self) -> str:
        secret: str = self.cleaned_data["new_secret"]
        if self.instance.pk in (None, "") and not secret:
            raise forms.ValidationError(_("A new credential needs its secret."))
        return secret


@admin.register(ProviderCredential)
class ProviderCredentialAdmin(ServiceAdmin):
    form = CredentialForm
    list_display = (
        "id",
        "label",
        "provider",
        "owner_class",
        "owner_id",
        "hint",
        "priority",
        "weight",
        "status",
        "validation",
        "failing_since",
        "last_used_at",
    )
    list_filter = ("status", "validation", ("failing_since", admin.EmptyFieldListFilter), "owner_class", "provider")
    list_select_related = ("provider",)
    search_fields = ("id", "label", "owner_id", "hint", "provider__id")
    ordering = ("owner_class", "priority", "id")
    actions = ("validate", "disable", "enable", "delete_for_good")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderCredential]:
        return super().get_queryset(request).defer("secret")

    def get_fields(self, request: HttpRequest, obj: ProviderCredential | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("owner_class", "owner_id", "provider", "base_url", "new_secret", *_ASKED)
        secret = ("new_secret",) if self.has_change_permission(request, obj) else ()
        return (*_WRITTEN, *_ASKED, *secret)

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderCredential | None = None) -> tuple[str, ...]:
        return () if obj is None else _WRITTEN

    @admin.display(description=_("Audit"))
    def audit_trail(self, row: ProviderCredential) -> str:
        query = urlencode({"subject_type": "credential", "q": row.id})
        return format_html('<a href="{}?{}">{}</a>', reverse("admin:developers_auditevent_changelist"), query, row.id)

    def save_model(self, request: HttpRequest, obj: ProviderCredential, form: Any, change: bool) -> None:
        given, who = form.cleaned_data, _who(request)
        asked = {name: given[name] for name in _ASKED}
        if not change:
            obj.id = services.add_credential(
                owner_class=given["owner_class"],
                owner_id=given["owner_id"],
                provider=given["provider"].pk,
                base_url=given["base_url"],
                secret=given["new_secret"],
                **asked,
                **who,
            )
            self._try_later(request, obj.id)
            return
        services.update_credential(obj.id, **asked, **who)
        if given["new_secret"]:
            obj.id = services.rotate_credential(obj.id, secret=given["new_secret"], **who)
            self._try_later(request, obj.id)

    def _try_later(self, request: HttpRequest, credential_id: str) -> None:
        """Try the key once the form's transaction is over: the operator is told, and a bad key is stored all the same,
        as the provider may be one that is not up yet."""
        transaction.on_commit(lambda: self._try(request, credential_id))

    def _try(self, request: HttpRequest, credential_id: str) -> None:
        check = services.validate_credential(credential_id, **_who(request))
        level = messages.SUCCESS if check.result == Validation.OK else messages.WARNING
        said = check.result.label if check.status is None else f"{check.result.label} ({check.status}, {check.ms} ms)"
        self.message_user(request, _now("%(id)s: %(said)s") % {"id": credential_id, "said": said}, level)

    @admin.action(description=_("Validate: try it with its provider"), permissions=["operate"])
    def validate(self, request: HttpRequest, rows: QuerySet[ProviderCredential]) -> None:
        self.run(request, rows, lambda row: self._try(request, row.id), "validated")

    @admin.action(description=_("Delete for good: erase the key and those it replaced"), permissions=["operate"])
    def delete_for_good(self, request: HttpRequest, rows: QuerySet[ProviderCredential]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.delete_credential(row.id, **who), "deleted")

    @admin.action(description=_("Disable: call no provider with it"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[ProviderCredential]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.disable_credential(row.id, **who), "disabled")

    @admin.action(description=_("Enable"), permissions=["operate"])
    def enable(self, request: HttpRequest, rows: QuerySet[ProviderCredential]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.enable_credential(row.id, **who), "enabled")


@admin.register(FeeConsent)
class FeeConsentAdmin(ReadOnlyAdmin):
    list_display = ("id", "end_user_id", "app_id", "mode", "fee_nano", "acknowledged_at")
    list_filter = ("mode", "acknowledged_at")
    search_fields = ("id", "end_user_id", "app_id")
    ordering = ("-id",)


@admin.register(AppSecret)
class AppSecretAdmin(ServiceAdmin):
    list_display = ("id", "app", "hint", "created_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("app",)
    search_fields = ("id", "hint", "app__id", "app__public_id", "app__name")
    autocomplete_fields = ("app",)
    ordering = ("-id",)
    actions = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AppSecret]:
        return super().get_queryset(request).defer("secret")

    def get_fields(self, request: HttpRequest, obj: AppSecret | None = None) -> tuple[str, ...]:
        return ("app",) if obj is None else ("id", "app", "hint", "created_at", "revoked_at")

    def has_change_permission(self, request: HttpRequest, obj: AppSecret | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: AppSecret, form: forms.ModelForm, change: bool) -> None:
        app_id = form.cleaned_data["app"].pk
        issued = services.issue_app_secret(app_id, now=now(), actor=actor_of(request))
        obj.id = AppSecret.objects.values_list("id", flat=True).get(secret_hash=keyed_hash("app_secret", issued))
        obj.issued = issued  # type: ignore[attr-defined]  # for the answer to this request only

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return show_once(self, request, obj.app, obj.issued, _now("A new app secret"))

    @admin.action(description=_("Revoke: refuse it and the user tokens signed with it"), permissions=["operate"])
    def revoke(self, request: HttpRequest, rows: QuerySet[AppSecret]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.revoke_app_secret(row.id, **who), "revoked")


def _who(request: HttpRequest) -> dict[str, Any]:
    return {"now": now(), "actor": actor_of(request)}


@admin.register(CredentialHealth)
class CredentialHealthAdmin(ReadOnlyAdmin):
    list_display = (
        *("credential", "down", "consecutive_failures", "result", "http_status", "latency_ms"),
        *("checked_at", "changed_at"),
    )
    list_filter = ("down", "result", "credential__provider")
    list_select_related = ("credential",)
    search_fields = ("credential__id", "credential__label")
