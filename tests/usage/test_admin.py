"""Operators find calls by whose token made them, set budgets, and see a webhook's secret once."""

import pytest
from django.test import Client
from django.urls import reverse

from apps.core.money import nano_from_usd
from apps.features.models import VirtualSession
from apps.usage.models import AlertEndpoint, Budget, UsageEvent
from tests.usage.factories import Desk, make_desk, settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def test_call_is_found_by_its_session_and_shown_to_the_second(admin_client: Client, desk: Desk) -> None:
    session = VirtualSession.objects.get()
    settle(desk.record(principal_id=session.id), desk.record(principal_id="sess_other"))
    event = UsageEvent.objects.get(principal_id=session.id)
    page = admin_client.get(reverse("admin:usage_usageevent_changelist"), {"q": session.id}).text
    assert event.request_id in page
    assert UsageEvent.objects.get(principal_id="sess_other").request_id not in page
    assert event.effective_at.strftime("%H:%M:%S") in page
    nobody = admin_client.get(reverse("admin:usage_usageevent_changelist"), {"q": "sess_unknown"}).text
    assert event.request_id not in nobody


def test_call_is_found_by_its_key(admin_client: Client, desk: Desk) -> None:
    settle(desk.record(principal_id="key_1", end_user_id=None), desk.record())
    page = admin_client.get(reverse("admin:usage_usageevent_changelist"), {"q": "key_1"}).text
    assert UsageEvent.objects.get(principal_id="key_1").request_id in page
    assert UsageEvent.objects.exclude(principal_id="key_1").get().request_id not in page


def test_budget_is_set_changed_and_refused_in_the_admin(admin_client: Client, desk: Desk) -> None:
    form = {
        "developer_id": "",
        "scope": "app",
        "scope_id": desk.world.app_id,
        "period": "month",
        "amount_usd": "12.50",
        "hard": "on",
        "thresholds": "50,90",
        "enabled": "on",
    }
    add = reverse("admin:usage_budget_add")
    assert admin_client.post(add, form).status_code == 302
    row = Budget.objects.get()
    assert (row.amount_nano, row.hard, row.rollover, row.thresholds) == (nano_from_usd("12.5"), True, False, [50, 90])
    admin_client.post(add, {**form, "scope_id": "app_none"})
    admin_client.post(add, {**form, "period": "day", "amount_usd": "0"})
    assert Budget.objects.count() == 1
    change = reverse("admin:usage_budget_change", args=[row.pk])
    assert "12.5" in admin_client.get(change).text
    changed = {name: form[name] for name in ("thresholds", "enabled")}
    assert admin_client.post(change, {**changed, "amount_usd": "3", "rollover": "on"}).status_code == 302
    row.refresh_from_db()
    assert (row.amount_nano, row.hard, row.rollover) == (nano_from_usd("3"), False, True)


def test_secret_of_an_endpoint_is_shown_once(admin_client: Client, desk: Desk) -> None:
    form = {"developer_id": desk.world.developer_id, "url": "https://example.com/hook"}
    answer = admin_client.post(reverse("admin:usage_alertendpoint_add"), form)
    row = AlertEndpoint.objects.get()
    secret = row.secret.reveal()
    assert secret in answer.text
    assert secret not in admin_client.get(reverse("admin:usage_alertendpoint_change", args=[row.pk])).text
    admin_client.post(reverse("admin:usage_alertendpoint_add"), {"url": "http://127.0.0.1/"})
    assert AlertEndpoint.objects.count() == 1
    listed = reverse("admin:usage_alertendpoint_changelist")
    admin_client.post(listed, {"action": "disable", "_selected_action": [row.pk]})
    assert not AlertEndpoint.objects.get().enabled
