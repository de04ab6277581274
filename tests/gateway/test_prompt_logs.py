"""Prompts that are kept where a manifest asks for it, and that are found nowhere else."""

import json
import logging
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from django.db import connection

from apps.developers.models import AuditEvent, Scope
from apps.gateway import prompt_logs as module
from apps.usage.models import PromptLog
from tests.gateway.api_factories import make_developer_token, make_stranger
from tests.gateway.test_privacy_live import EMAIL, IMAGE, code, publish, sse
from tests.live import MODEL, Server, World, wait_until
from tests.provider_double import Behaviour, ProviderDouble

REDACTED = "privacy: {redacted_prompt: true, retention_days: 3}"
DEBUG = "privacy: {debug_log: true}"
MARKER = "xyzzy-seven-plover"


def logged(world: World, response: httpx.Response, token: str = "") -> dict[str, Any]:
    """Return the log of a call as its app's developer reads it."""
    request_id = response.headers["x-request-id"]
    wait_until(lambda: PromptLog.objects.filter(request_id=request_id).exists())
    page = ask(world, token or make_developer_token(world.developer_id), request_id=request_id)
    assert page.status_code == 200, page.text
    (row,) = page.json()["data"]
    return dict(row)


def ask(world: World, token: str, app_id: str = "", **query: Any) -> httpx.Response:
    url = f"{world.base_url}/v1/apps/{app_id or world.app_id}/prompt-logs"
    return httpx.get(url, params=query, headers={"authorization": f"Bearer {token}"}, timeout=30)


def test_nothing_is_kept_unasked(world: World, double: ProviderDouble) -> None:
    publish(world, "privacy: {mode: redact_before_cloud, prompt_hash: true}")
    world.chat("Hello")
    world.wait_for_event()
    assert not PromptLog.objects.exists()


def test_prompt_is_kept_redacted_though_the_provider_got_it_whole(world: World, double: ProviderDouble) -> None:
    publish(world, REDACTED)
    answer = world.chat(f"Write to {EMAIL}")
    assert EMAIL.encode() in double.requests[0].raw_body
    row = logged(world, answer)
    assert row["prompt"] == '[{"role":"user","content":"Write to [EMAIL_1]"}]'
    assert (row["kind"], row["answer"], row["truncated"], row["feature_key"]) == ("redacted", None, False, "default")
    assert datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["at"]) == timedelta(days=3)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["allow", "redact_before_cloud"])
def test_debug_log_keeps_prompt_and_answer_redacted(
    world: World, double: ProviderDouble, mode: str, stream: bool
) -> None:
    publish(world, f"privacy: {{mode: {mode}, debug_log: true, detectors: [phone]}}")
    # With phones alone taken out, the provider sees the address and tells it.
    said = f"I wrote to {EMAIL} twice"
    double.script(sse({"content": said[:12]}, {"content": said[12:]}) if stream else Behaviour(text=said))
    with world.stream(f"Write to {EMAIL}") if stream else nullcontext(world.chat(f"Write to {EMAIL}")) as answer:
        answer.read()
    row = logged(world, answer)
    assert row["answer"] == "I wrote to [EMAIL_1] twice"
    assert "[EMAIL_1]" in row["prompt"] and EMAIL not in row["prompt"]


def test_placeholders_in_a_logged_answer_are_those_of_the_log(world: World, double: ProviderDouble) -> None:
    publish(world, "privacy: {mode: redact_before_cloud, debug_log: true}")
    double.script(Behaviour(text="To [EMAIL_1] and bob@example.org"))
    answer = world.chat(f"Write to {EMAIL}")
    assert logged(world, answer)["answer"] == "To [EMAIL_1] and [EMAIL_2]"


def test_images_and_long_prompts_are_not_kept(
    world: World, double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world, REDACTED)
    monkeypatch.setattr(module, "MOST_TEXT", 100)
    content = [{"type": "text", "text": "What?"}, {"type": "file", "file": {"file_data": "aGVsbG8="}}]
    row = logged(world, world.chat(content))  # type: ignore[arg-type]
    assert row["prompt"] == '[{"role":"user","content":[{"type":"text","text":"What?"},"omitted"]}]'
    row = logged(world, world.chat("long " * 100))
    assert len(row["prompt"]) == 100 and row["truncated"] is True


def test_call_that_no_provider_served_is_kept_too(world: World, double: ProviderDouble) -> None:
    publish(world, DEBUG)
    double.script(Behaviour(status=400))
    answer = world.chat("Hello")
    assert answer.status_code >= 400
    assert logged(world, answer)["answer"] is None


