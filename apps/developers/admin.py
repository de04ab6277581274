from collections.abc import Iterator
from csv import writer
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from apps.core.admin_base import ReadOnlyAdmin, ServiceAdmin, actor_of
from apps.core.clock import now
from apps.core.shown_once import show_once
from apps.developers.models import AuditEvent, Developer, DeveloperToken, Invitation, Member, Scope
from apps.developers.services import developers, tokens


class MemberInline(admin.TabularInline):
    model = Member
    fields = readonly_fields = ("id", "user", "role", "created_at")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Developer | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Developer | None = None) -> bool:
        return False


@admin.register(Developer)
class DeveloperAdmin(ServiceAdmin):
    list_display = ("id", "name", "email", "status", "created_at")
    list_filter = ("status",)
    search_fields = ("id", "name", "email")
    fields = ("id", "name", "email", "status", "created_at")
    readonly_fields = ("id", "status", "created_at")
    inlines = (MemberInline,)
    actions = ("disable", "enable")

    def save_model(self, request: HttpRequest, obj: Developer, form: forms.ModelForm, change: bool) -> None:
        if change:
            developers.update_developer(obj.id, now=now(), actor=actor_of(request), **form.cleaned_data)
        else:
            obj.id = developers.create_developer(now=now(), actor=actor_of(request), **form.cleaned_data)

    @admin.action(description=_("Disable: refuse its apps, keys and tokens"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[Developer]) -> None:
        self.run(
            request,
            rows,
            lambda row: developers.disable_developer(row.id, now=now(), actor=actor_of(request)),
            "disabled",
        )

    @admin.action(description=_("Enable"), permissions=["operate"])
    def enable(self, request: HttpRequest, rows: QuerySet[Developer]) -> None:
        self.run(
            request,
            rows,
            lambda row: developers.enable_developer(row.id, now=now(), actor=actor_of(request)),
            "enabled",
        )


@admin.register(Member)
class MemberAdmin(ServiceAdmin):
    list_display = ("id", "developer", "user", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("developer", "user")
    search_fields = ("id", "developer__id", "developer__name", "user__username", "user__email")
    autocomplete_fields = ("developer", "user")
    fields = ("developer", "user", "role", "created_at")
    readonly_fields = ("created_at",)
    actions = ("remove",)

    def get_readonly_fields(self, request: HttpRequest, obj: Member | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("developer", "user", *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: Member, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        if change:
            developers.change_role(obj.id, given["role"], now=now(), actor=actor_of(request))
        else:
            obj.id = developers.add_member(
                given["developer"].id, given["user"].pk, given["role"], now=now(), actor=actor_of(request)
            )

    @admin.action(description=_("Remove from the developer"), permissions=["operate"])
    def remove(self, request: HttpRequest, rows: QuerySet[Member]) -> None:
        self.run(
            request, rows, lambda row: developers.remove_member(row.id, now=now(), actor=actor_of(request)), "removed"
        )


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    list_display = ("id", "developer", "email", "role", "invited_by", "expires_at", "accepted_at", "revoked_at")
    list_filter = ("role", ("accepted_at", admin.EmptyFieldListFilter), ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("developer",)
    search_fields = ("id", "email", "developer__id", "developer__name")
    exclude = ("token_hash",)


class TokenForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(choices=Scope, widget=forms.CheckboxSelectMultiple, label=_("Scopes"))


@admin.register(DeveloperToken)
class DeveloperTokenAdmin(ServiceAdmin):
    form = TokenForm
    list_display = ("id", "developer", "name", "hint", "scopes", "expires_at", "revoked_at", "last_used_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("developer",)
    search_fields = ("id", "developer__id", "developer__name", "name", "hint")
    autocomplete_fields = ("developer", "parent")
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: DeveloperToken | None = None) -> tuple[str, ...]:
        asked = ("developer", "name", "scopes", "expires_at", "parent")
        return (
            asked if obj is None else ("id", *asked, "hint", "revoked_at", "last_used_at", "created_at", "created_by")
        )

    def has_change_permission(self, request: HttpRequest, obj: DeveloperToken | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: DeveloperToken, form: forms.ModelForm, change: bool) -> None:
        given: dict[str, Any] = form.cleaned_data
        issued, obj.id = tokens.issue_token(
            given["developer"].id,
            given["name"],
            given["scopes"],
            given["expires_at"],
            given["parent"] and given["parent"].id,
            now=now(),
            actor=actor_of(request),
        )
        obj.issued = issued  # type: ignore[attr-defined]  # for the answer to this request only

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return show_once(self, request, obj, obj.issued, _now("A new developer token"))

    @admin.action(description=_("Revoke, with every token issued by it"), permissions=["operate"])
    def revoke(self, request: HttpRequest, rows: QuerySet[DeveloperToken]) -> None:
        self.run(request, rows, lambda row: tokens.revoke_token(row.id, now=now(), actor=actor_of(request)), "revoked")


class _Echo:
    def write(self, line: str) -> str:
        return line


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "subject_type", "subject_id", "developer_id", "detail")
    list_filter = ("action", "subject_type", "at")
    search_fields = ("id", "actor", "action", "subject_id", "developer_id")
    ordering = ("-at", "-id")
    date_hierarchy = "at"
    actions = ("export",)

    @admin.action(description=_("Export as CSV"))
    def export(self, request: HttpRequest, rows: QuerySet[AuditEvent]) -> StreamingHttpResponse:
        columns = ("id", "at", "actor", "developer_id", "action", "subject_type", "subject_id", "detail")

        def lines() -> Iterator[str]:
            csv = writer(_Echo())
            yield csv.writerow(columns)
            for row in rows.order_by("at", "id").iterator(chunk_size=1000):
                yield csv.writerow([_cell(getattr(row, column)) for column in columns])

        headers = {"content-disposition": 'attachment; filename="audit.csv"'}
        return StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8", headers=headers)


def _cell(value: Any) -> str:
    """Return a value as text that no spreadsheet takes for a formula."""
    text = "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
