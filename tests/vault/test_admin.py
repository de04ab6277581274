import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse

from apps.developers.models import AuditEvent
from apps.vault import queries, services
from apps.vault.models import AppSecret, ProviderCredential
from tests.features.factories import ACTOR, NOW, make_app
from tests.vault.factories import SECRET, load_credentials, make_credential, make_provider

pytestmark = pytest.mark.django_db
NEW_SECRET = "sk-new-0123456789abcdef-QRST"


def url(table: str, view: str, *args: object) -> str:
    return reverse(f"admin:vault_{table}_{view}", args=args)


def fields(**changes: object) -> dict[str, object]:
    given = {"owner_class": "platform", "owner_id": "", "provider": "openai", "base_url": "", "label": "Main"}
    return {**given, "models_allowed": "", "weight": 1, "priority": 100, "new_secret": SECRET, **changes}


def act(client: Client, table: str, action: str, row: str) -> None:
    response = client.post(url(table, "changelist"), {"action": action, "_selected_action": [row]})
    assert response.status_code == 302


def trail() -> str:
    return str(list(LogEntry.objects.values()) + list(AuditEvent.objects.values()))


def test_credential_is_added_and_its_secret_never_shown_again(admin_client: Client) -> None:
    make_provider()
    assert admin_client.post(url("providercredential", "add"), fields()).status_code == 302
    (credential,) = load_credentials()
    assert dict(credential.headers.items())["authorization"] == f"Bearer {SECRET}"
    for page in (url("providercredential", "changelist"), url("providercredential", "change", credential.id)):
        response = admin_client.get(page)
        assert response.status_code == 200
        assert SECRET not in response.text
        assert "mfv1." not in response.text
        assert SECRET[-4:] in response.text
    assert SECRET not in trail()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"new_secret": ""}, "needs its secret"),
        ({"new_secret": "two words here"}, "visible ASCII"),
        ({"base_url": "http://169.254.169.254/"}, "ddress"),
        ({"weight": 0}, "provider_credentials_weight"),
    ],
)
def test_refused_credential_does_not_come_back_in_the_form(
    admin_client: Client, changes: dict[str, object], shown: str
) -> None:
    make_provider()
    response = admin_client.post(url("providercredential", "add"), fields(**changes), follow=True)
    assert shown in response.text
    assert SECRET not in response.text
    assert not ProviderCredential.objects.exists()


def test_credential_is_changed_without_its_secret(admin_client: Client) -> None:
    row = make_credential()
    changed = fields(label="Spare", weight=5, models_allowed="a,b", new_secret="")
    assert admin_client.post(url("providercredential", "change", row.id), changed).status_code == 302
    (credential,) = load_credentials()
    assert (credential.id, credential.weight, credential.models_allowed) == (row.id, 5, {"a", "b"})
    assert dict(credential.headers.items())["authorization"] == f"Bearer {SECRET}"


def test_new_secret_rotates_the_credential(admin_client: Client) -> None:
    row = make_credential()
    changed = fields(label="Main", new_secret=NEW_SECRET)
    assert admin_client.post(url("providercredential", "change", row.id), changed).status_code == 302
    (credential,) = load_credentials()
    assert credential.id != row.id
    assert dict(credential.headers.items())["authorization"] == f"Bearer {NEW_SECRET}"
    assert ProviderCredential.objects.get(pk=credential.id).replaces_id == row.id
    assert NEW_SECRET not in trail()


def test_owner_and_address_of_a_credential_are_fixed(admin_client: Client) -> None:
    row = make_credential()
    moved = fields(owner_class="operator", base_url="https://evil.example/v1", new_secret="")
    admin_client.post(url("providercredential", "change", row.id), moved)
    (credential,) = load_credentials()
    assert (credential.owner_class, credential.base_url) == ("platform", "")


def test_credential_is_switched_off_and_on(admin_client: Client) -> None:
    row = make_credential()
    act(admin_client, "providercredential", "disable", row.id)
    assert load_credentials() == ()
    act(admin_client, "providercredential", "enable", row.id)
    assert len(load_credentials()) == 1


def test_app_secret_is_shown_once_and_revoked(admin_client: Client) -> None:
    app = make_app()
    response = admin_client.post(url("appsecret", "add"), {"app": app.id})
    assert response.status_code == 200
    secret = response.context["secret"]
    assert secret in response.text
    assert "no-store" in response["Cache-Control"]
    assert queries.app_id_of_secret(secret) == app.id
    row = AppSecret.objects.get()
    for page in (url("appsecret", "changelist"), url("appsecret", "change", row.id)):
        text = admin_client.get(page).text
        assert secret not in text
        assert row.secret_hash not in text
        assert "mfv1." not in text
    assert LogEntry.objects.get().object_id == row.id
    assert secret not in trail()
    act(admin_client, "appsecret", "revoke", row.id)
    assert queries.app_id_of_secret(secret) is None


@pytest.mark.parametrize("table", ["providercredential", "appsecret"])
def test_rows_are_searched_and_never_deleted(admin_client: Client, table: str) -> None:
    row: ProviderCredential | AppSecret = make_credential()
    if table == "appsecret":
        services.issue_app_secret(make_app().id, now=NOW, actor=ACTOR)
        row = AppSecret.objects.get()
    found = admin_client.get(url(table, "changelist"), {"q": row.id})
    assert [hit.pk for hit in found.context["cl"].result_list] == [row.id]
    assert admin_client.post(url(table, "delete", row.id), {"post": "yes"}).status_code == 403


def test_unreadable_secret_does_not_break_the_pages(admin_client: Client) -> None:
    good, bad = make_credential(), make_credential()

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE provider_credentials bad SET secret = good.secret FROM provider_credentials good"
            " WHERE good.id = %s AND bad.id = %s",
            [good.id, bad.id],
        )
    assert admin_client.get(url("providercredential", "changelist")).status_code == 200
    assert admin_client.get(url("providercredential", "change", bad.id)).status_code == 200
    act(admin_client, "providercredential", "disable", bad.id)
    assert ProviderCredential.objects.get(pk=bad.id).status == "disabled"


def test_staff_without_the_permission_changes_nothing(client: Client) -> None:
    row = make_credential()
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.set(
        Permission.objects.filter(codename__startswith="view_", content_type__app_label="vault")
    )
    client.force_login(viewer)
    assert client.get(url("providercredential", "change", row.id)).status_code == 200
    assert client.post(url("providercredential", "change", row.id), fields(new_secret=NEW_SECRET)).status_code == 403
    client.post(url("providercredential", "changelist"), {"action": "disable", "_selected_action": [row.id]})
    assert len(load_credentials()) == 1
