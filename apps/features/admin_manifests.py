"""Manifests for operators: written in a text field, checked, kept in versions."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from apps.core.admin_base import ServiceAdmin, actor_of
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.features.library import templates
from apps.features.manifest_source import MAX_SOURCE
from apps.features.models import FeatureManifest
from apps.features.queries import manifest_in_force, manifest_version
from apps.features.services.manifests import put_manifest, read_manifest, roll_back


class FeatureManifestForm(forms.ModelForm):
    """A manifest as it is written; what is wrong with it is told beside it, and the text stays."""

    source = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 30, "cols": 100, "spellcheck": "false"}),
        strip=False,
        max_length=MAX_SOURCE,
        label=_("Manifest"),
        help_text=_("What it names of models, output and pricing is set on the feature, too."),
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if "source" in given and "source_format" in given:
            try:
                read_manifest(given["source"], given["source_format"])
            except FaucetError as error:
                self.add_error("source", error.message)
        return given


@admin.register(FeatureManifest)
class FeatureManifestAdmin(ServiceAdmin):
    """Versions of manifests: a change is a new one, and an earlier one can be put in force again."""

    form = FeatureManifestForm
    list_display = ("id", "feature", "number", "in_force", "source_format", "created_by", "created_at")
    list_filter = ("source_format", "created_at")
    list_select_related = ("feature",)
    search_fields = ("id__exact", "feature__id__exact", "feature__key", "feature__app__id__exact")
    autocomplete_fields = ("feature",)
    ordering = ("-id",)
    actions = ("put_in_force",)

    @admin.display(boolean=True, description=_("in force"))
    def in_force(self, row: FeatureManifest) -> bool:
        return row.feature.manifest_id == row.id

    def get_fields(self, request: HttpRequest, obj: FeatureManifest | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("feature", "source_format", "source")
        return ("id", "feature", "number", "in_force", "source_format", "source", "created_by", "created_at")

    def get_fieldsets(self, request: HttpRequest, obj: FeatureManifest | None = None) -> Any:
        fields = self.get_fields(request, obj)
        if obj is not None:
            return [(None, {"fields": fields})]
        links = format_html_join(" · ", '<a href="?template={}">{}</a>', ((name, name) for name in templates()))
        return [(None, {"fields": fields, "description": format_html("{} {}", _("Begin with a template:"), links)})]

    def get_readonly_fields(self, request: HttpRequest, obj: FeatureManifest | None = None) -> tuple[str, ...]:
        return () if obj is None else self.get_fields(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: FeatureManifest | None = None) -> bool:
        return False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with what the address names: a template, or the text in force of a feature."""
        initial = super().get_changeform_initial_data(request)
        template = templates().get(str(initial.get("template", "")))
        if template is not None:
            return initial | {"source": template.source, "source_format": "yaml"}
        current = manifest_in_force(str(initial.get("feature", "")))
        if current is not None:
            initial |= {"source": current.source, "source_format": current.source_format}
        return initial

    def save_model(self, request: HttpRequest, obj: FeatureManifest, form: Any, change: bool) -> None:
        given = form.cleaned_data
        feature_id = given["feature"].pk
        source = given["source"].replace("\r\n", "\n")
        number = put_manifest(
            feature_id=feature_id,
            source=source,
            source_format=given["source_format"],
            may_price=True,
            now=now(),
            actor=actor_of(request),
        )
        written = manifest_version(feature_id, number)
        assert written is not None
        obj.id, obj.number = written.id, written.number

    @admin.action(description=_("Put this version in force"), permissions=["operate"])
    def put_in_force(self, request: HttpRequest, rows: QuerySet[FeatureManifest]) -> None:
        who: dict[str, Any] = {"now": now(), "actor": actor_of(request)}

        def put_back(row: FeatureManifest) -> None:
            roll_back(feature_id=row.feature_id, number=row.number, may_price=True, **who)

        self.run(request, rows, put_back, "put in force")
