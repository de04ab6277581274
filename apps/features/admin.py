from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms.models import fields_for_model
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, UsdField, actor_of, usd_column
from apps.core.clock import now
from apps.core.shown_once import show_once
from apps.features import admin_local, admin_manifests, services
from apps.features.models import (
    App,
    AppFeature,
    EndUser,
    Entitlement,
    PageLink,
    PricingTerms,
    VirtualKey,
    VirtualSession,
)
from apps.features.services import TermsInput

__all__ = ["admin_local", "admin_manifests"]  # they register their own

TERMS = tuple(TermsInput.__dataclass_fields__)
_FIELDS = fields_for_model(PricingTerms, fields=TERMS)


_ALLOWANCE = usd_column("anonymous_allowance", _("anonymous allowance, USD"))
_MONEY = ("fixed_price", "own_price", "gateway_fee", "byok_fee", "local_fee")
_TERMS_SHOWN: tuple[Any, ...] = (
    "id",
    *(usd_column(name, _FIELDS[name].label) if name in _MONEY else name for name in TERMS),
    "created_at",
)


class TermsForm(forms.ModelForm):
    """The form of something that has terms: they are edited in place and written as a new row."""

    platform_pricing = _FIELDS["platform_pricing"]
    markup_bps = _FIELDS["markup_bps"]
    fixed_price = UsdField(label=_("Fixed price of a request"))
    developer_pricing = _FIELDS["developer_pricing"]
    own_price = UsdField(label=_("Own price of a request"))
    gateway_fee = UsdField(label=_("Fee of a request on the developer's key"))
    byok_fee = UsdField(label=_("Fee of a request on the end user's own key"))
    local_fee = UsdField(label=_("Fee of a request on a local model"))
    share_bps = _FIELDS["share_bps"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        terms = self.instance.terms if self.instance.terms_id is not None else PricingTerms()
        for name in TERMS:
            if name in self.fields:  # absent where the reader may only look
                self.fields[name].initial = getattr(terms, name)

    def terms(self) -> TermsInput:
        return TermsInput(**{name: self.cleaned_data[name] for name in TERMS})

    def terms_changed(self) -> bool:
        return not set(TERMS).isdisjoint(self.changed_data)


class AppForm(TermsForm):
    anonymous_allowance = UsdField(
        label=_("Anonymous allowance"),
        help_text=_("USD granted to each anonymous device; 0 refuses anonymous sessions."),
    )
    public_id = forms.CharField(label=_("Public id"), required=False, help_text=_("Empty: a random one."))


class FeatureInline(admin.TabularInline):
    model = AppFeature
    fields = readonly_fields = ("id", "key", "name", "status", "models_allowed", "default_model", "max_output_tokens")
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(App)
class AppAdmin(ServiceAdmin):
    form = AppForm
    list_display = ("id", "name", "public_id", "developer", "status", _ALLOWANCE, "created_at")
    list_filter = ("status", "created_at")
    list_select_related = ("developer",)
    search_fields = ("id", "public_id", "name", "developer__id", "developer__name")
    autocomplete_fields = ("developer",)
    ordering = ("-id",)
    inlines = (FeatureInline,)
    actions = ("disable", "enable")

    def get_fieldsets(self, request: HttpRequest, obj: App | None = None) -> Any:
        asked = ["developer", "name", "public_id", "allowed_origins", "anonymous_allowance"]
        fields = asked if obj is None else ["id", *asked, "status", "created_at"]
        return [(None, {"fields": fields}), (_("Pricing terms"), {"fields": _terms_fields(self, request, obj)})]

    def get_readonly_fields(self, request: HttpRequest, obj: App | None = None) -> tuple[str, ...]:
        return () if obj is None else ("id", "developer", "public_id", "status", "terms", "created_at")

    def save_model(self, request: HttpRequest, obj: App, form: Any, change: bool) -> None:
        given, who = form.cleaned_data, _who(request)
        asked = {name: given[name] for name in ("name", "allowed_origins", "anonymous_allowance")}
        if not change:
            obj.id = services.create_app(
                developer_id=given["developer"].pk,
                public_id=given["public_id"] or None,
                terms=form.terms(),
                **asked,
                **who,
            )
            return
        services.update_app(app_id=obj.id, **asked, **who)
        if form.terms_changed():
            services.set_app_terms(app_id=obj.id, terms=form.terms(), **who)

    @admin.action(description=_("Disable: refuse every request"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[App]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.suspend_app(app_id=row.id, **who), "disabled")

    @admin.action(description=_("Enable"), permissions=["operate"])
    def enable(self, request: HttpRequest, rows: QuerySet[App]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.resume_app(app_id=row.id, **who), "enabled")


class FeatureForm(TermsForm):
    own_terms = forms.BooleanField(label=_("Own terms"), required=False, help_text=_("Off: the app's terms apply."))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "own_terms" in self.fields:
            self.fields["own_terms"].initial = self.instance.terms_id is not None

    def terms_changed(self) -> bool:
        own = self.cleaned_data["own_terms"]
        return "own_terms" in self.changed_data or (own and super().terms_changed())


@admin.register(AppFeature)
class AppFeatureAdmin(ServiceAdmin):
    form = FeatureForm
    list_display = ("id", "app", "key", "name", "status", "default_model", "max_output_tokens", "affordable_clamp")
    list_filter = ("status", "affordable_clamp")
    list_select_related = ("app",)
    search_fields = ("id", "key", "name", "app__id", "app__public_id", "app__name")
    autocomplete_fields = ("app",)
    ordering = ("-id",)
    actions = ("disable", "enable")

    def get_fieldsets(self, request: HttpRequest, obj: AppFeature | None = None) -> Any:
        asked = ["app", "key", "name", "models_allowed", "default_model", "max_output_tokens", "affordable_clamp"]
        fields = asked if obj is None else ["id", *asked, "manifest", "status", "created_at"]
        terms = _terms_fields(self, request, obj)
        if terms != ["terms"]:
            terms = ["own_terms", *terms]
        return [(None, {"fields": fields}), (_("Pricing terms"), {"fields": terms})]

    def get_readonly_fields(self, request: HttpRequest, obj: AppFeature | None = None) -> tuple[str, ...]:
        return () if obj is None else ("id", "app", "key", "manifest", "status", "terms", "created_at")

    def save_model(self, request: HttpRequest, obj: AppFeature, form: Any, change: bool) -> None:
        given, who = form.cleaned_data, _who(request)
        terms = form.terms() if given["own_terms"] else None
        asked = {name: given[name] for name in ("name", "default_model", "max_output_tokens", "affordable_clamp")}
        asked["models"] = given["models_allowed"]
        if not change:
            app_id, key = given["app"].pk, given["key"]
            obj.id = services.create_feature(app_id=app_id, key=key, terms=terms, **asked, **who)
            return
        services.update_feature(feature_id=obj.id, **asked, **who)
        if form.terms_changed():
            services.set_feature_terms(feature_id=obj.id, terms=terms, **who)

    @admin.action(description=_("Disable: refuse every request"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[AppFeature]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.disable_feature(feature_id=row.id, **who), "disabled")

    @admin.action(description=_("Enable"), permissions=["operate"])
    def enable(self, request: HttpRequest, rows: QuerySet[AppFeature]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.enable_feature(feature_id=row.id, **who), "enabled")


@admin.register(PricingTerms)
class PricingTermsAdmin(ReadOnlyAdmin):
    fields = list_display = readonly_fields = _TERMS_SHOWN
    list_filter = ("platform_pricing", "developer_pricing", "created_at")
    search_fields = ("id__exact",)
    ordering = ("-id",)


@admin.register(EndUser)
class EndUserAdmin(ReadOnlyAdmin):
    list_display = ("id", "app", "anonymous", "status", "created_at")
    list_filter = ("status", "anonymous", "created_at")
    list_select_related = ("app",)
    # Exact, so that the indexes of tables that grow with traffic are used.
    search_fields = ("id__exact", "external_hash__exact", "app__id__exact", "app__public_id__exact")
    search_help_text = _("Id of the end user or of the app, whole.")
    ordering = ("-id",)
    actions = ("disable", "enable")

    @admin.action(description=_("Disable: refuse every request"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[EndUser]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.disable_end_user(end_user_id=row.id, **who), "disabled")

    @admin.action(description=_("Enable"), permissions=["operate"])
    def enable(self, request: HttpRequest, rows: QuerySet[EndUser]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.enable_end_user(end_user_id=row.id, **who), "enabled")


@admin.register(VirtualSession)
class VirtualSessionAdmin(ReadOnlyAdmin):
    list_display = ("id", "app", "feature", "end_user", "assurance", "expires_at", "revoked_at", "created_at")
    list_filter = ("assurance", ("revoked_at", admin.EmptyFieldListFilter), "expires_at")
    list_select_related = ("app", "feature", "end_user")
    search_fields = ("id__exact", "end_user__id__exact", "app__id__exact", "app__public_id__exact")
    search_help_text = _("Id of the session, end user or app, whole.")
    exclude = ("token_hash",)
    ordering = ("-id",)
    actions = ("revoke",)

    @admin.action(description=_("Revoke"), permissions=["operate"])
    def revoke(self, request: HttpRequest, rows: QuerySet[VirtualSession]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.revoke_session(session_id=row.id, **who), "revoked")


@admin.register(PageLink)
class PageLinkAdmin(ReadOnlyAdmin):
    """Links that apps got for their users' own pages: when they were made and opened."""

    list_display = ("id", "session", "created_at", "expires_at", "opened_at")
    list_filter = (("opened_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("id__exact", "session__id__exact")
    search_help_text = _("Id of the link or the session, whole.")
    exclude = ("code_hash",)
    ordering = ("-id",)


class VirtualKeyForm(forms.ModelForm):
    feature_key = forms.SlugField(required=False, label=_("Feature"), help_text=_("Its key. Empty: default."))


@admin.register(VirtualKey)
class VirtualKeyAdmin(ServiceAdmin):
    form = VirtualKeyForm
    list_display = ("id", "name", "hint", "app", "feature", "developer", "expires_at", "revoked_at", "created_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("app", "feature", "developer")
    search_fields = ("id", "name", "hint", "app__id", "app__public_id", "app__name", "developer__id", "developer__name")
    autocomplete_fields = ("app",)
    ordering = ("-id",)
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: VirtualKey | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("app", "name", "feature_key", "expires_at")
        return ("id", "name", "hint", "app", "feature", "developer", "expires_at", "revoked_at", "created_at")

    def has_change_permission(self, request: HttpRequest, obj: VirtualKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: VirtualKey, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        issued, obj.id = services.issue_virtual_key(
            app_id=given["app"].pk,
            name=given["name"],
            feature_key=given["feature_key"] or None,
            expires_at=given["expires_at"],
            now=now(),
            actor=actor_of(request),
        )
        obj.issued = issued  # type: ignore[attr-defined]  # for the answer to this request only

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return show_once(self, request, obj, obj.issued, _now("A new virtual key"))

    @admin.action(description=_("Revoke"), permissions=["operate"])
    def revoke(self, request: HttpRequest, rows: QuerySet[VirtualKey]) -> None:
        who = _who(request)
        self.run(request, rows, lambda row: services.revoke_virtual_key(key_id=row.id, **who), "revoked")


@admin.register(Entitlement)
class EntitlementAdmin(ReadOnlyAdmin):
    """What plans let developers do: see Billing for the plans themselves."""

    list_display = (
        *("developer_id", "plan", "tokens_per_month", "max_virtual_keys", "retention_days", "spent_until"),
        "changed_at",
    )
    list_filter = ("plan", ("spent_until", admin.EmptyFieldListFilter))
    search_fields = ("=developer_id",)
    search_help_text = _("A whole id of a developer.")
    ordering = ("-changed_at",)


def _terms_fields(admin_: ServiceAdmin, request: HttpRequest, obj: Model | None) -> list[str]:
    """Return the terms' own fields where they may be edited, else the link to their row."""
    editable = admin_.has_add_permission(request) if obj is None else admin_.has_change_permission(request, obj)
    return list(TERMS) if editable else ["terms"]


def _who(request: HttpRequest) -> dict[str, Any]:
    return {"now": now(), "actor": actor_of(request)}
