import csv
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.developers.models import AuditEvent, Developer, DeveloperToken, Member
from apps.developers.services.audit import record
from apps.developers.services.developers import add_member
from apps.developers.services.tokens import authenticate_token
from tests.developers.factories import NOW, WHO, make_developer, make_token, make_user

pytestmark = pytest.mark.django_db
TABLES = ("developer", "member", "developertoken", "auditevent")


def listing(table: str) -> str:
    return reverse(f"admin:developers_{table}_changelist")


def act(client: Client, table: str, action: str, *row_ids: str) -> Any:
    return client.post(listing(table), {"action": action, "_selected_action": row_ids}, follow=True)


def add(client: Client, table: str, **fields: Any) -> Any:
    return client.post(reverse(f"admin:developers_{table}_add"), fields, follow=True)


def messages(response: Any) -> list[str]:
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


@pytest.mark.parametrize("table", TABLES)
def test_list_takes_the_same_queries_for_one_row_and_for_three(admin_client: Client, table: str) -> None:
    counts = []
    for numbers in ((0,), (1, 2)):
        for number in numbers:
            make_token(make_developer(f"D{number}", owner_user_id=make_user(f"u{number}")))
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(listing(table)).status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1]
    assert admin_client.get(listing(table), {"q": "D1"}).status_code == 200


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_a_page_and_nothing_is_deleted_there(admin_client: Client, table: str) -> None:
    make_token(make_developer(owner_user_id=make_user("owner")))
    row = apps.get_model("developers", table).objects.first()
    assert admin_client.get(reverse(f"admin:developers_{table}_change", args=[row.pk])).status_code == 200
    delete = reverse(f"admin:developers_{table}_delete", args=[row.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403


def test_audit_trail_is_read_only(admin_client: Client) -> None:
    event = record("app.disable", "app", "app_1", **WHO)
    assert admin_client.get(reverse("admin:developers_auditevent_add")).status_code == 403
    assert admin_client.post(reverse("admin:developers_auditevent_change", args=[event]), {}).status_code == 403


def test_audit_trail_is_exported_without_formulas(admin_client: Client) -> None:
    record("app.rename", "app", "=HYPERLINK(1)", detail={"to": "x,y"}, **WHO)
    second = record("app.disable", "app", "app_1", developer_id="dev_1", **WHO)
    ids = list(AuditEvent.objects.values_list("id", flat=True))
    response = act(admin_client, "auditevent", "export", *ids)
    assert response["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(b"".join(response.streaming_content).decode().splitlines()))
    assert [row["subject_id"] for row in rows] == ["'=HYPERLINK(1)", "app_1"]
    assert (rows[1]["id"], rows[1]["at"], rows[1]["developer_id"]) == (second, NOW.isoformat(), "dev_1")


def test_developer_is_added_changed_and_switched_off(admin_client: Client) -> None:
    members = {"members-TOTAL_FORMS": "0", "members-INITIAL_FORMS": "0"}
    add(admin_client, "developer", name="Acme", email="a@example.com", **members)
    row = Developer.objects.get()
    page = reverse("admin:developers_developer_change", args=[row.id])
    admin_client.post(page, {"name": "Apex", "email": "a@example.com"} | members)
    act(admin_client, "developer", "disable", row.id)
    row.refresh_from_db()
    assert (row.name, row.status) == ("Apex", "disabled")
    act(admin_client, "developer", "enable", row.id)
    admin = get_user_model().objects.get()
    trail = AuditEvent.objects.order_by("id").values_list("action", "actor")
    assert list(trail) == [
        (action, f"user:{admin.pk}")
        for action in ("developer.create", "developer.update", "developer.disable", "developer.enable")
    ]


def test_members_are_added_changed_and_removed(admin_client: Client) -> None:
    developer = make_developer(owner_user_id=make_user("owner"))
    bob = make_user("bob")
    add(admin_client, "member", developer=developer, user=bob, role="analyst")
    row = Member.objects.get(user_id=bob)
    admin_client.post(reverse("admin:developers_member_change", args=[row.id]), {"role": "finance"})
    row.refresh_from_db()
    assert row.role == "finance"
    owner = Member.objects.get(role="owner")
    told = messages(act(admin_client, "member", "remove", row.id, owner.id))
    assert any("at least one owner" in text for text in told)
    assert Member.objects.get().id == owner.id


def test_token_is_shown_once_and_never_again(admin_client: Client) -> None:
    developer = make_developer()
    fields = {"developer": developer, "name": "CI", "scopes": ["usage:read", "apps:read"]}
    response = add(admin_client, "developertoken", **fields, expires_at_0="", expires_at_1="", parent="")
    token = response.context["secret"]
    assert token in response.text
    assert (response.redirect_chain, "no-store" in response["Cache-Control"]) == ([], True)
    assert not list(response.context["messages"])
    identity = authenticate_token(token, now=NOW)
    assert (identity.developer_id, identity.scopes) == (developer, {"usage:read", "apps:read"})
    for address in (
        listing("developertoken"),
        reverse("admin:developers_developertoken_change", args=[identity.token_id]),
    ):
        assert token not in admin_client.get(address).content.decode()


def test_token_that_the_service_refuses_is_not_issued(admin_client: Client) -> None:
    developer = make_developer()
    _, parent = make_token(developer, "usage:read")
    fields = {"developer": developer, "name": "CI", "scopes": ["apps:write"], "parent": parent}
    told = messages(add(admin_client, "developertoken", **fields, expires_at_0="", expires_at_1=""))
    assert any("lacks the scope" in text for text in told)
    assert DeveloperToken.objects.count() == 1


def test_token_is_revoked_with_its_children(admin_client: Client) -> None:
    developer = make_developer()
    _, parent = make_token(developer, "tokens:write")
    make_token(developer, "tokens:write", parent_id=parent)
    act(admin_client, "developertoken", "revoke", parent)
    assert not DeveloperToken.objects.filter(revoked_at=None).exists()


def test_staff_who_may_only_look_cannot_run_actions(client: Client) -> None:
    developer = make_developer()
    _, token = make_token(developer)
    viewer = get_user_model().objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    act(client, "developer", "disable", developer)
    act(client, "developertoken", "revoke", token)
    assert Developer.objects.get().status == "active"
    assert DeveloperToken.objects.get().revoked_at is None


def test_stranger_is_sent_to_log_in(client: Client) -> None:
    add_member(make_developer(), make_user(), "owner", **WHO)
    for table in TABLES:
        assert client.get(listing(table)).status_code == 302
