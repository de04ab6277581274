"""Logged prompts: sealed in the database, opened under audit, gone after their time."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from apps.core.clock import now
from apps.core.errors import NotFound
from apps.developers.models import AuditEvent
from apps.usage.models import PromptLog
from apps.usage.prompts.queries import prompt_logs_of_app
from apps.usage.services.prompt_logs import PromptEntry, PromptText, open_prompt_log, write_prompt_logs
from apps.usage.tasks import purge_prompts
from apps.vault.services.keys import rewrap_all
from modelfaucet.celery import app as celery

pytestmark = pytest.mark.django_db

TEXT = "tell-me-of-[EMAIL_1]"
ENTRY = PromptEntry(
    request_id="req_1",
    app_id="app_1",
    developer_id="dev_1",
    feature_key="default",
    kind="debug",
    prompt=TEXT,
    answer="an-answer",
    truncated=False,
    retention_days=7,
)


def test_text_is_sealed_and_opened_under_audit() -> None:
    write_prompt_logs([ENTRY, replace(ENTRY, request_id="req_2", kind="redacted", answer=None)], now=now())
    with connection.cursor() as cursor:
        cursor.execute("SELECT prompt_logs::text FROM prompt_logs")
        assert not any(TEXT in row or "an-answer" in row for (row,) in cursor.fetchall())
    row = PromptLog.objects.get(request_id="req_1")
    assert (row.expires_at - row.created_at).days == 7
    assert open_prompt_log(row.id, now=now(), actor="token:dtok_1") == PromptText(prompt=TEXT, answer="an-answer")
    event = AuditEvent.objects.get(action="prompt_log.read")
    assert (event.actor, event.subject_id, event.developer_id) == ("token:dtok_1", row.id, "dev_1")
    assert event.detail == {"request_id": "req_1"}
    assert open_prompt_log(PromptLog.objects.get(request_id="req_2").id, now=now(), actor="x").answer is None


def test_batch_is_stored_whole_or_not_at_all() -> None:
    write_prompt_logs([ENTRY], now=now())
    with pytest.raises(IntegrityError), transaction.atomic():
        write_prompt_logs([replace(ENTRY, request_id="req_2"), ENTRY], now=now())
    assert PromptLog.objects.count() == 1


def test_plain_text_cannot_be_stored() -> None:
    write_prompt_logs([ENTRY], now=now())
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE prompt_logs SET content = 'plain'")


def test_what_is_past_its_time_is_not_shown_and_is_purged() -> None:
    moment = now()
    write_prompt_logs([replace(ENTRY, retention_days=1)], now=moment - timedelta(days=2))
    write_prompt_logs([replace(ENTRY, request_id="req_2")], now=moment - timedelta(days=2))
    assert [log.request_id for log in prompt_logs_of_app("app_1", now=moment, limit=9)] == ["req_2"]
    expired = PromptLog.objects.get(request_id="req_1")
    with pytest.raises(NotFound):
        open_prompt_log(expired.id, now=moment, actor="x")
    assert purge_prompts() == 1
    assert PromptLog.objects.get().request_id == "req_2"
    assert celery.conf.beat_schedule["usage.purge_prompt_logs"]["task"] == purge_prompts.name


def test_logs_of_an_app_are_paged_and_nobody_elses() -> None:
    for number in range(3):
        write_prompt_logs([replace(ENTRY, request_id=f"req_{number}")], now=now())
    write_prompt_logs([replace(ENTRY, request_id="req_x", app_id="app_2")], now=now())
    first = prompt_logs_of_app("app_1", now=now(), limit=2)
    then = prompt_logs_of_app("app_1", now=now(), before=first[-1].id, limit=2)
    assert [log.request_id for log in first + then] == ["req_2", "req_1", "req_0"]
    assert prompt_logs_of_app("app_1", now=now(), request_id="req_x", limit=2) == []


def test_keys_of_the_vault_are_rotated_here_too() -> None:
    write_prompt_logs([ENTRY], now=now())
    tables = {result.table: result for result in rewrap_all(now=now(), actor="test")}
    assert tables["prompt_logs"].current == 1
    assert {"provider_credentials", "app_secrets"} <= tables.keys()


def clerk(client: Client, *permissions: str) -> None:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)


def test_operator_who_may_only_view_sees_no_text(client: Client) -> None:
    write_prompt_logs([ENTRY], now=now())
    clerk(client, "view_promptlog")
    row = PromptLog.objects.get()
    page = client.get(reverse("admin:usage_promptlog_change", args=[row.pk])).text
    assert "req_1" in page and TEXT not in page and "an-answer" not in page
    assert "req_1" in client.get(reverse("admin:usage_promptlog_changelist"), {"q": "req_1"}).text
    assert not AuditEvent.objects.filter(action="prompt_log.read").exists()


def test_operator_with_the_permission_reads_and_is_recorded(client: Client) -> None:
    write_prompt_logs([replace(ENTRY, answer="<b>bold</b>")], now=now())
    clerk(client, "view_promptlog", "read_promptlog")
    row = PromptLog.objects.get()
    page = client.get(reverse("admin:usage_promptlog_change", args=[row.pk])).text
    assert TEXT in page and "&lt;b&gt;bold" in page
    event = AuditEvent.objects.get(action="prompt_log.read")
    assert event.actor == f"user:{User.objects.get(username='clerk').pk}"
    assert TEXT not in client.get(reverse("admin:usage_promptlog_changelist")).text


def test_operator_cannot_read_without_viewing_nor_change_or_delete(client: Client) -> None:
    write_prompt_logs([ENTRY], now=now())
    clerk(client, "read_promptlog", "change_promptlog", "delete_promptlog")
    row = PromptLog.objects.get()
    assert client.post(reverse("admin:usage_promptlog_change", args=[row.pk]), {}).status_code == 403
    assert client.post(reverse("admin:usage_promptlog_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
