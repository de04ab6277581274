"""Logged prompts for operators: listed for who may view them, opened only with a permission of its own."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from apps.core.admin_base import ReadOnlyAdmin, actor_of
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.usage.models import PromptLog
from apps.usage.services.prompt_logs import PromptText, open_prompt_log

_LISTED = ("request_id", "app_id", "feature_key", "kind", "created_at", "expires_at")


@admin.register(PromptLog)
class PromptLogAdmin(ReadOnlyAdmin):
    list_display = _LISTED
    list_filter = ("kind",)
    search_fields = ("=request_id", "=app_id")
    search_help_text = _("A whole request or app id.")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PromptLog]:
        return super().get_queryset(request).defer("content")

    def get_fields(self, request: HttpRequest, obj: PromptLog | None = None) -> tuple[str, ...]:
        fields = ("id", *_LISTED, "developer_id")
        return (*fields, "prompt", "answer") if request.user.has_perm("usage.read_promptlog") else fields

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> PromptLog | None:
        """Open the text with the row where it is about to be shown: once a page, and the reader is recorded."""
        row: Any = super().get_object(request, object_id, from_field)
        if row is not None and request.method == "GET" and request.user.has_perm("usage.read_promptlog"):
            try:
                row.opened = open_prompt_log(row.pk, now=now(), actor=actor_of(request))
            except NotFound:
                row.opened = None  # its time is over; it is about to be purged
        return row  # type: ignore[no-any-return]

    @admin.display(description=_("prompt"))
    def prompt(self, row: Any) -> str:
        opened: PromptText | None = row.opened
        return "–" if opened is None else format_html("<pre>{}</pre>", opened.prompt)

    @admin.display(description=_("answer"))
    def answer(self, row: Any) -> str:
        opened: PromptText | None = row.opened
        return "–" if opened is None or opened.answer is None else format_html("<pre>{}</pre>", opened.answer)
