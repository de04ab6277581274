"""The inbox as operators see it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from apps.billing.models.stripe import StripeEvent
from apps.billing.services import handlers, inbox
from apps.core.clock import now
from tests.fakestripe import FakeStripe, event_of

pytestmark = pytest.mark.django_db
URL = reverse("admin:billing_stripeevent_changelist")


@pytest.fixture
def events(fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give an event of each state by its name."""
    monkeypatch.setattr(inbox, "MOST_ATTEMPTS", 1)
    monkeypatch.setitem(handlers.HANDLERS, "test.handled", lambda event: None)
    monkeypatch.setitem(handlers.HANDLERS, "test.given_up", lambda event: 1 / 0)

    def fail_often(event: Any) -> None:
        monkeypatch.setattr(inbox, "MOST_ATTEMPTS", 9)
        raise handlers.Later("no such thing")

    monkeypatch.setitem(handlers.HANDLERS, "test.failing", fail_often)
    ids = {}
    for state in ("handled", "ignored", "given_up", "failing", "waiting"):
        event = event_of(f"test.{state}", {"id": f"obj_{state}"}, clock=fakestripe.clock)
        given = fakestripe.webhooks.delivery(event)
        ids[state] = inbox.receive(given.body, given.signature, now=now()).event_id
        if state != "waiting":
            inbox.handle_next(now=now())
    return ids


def shown(response: Any, events: dict[str, str]) -> set[str]:
    assert response.status_code == 200
    return {state for state, event_id in events.items() if event_id in response.text}


@pytest.mark.parametrize("state", ["handled", "ignored", "given_up", "failing", "waiting"])
def test_events_are_filtered_by_state(admin_client: Client, events: dict[str, str], state: str) -> None:
    assert shown(admin_client.get(URL), events) == set(events)
    assert shown(admin_client.get(URL, {"state": state}), events) == {state}


def test_events_are_found_by_their_id_and_their_objects(admin_client: Client, events: dict[str, str]) -> None:
    assert shown(admin_client.get(URL, {"q": "obj_failing"}), events) == {"failing"}
    assert shown(admin_client.get(URL, {"q": events["handled"]}), events) == {"handled"}
    assert shown(admin_client.get(URL, {"q": "obj_"}), events) == set()


def test_an_event_is_handled_again(
    admin_client: Client, events: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for state in ("handled", "given_up"):
        monkeypatch.setitem(handlers.HANDLERS, f"test.{state}", lambda event: seen.append(event.id))
    again = {"action": "handle_again", "_selected_action": [events["given_up"], events["handled"]]}
    assert admin_client.post(URL, again, follow=True).status_code == 200
    assert inbox.handle_events(now=now()) == 3  # and the one that waits
    assert sorted(seen) == sorted([events["given_up"], events["handled"]])
    StripeEvent.objects.filter(pk=events["failing"]).update(last_error="", next_attempt_at=now() + timedelta(minutes=1))
    page = admin_client.post(URL, {**again, "_selected_action": [events["failing"]]}, follow=True)
    assert "being handled now" in page.text


def test_who_only_looks_does_not_handle(client: Client, events: dict[str, str]) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_stripeevent"))
    client.force_login(clerk)
    client.post(URL, {"action": "handle_again", "_selected_action": [events["given_up"]]})
    assert StripeEvent.objects.get(pk=events["given_up"]).next_attempt_at is None


def test_an_event_cannot_be_changed_or_deleted(admin_client: Client, events: dict[str, str]) -> None:
    page = reverse("admin:billing_stripeevent_change", args=[events["handled"]])
    assert "obj_handled" in admin_client.get(page).text
    assert admin_client.post(page, {"type": "x"}).status_code == 403
    assert admin_client.post(
        URL, {"action": "delete_selected", "_selected_action": [events["handled"]]}
    ).status_code in (
        200,
        302,
    )
    assert StripeEvent.objects.count() == 5
