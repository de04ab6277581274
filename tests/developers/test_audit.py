import pytest
from django.db import IntegrityError, connection, transaction

from apps.developers.models import AuditEvent
from apps.developers.services.audit import record
from tests.developers.factories import NOW, WHO

pytestmark = pytest.mark.django_db


def test_event_says_who_did_what_to_which_thing() -> None:
    event = record("offer.disable", "model_offer", 7, developer_id="dev_1", detail={"why": "outage"}, **WHO)
    row = AuditEvent.objects.get()
    assert (row.id, row.at, row.actor, row.action) == (event, NOW, "user:ada", "offer.disable")
    assert (row.subject_type, row.subject_id, row.developer_id) == ("model_offer", "7", "dev_1")
    assert row.detail == {"why": "outage"}


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET actor = 'nobody'", "DELETE FROM audit_events"])
def test_event_cannot_be_altered(statement: str) -> None:
    record("app.disable", "app", "app_1", **WHO)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "secret",
    [
        "mf_dev_0123456789abcdefghij",
        "mf_sess_0123456789abcdefghij",
        "Bearer abcdefgh12345",
        "sk-proj-0123456789abcdefghij",
    ],
)
def test_detail_with_a_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        record("key.issue", "virtual_key", "key_1", detail={"deep": [{"value": secret}]}, **WHO)
    assert not AuditEvent.objects.exists()
