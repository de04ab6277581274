from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from apps.developers.models import AuditEvent
from apps.vault import queries, services
from apps.vault.checks import keys_fit
from apps.vault.envelope import keyring
from apps.vault.models import AppSecret, ProviderCredential
from tests.features.factories import ACTOR, NOW, make_app
from tests.vault.factories import SECRET, load_credentials, make_credential

pytestmark = pytest.mark.django_db


def rotate() -> str:
    out = StringIO()
    call_command("rotate_vault_keys", stdout=out)
    return out.getvalue()


def columns() -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, secret FROM provider_credentials UNION ALL SELECT id, secret FROM app_secrets")
        return dict(cursor.fetchall())


def checks() -> list[str]:
    return [str(message.id) for message in keys_fit(databases=["default"])]


def new_key_first(settings: Settings) -> tuple[str, list[str]]:
    old = list(settings.FIELD_ENCRYPTION_KEY)
    new = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEY = [new, *old]
    return new, old


def test_rotation_puts_every_row_under_the_first_key(settings: Settings) -> None:
    for _ in range(3):
        make_credential()
    app_secret = services.issue_app_secret(make_app().id, now=NOW, actor=ACTOR)
    before = columns()
    assert checks() == []
    new, old = new_key_first(settings)
    assert checks() == ["vault.W001", "vault.W001"]

    assert "provider_credentials: 3 moved, 0 already" in rotate()

    after = columns()
    assert after.keys() == before.keys()
    assert {text.split(".")[1] for text in after.values()} == {keyring().current_key_id}
    # Only the wrapping of the data key changed, never the box.
    assert {id: text.split(".")[3] for id, text in after.items()} == {
        id: text.split(".")[3] for id, text in before.items()
    }
    settings.FIELD_ENCRYPTION_KEY = [new]
    assert {credential.headers.items() for credential in load_credentials()} == {
        (("authorization", f"Bearer {SECRET}"),)
    }
    assert queries.app_id_of_secret(app_secret) is not None
    assert AppSecret.objects.get().secret.reveal() == app_secret
    assert checks() == []
    settings.FIELD_ENCRYPTION_KEY = old
    assert checks() == ["vault.E002", "vault.E002"]


def test_rotation_again_changes_nothing(settings: Settings) -> None:
    make_credential()
    new_key_first(settings)
    rotate()
    before, events = columns(), AuditEvent.objects.count()
    assert "provider_credentials: 0 moved, 1 already" in rotate()
    assert columns() == before
    assert AuditEvent.objects.count() == events


def test_rotation_names_rows_that_do_not_open_and_moves_the_rest(settings: Settings) -> None:
    good, bad = make_credential(), make_credential()
    pasted = columns()[good.id]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE provider_credentials SET secret = %s WHERE id = %s", [pasted, bad.id])
    new_key_first(settings)

    with pytest.raises(CommandError, match=f"provider_credentials {bad.id}"):
        rotate()

    assert columns()[bad.id] == pasted
    assert columns()[good.id] != pasted
    assert ProviderCredential.objects.get(pk=good.id).secret.reveal() == SECRET


def test_rotation_goes_through_all_batches(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.vault.services.keys._BATCH", 2)
    for _ in range(5):
        make_credential()
    new_key_first(settings)
    assert "provider_credentials: 5 moved" in rotate()


def test_rotation_of_an_empty_vault_succeeds() -> None:
    assert "0 moved" in rotate()
