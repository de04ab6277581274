from django.contrib import admin

from apps.core.admin_base import ReadOnlyAdmin
from apps.core.models import ForgottenCaller, PolicyEpoch, TaskRun


@admin.register(PolicyEpoch)
class PolicyEpochAdmin(ReadOnlyAdmin):
    """The number that moves with every change the gateways must see: whether it moves tells that they do."""

    list_display = ("id", "number")


@admin.register(ForgottenCaller)
class ForgottenCallerAdmin(ReadOnlyAdmin):
    """Callers that gateways had to load again within the last hour."""

    list_display = ("id", "kind", "subject_id", "created_at")
    list_filter = ("kind", "created_at")
    search_fields = ("subject_id__exact",)
    ordering = ("-id",)


@admin.register(TaskRun)
class TaskRunAdmin(ReadOnlyAdmin):
    """The last run of each scheduled task, and what the last failure said."""

    list_display = ("name", "started_at", "duration_ms", "failures", "failed_at", "succeeded_at", "error")
    search_fields = ("name",)
    ordering = ("name",)
