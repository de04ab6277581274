"""Vectors of prompts whose answers are cached, for operators: how many there are, of which app, until when."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.admin_base import ReadOnlyAdmin
from apps.usage.models import SemanticEntry


@admin.register(SemanticEntry)
class SemanticEntryAdmin(ReadOnlyAdmin):
    list_display = ("id", "app_id", "feature_key", "model", "created_at", "expires_at")
    search_fields = ("=app_id",)
    ordering = ("-id",)
    fields = (*list_display, "context_hash", "answer_key")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SemanticEntry]:
        return super().get_queryset(request).defer("vector")
