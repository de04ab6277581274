"""Prompts that a manifest's opt-in keeps: stored in batches, opened under audit, purged when their time is over."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from django.db import transaction
from django.db.models import F

from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.developers.services import audit
from apps.features.entitlements import entitlements_of
from apps.usage.models import PromptLog

# More than any manifest keeps.
MAX_DAYS = 366


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """What is to be kept of one call. Texts are redacted; `answer` is None but for debugging."""

    request_id: str
    app_id: str
    developer_id: str
    feature_key: str
    kind: str
    prompt: str
    answer: str | None
    truncated: bool
    retention_days: int


class PromptText(msgspec.Struct, frozen=True, kw_only=True):
    """A logged prompt, opened. `prompt` is JSON: messages, or the input of embeddings."""

    prompt: str
    answer: str | None = None
    truncated: bool = False


def write_prompt_logs(entries: Sequence[PromptEntry], *, now: datetime) -> None:
    """Store what is to be kept of some calls, all or nothing: no longer than their developers' plans keep anything."""
    developers = {entry.developer_id for entry in entries}
    plans = {developer: entitlements_of(developer) for developer in developers}
    kept = {developer: plan.retention_days for developer, plan in plans.items() if plan is not None}
    with transaction.atomic():
        for entry in entries:
            text = PromptText(prompt=entry.prompt, answer=entry.answer, truncated=entry.truncated)
            PromptLog(
                id=new_id("plog"),
                request_id=entry.request_id,
                app_id=entry.app_id,
                developer_id=entry.developer_id,
                feature_key=entry.feature_key,
                kind=entry.kind,
                content=msgspec.json.encode(text).decode(),
                created_at=now,
                expires_at=now + timedelta(days=min(entry.retention_days, kept.get(entry.developer_id) or MAX_DAYS)),
            ).save(force_insert=True)


def open_prompt_log(log_id: str, *, now: datetime, actor: str) -> PromptText:
    """Return the text of a log, and record who read it. Raises NotFound where there is none, or its time is over."""
    with transaction.atomic():
        row = PromptLog.objects.filter(id=log_id, expires_at__gt=now).first()
        if row is None:
            raise NotFound("There is no such prompt log.", code="prompt_log_not_found")
        audit.record(
            "prompt_log.read",
            "prompt_log",
            row.id,
            actor=actor,
            now=now,
            developer_id=row.developer_id,
            detail={"request_id": row.request_id},
        )
        return msgspec.json.decode(row.content.reveal(), type=PromptText)


def purge_prompt_logs(*, now: datetime) -> int:
    """Delete the logs whose time is over and return how many there were."""
    deleted, _ = PromptLog.objects.filter(expires_at__lte=now).delete()
    return deleted


def bound_prompt_logs(days: int, *, developer_id: str | None = None, except_for: Collection[str] = ()) -> int:
    """Keep a developer's logs no longer than `days` after they were written, and return how many that shortens.

    Without a developer: those of all but `except_for`. For plans that keep less than the one before.
    """
    rows = PromptLog.objects.exclude(developer_id__in=except_for)
    if developer_id is not None:
        rows = rows.filter(developer_id=developer_id)
    latest = F("created_at") + timedelta(days=days)
    return rows.filter(expires_at__gt=latest).update(expires_at=latest)