def test_full_queue_and_broken_store_drop_and_delay_nobody(
    server: Server,
    world: World,
    double: ProviderDouble,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish(world, REDACTED)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(MARKER)

    monkeypatch.setattr(module, "write_prompt_logs", broken)
    assert world.chat("Hello").status_code == 200
    runtime = server.gateway._runtime
    assert runtime is not None
    wait_until(lambda: runtime.prompt_logs.dropped == 1)
    monkeypatch.setattr(module, "MOST_QUEUED", 0)
    assert world.chat("Hello").status_code == 200
    wait_until(lambda: runtime.prompt_logs.dropped == 2)
    reasons = [record.reason for record in caplog.records if record.getMessage() == "prompt logs dropped"]  # type: ignore[attr-defined]
    assert reasons == ["RuntimeError", "queue full"]
    assert MARKER not in caplog.text
    monkeypatch.undo()
    assert logged(world, world.chat("Again"))["kind"] == "redacted"


def test_stranger_and_lesser_tokens_read_no_prompts(world: World, double: ProviderDouble) -> None:
    publish(world, DEBUG)
    answer = world.chat(MARKER)
    logged(world, answer)
    request_id = answer.headers["x-request-id"]
    _, strange_app, stranger = make_stranger()
    assert code(ask(world, stranger, request_id=request_id)) == (404, "app_not_found")
    assert ask(world, stranger, strange_app, request_id=request_id).json()["data"] == []
    lesser = make_developer_token(world.developer_id, [s for s in Scope.values if s != Scope.PROMPTS_READ])
    assert code(ask(world, lesser, request_id=request_id)) == (403, "insufficient_scope")
    assert code(ask(world, world.token, request_id=request_id)) == (401, "invalid_token")
    assert httpx.get(f"{world.base_url}/v1/apps/{world.app_id}/prompt-logs").status_code == 401


def test_list_tells_of_logs_and_reading_one_is_recorded(world: World, double: ProviderDouble) -> None:
    publish(world, REDACTED)
    token = make_developer_token(world.developer_id, [Scope.PROMPTS_READ])
    answers = [world.chat("One"), world.chat("Two")]
    wait_until(lambda: PromptLog.objects.count() == 2)
    page = ask(world, token, limit=1).json()
    assert page["has_more"] is True and "prompt" not in page["data"][0]
    rest = ask(world, token, limit=1, cursor=page["next_cursor"]).json()
    assert {page["data"][0]["request_id"], rest["data"][0]["request_id"]} == {
        answer.headers["x-request-id"] for answer in answers
    }
    assert not AuditEvent.objects.filter(action="prompt_log.read").exists()
    logged(world, answers[0], token)
    assert AuditEvent.objects.get(action="prompt_log.read").actor.startswith("token:dtok_")


def test_prompts_are_in_no_log_line_no_table_and_no_strangers_answer(
    world: World, double: ProviderDouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    publish(world, "privacy: {mode: redact_before_cloud, debug_log: true, prompt_hash: true}")
    told = {"message": f"bad {MARKER}", "code": MARKER, "type": MARKER, "param": MARKER}
    headers = {"idempotency-key": "k"}
    calls = [
        world.chat(MARKER, headers=headers),
        world.chat(MARKER, headers=headers),
        world.chat(MARKER, stream=True),
        world.chat(f"{MARKER} [[fail=close-within]]", stream=True),
        world.chat(f"{MARKER} [[wrong-json]]"),
        world.chat(f"{MARKER} [[status-500]]"),
        world.chat([{"type": "text", "text": MARKER}, IMAGE]),  # type: ignore[arg-type]
        world.chat(MARKER, max_tokens="many"),
        world.chat(MARKER, tools=MARKER),
        httpx.post(f"{world.base_url}/v1/chat/completions", content=MARKER, headers=world.headers()),
        httpx.post(f"{world.base_url}/v1/messages", json={"model": MODEL, "messages": MARKER}, headers=world.headers()),
        httpx.post(f"{world.base_url}/v1/responses", json={"model": MODEL, "input": 5, "x": MARKER}),
    ]
    double.script(Behaviour(status=400, raw=json.dumps({"error": told}).encode()))
    calls.append(world.chat(MARKER))
    assert {response.status_code for response in calls} >= {200, 400, 502}
    wait_until(lambda: PromptLog.objects.filter(request_id=calls[-1].headers["x-request-id"]).exists())

    for record in caplog.records:
        assert MARKER not in f"{record.getMessage()} {vars(record)} {record.exc_text}", record.name
    assert MARKER not in caplog.text
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')  # noqa: S608 (our own tables' names)
            rows = " ".join(row for (row,) in cursor.fetchall())
            assert MARKER not in rows and MARKER.encode().hex() not in rows, table
    _, _, stranger = make_stranger()
    for path in ("usage", "prompt-logs"):
        url = f"{world.base_url}/v1/apps/{world.app_id}/{path}"
        assert MARKER not in httpx.get(url, headers={"authorization": f"Bearer {stranger}"}).text
    own = make_developer_token(world.developer_id, [Scope.USAGE_READ])
    usage = httpx.get(
        f"{world.base_url}/v1/apps/{world.app_id}/usage", headers={"authorization": f"Bearer {own}"}, timeout=30
    )
    assert usage.status_code == 200 and MARKER not in usage.text
