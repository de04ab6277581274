"""What other rooms may read of logged prompts: that they exist. Their text is opened by a service, under audit."""

from dataclasses import dataclass
from datetime import datetime

from apps.usage.models import PromptLog


@dataclass(frozen=True, slots=True)
class PromptLogInfo:
    """A logged prompt without its text."""

    id: str
    request_id: str
    feature_key: str
    kind: str
    created_at: datetime
    expires_at: datetime


def prompt_logs_of_app(
    app_id: str, *, now: datetime, request_id: str | None = None, before: str | None = None, limit: int
) -> list[PromptLogInfo]:
    """Return at most `limit` logs of an app whose time is not over, newest first, older than the log `before`."""
    rows = PromptLog.objects.filter(app_id=app_id, expires_at__gt=now)
    if request_id is not None:
        rows = rows.filter(request_id=request_id)
    if before is not None:
        rows = rows.filter(id__lt=before)
    names = ("id", "request_id", "feature_key", "kind", "created_at", "expires_at")
    return [PromptLogInfo(*row) for row in rows.order_by("-id").values_list(*names)[:limit]]
