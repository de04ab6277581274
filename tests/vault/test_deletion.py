"""Keys that are deleted are gone; what is noted of their use while they are there."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.core.errors import BadRequest, Conflict
from apps.developers.models import AuditEvent
from apps.vault import queries, services
from apps.vault.checks import keys_fit
from apps.vault.envelope import VaultProblem
from apps.vault.models import ProviderCredential
from tests.features.factories import ACTOR, NOW, make_app, make_developer, make_user
from tests.vault.factories import SECRET, load_credentials, make_credential, make_provider

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


def column(credential_id: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM provider_credentials WHERE id = %s", [credential_id])
        return str(cursor.fetchone()[0])


def forgotten() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT kind, subject_id FROM forgotten_callers ORDER BY id")
        return cursor.fetchall()


def epoch() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM policy_epoch")
        return int(cursor.fetchone()[0])


def test_deleted_key_is_erased_with_those_it_replaced() -> None:
    first = make_credential().id
    second = services.rotate_credential(first, secret="sk-new-0123456789abcdef", **WHO)
    other = make_credential().id
    assert column(first).startswith("mfv1.")

    services.delete_credential(second, **WHO)
    services.delete_credential(second, **WHO)

    assert (column(first), column(second)) == ("erased", "erased")
    assert [found.id for found in load_credentials()] == [other]
    assert queries.credential_by_id(first) is None
    row = ProviderCredential.objects.get(pk=second)
    with pytest.raises(VaultProblem):
        row.secret.reveal()
    assert AuditEvent.objects.filter(action="credential.delete").count() == 2
    for again in (
        lambda: services.enable_credential(second, **WHO),
        lambda: services.rotate_credential(second, secret=SECRET, **WHO),
    ):
        with pytest.raises(Conflict):
            again()
    with pytest.raises(BadRequest):
        services.validate_credential(second, **WHO)
    services.disable_credential(second, **WHO)
    assert ProviderCredential.objects.get(pk=second).status == "deleted"


def test_erased_secret_is_no_problem_of_the_vaults_keys() -> None:
    services.delete_credential(make_credential().id, **WHO)
    assert keys_fit(databases=["default"]) == []
    (credentials,) = (
        result for result in services.rewrap_all(now=NOW, actor=ACTOR) if result.table == "provider_credentials"
    )
    assert (credentials.moved, credentials.unreadable) == (0, ())


def test_database_keeps_deleted_and_erased_together() -> None:
    kept, gone = make_credential(), make_credential()
    services.delete_credential(gone.id, **WHO)
    for statement, row in (
        ("UPDATE provider_credentials SET status = 'active' WHERE id = %s", gone),
        ("UPDATE provider_credentials SET status = 'deleted' WHERE id = %s", kept),
        ("UPDATE provider_credentials SET secret = 'erased' WHERE id = %s", kept),
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, [row.id])


def test_deleted_row_is_not_saved_whole() -> None:
    row = make_credential()
    services.delete_credential(row.id, **WHO)
    with pytest.raises(VaultProblem):
        ProviderCredential.objects.get(pk=row.id).save()


def test_change_of_ones_own_key_is_forgotten_for_oneself_alone() -> None:
    app = make_app()
    user = make_user(app)
    make_provider()
    before = epoch()
    theirs = make_credential(owner_class="end_user", owner_id=user)
    services.update_credential(theirs.id, weight=3, **WHO)
    services.disable_credential(theirs.id, **WHO)
    services.touch_credentials([theirs.id], now=NOW)
    make_credential(owner_class="developer", owner_id=app.developer_id)
    assert forgotten() == [("end_user", user)] * 3 + [("developer", app.developer_id)]
    assert epoch() == before
    make_credential()
    assert epoch() == before + 1
    assert len(forgotten()) == 4


def test_first_refusal_in_a_row_is_audited() -> None:
    row = make_credential(owner_class="developer", owner_id=make_developer())

    def note(refused: bool, minute: int) -> None:
        ids = {"refused": [row.id], "served": []} if refused else {"refused": [row.id], "served": [row.id]}
        services.note_refusals(**ids, now=NOW + timedelta(minutes=minute), actor="rating")
        row.refresh_from_db()

    note(True, 1)
    note(True, 2)
    assert row.failing_since == NOW + timedelta(minutes=1)
    events = AuditEvent.objects.filter(action="credential.use_failed", subject_id=row.id)
    assert [event.developer_id for event in events] == [row.owner_id]
    note(False, 3)
    assert row.failing_since is None
    note(True, 4)
    assert row.failing_since == NOW + timedelta(minutes=4)
    assert events.all().count() == 2
    services.note_refusals(refused=["cred_x", ""], served=[""], now=NOW, actor="rating")
