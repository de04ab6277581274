"""The page of queues: when each task ran, what was given up, and that it is tried again by its service."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.billing.models.stripe import StripeEvent
from apps.core import task_runs
from apps.core.clock import now
from apps.core.models import TaskRun
from apps.developers.models import AuditEvent
from apps.usage.models import Alert, UsageEvent
from apps.usage.services.alerts import raise_alert
from modelfaucet.celery import app
from modelfaucet.management.commands.sweep import Job
from tests.admin.test_dashboard import sign_in
from tests.admin.test_every_page import assert_clean
from tests.gateway.api_factories import make_api, settle_call
from tests.live import rate_all

pytestmark = pytest.mark.django_db
PAGE = "/admin/queues/"


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    task_runs._noted.clear()


def again(client: Client, what: str, pk: Any) -> Any:
    return client.post(PAGE, {"what": what, "id": str(pk)})


def given_up(event_id: str = "evt_1") -> StripeEvent:
    return StripeEvent.objects.create(
        id=event_id,
        type="charge.refunded",
        object_id="ch_1",
        livemode=False,
        payload={},
        created_at=now(),
        received_at=now(),
        attempts=80,
        last_error="Later: no such charge",
    )


def lost_alert() -> Alert:
    raise_alert("risk", "one", developer_id=None, scope="app", scope_id="app_1", data={}, now=now())
    Alert.objects.update(next_attempt_at=None, attempts=32, last_error="answered 500")
    return Alert.objects.get()


def test_every_task_of_the_schedule_is_listed(admin_client: Client) -> None:
    page = admin_client.get(PAGE)
    assert_clean(page)
    assert {task.name for task in page.context["tasks"]} == set(app.conf.beat_schedule)
    assert {task.tone for task in page.context["tasks"]} == {"off"}


@pytest.mark.django_db(transaction=True)
def test_a_task_that_runs_fails_and_is_late(admin_client: Client) -> None:
    Job("usage.rate", lambda: 1, 1.0, note=task_runs.note_run).attempt()

    def broken() -> None:
        raise ValueError("out of paper")

    job = Job("billing.draw_lots", broken, 60.0, note=task_runs.note_run)
    job.attempt()
    job.attempt()
    task_runs.note_run("usage.sweep_holds", started_at=now() - timedelta(minutes=9), seconds=0.1)
    page = admin_client.get(PAGE)
    tasks = {task.name: task for task in page.context["tasks"]}
    assert tasks["usage.rate"].tone == "good"
    assert tasks["billing.draw_lots"].tone == "bad"
    assert tasks["billing.draw_lots"].run.failures == 2
    assert tasks["usage.sweep_holds"].tone == "warn"
    assert "ValueError: out of paper" in page.text
    assert_clean(page)


def test_a_run_is_noted_at_most_every_ten_seconds_but_a_failure_at_once() -> None:
    begin = now()
    for number in range(3):
        task_runs.note_run("one", started_at=begin + timedelta(seconds=number), seconds=0.5)
    assert TaskRun.objects.get().started_at == begin
    task_runs.note_run("one", started_at=begin + timedelta(seconds=4), seconds=0.5, problem="no")
    row = TaskRun.objects.get()
    assert (row.failures, row.error, row.succeeded_at) == (1, "no", begin)
    task_runs.note_run("one", started_at=begin + timedelta(seconds=5), seconds=0.5)
    row = TaskRun.objects.get()
    assert (row.failures, row.error) == (0, "")
    assert row.failed_at == begin + timedelta(seconds=4)


def test_a_worker_notes_what_it_ran() -> None:
    app.loader.import_default_modules()
    task = app.tasks["usage.purge_idempotency"]
    task.apply(throw=True)
    assert TaskRun.objects.get().name == "usage.purge_idempotency"


def test_a_call_set_aside_is_rated_again(admin_client: Client, client: Client) -> None:
    api = make_api(client)
    request_id = settle_call(api.world.token)
    UsageEvent.objects.filter(request_id=request_id).update(rating_error="no terms")
    assert rate_all() == 0
    page = admin_client.get(PAGE)
    assert_clean(page)
    assert request_id in page.text and "no terms" in page.text
    assert again(admin_client, "call", request_id).status_code == 302
    assert rate_all() == 1
    kept = AuditEvent.objects.get(action="usage.rate_again")
    assert kept.detail == {"was": "no terms"}
    again(admin_client, "call", request_id)
    assert "was not set aside" in admin_client.get(PAGE).text


def test_an_event_given_up_is_handled_again(admin_client: Client) -> None:
    row = given_up()
    page = admin_client.get(PAGE)
    assert_clean(page)
    assert "Later: no such charge" in page.text
    assert again(admin_client, "event", row.pk).status_code == 302
    row.refresh_from_db()
    assert row.next_attempt_at is not None and row.attempts == 0
    assert row.pk not in admin_client.get(PAGE).text


def test_an_alert_given_up_is_delivered_again(admin_client: Client) -> None:
    row = lost_alert()
    page = admin_client.get(PAGE)
    assert_clean(page)
    assert "answered 500" in page.text
    assert again(admin_client, "alert", row.pk).status_code == 302
    row.refresh_from_db()
    assert row.next_attempt_at is not None and row.attempts == 0
    again(admin_client, "alert", row.pk)
    assert "or is about to be" in admin_client.get(PAGE).text


@pytest.mark.parametrize(("what", "pk"), [("alert", "x"), ("call", "a\0b"), ("event", "x" * 300)])
def test_garbage_is_not_tried_again(admin_client: Client, what: str, pk: str) -> None:
    assert again(admin_client, what, pk).status_code == 404


def test_an_unknown_event_is_no_error(admin_client: Client) -> None:
    assert again(admin_client, "event", "evt_nothing").status_code in (302, 404)
    assert again(admin_client, "nothing", "x").status_code == 403


def test_who_may_not_see_a_queue_is_not_told_of_it() -> None:
    row, alert = given_up(), lost_alert()
    page = sign_in("clerk").get(PAGE)
    assert page.status_code == 200
    assert row.pk not in page.text and "answered 500" not in page.text
    assert "tasks" not in page.context
    reader = sign_in("reader", "billing.view_stripeevent", "usage.view_alert")
    page = reader.get(PAGE)
    assert row.pk in page.text and "Try again" not in page.text
    assert again(reader, "event", row.pk).status_code == 403
    assert again(reader, "alert", alert.pk).status_code == 403
    assert Client().get(PAGE)["location"].startswith(reverse("admin:login"))
