"""The audit log: who sees it, filters, pages, export."""

import asyncio
import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import IntegrityError
from django.test import Client

from apps.console.developer.audit import PAGE
from apps.core.clock import now
from apps.developers.models import AuditEvent, Role
from apps.developers.services.audit import record
from tests.console.neighbours import make_neighbour
from tests.console.seats import House, make_house, new_person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def house(db: None) -> House:
    return make_house()


def note(house: House, action: str = "app.update", subject: str = "app_1", **more: Any) -> str:
    values = {"actor": "user:0", "now": now(), "developer_id": house.developer_id, **more}
    return record(action, "thing", subject, **values)


def page_of(house: House, query: str = "") -> str:
    answered = house.owner.get(house.url(f"audit{query}"))
    assert answered.status_code == 200
    text: str = answered.content.decode()
    return text


def test_who_sees_the_log(house: House) -> None:
    stranger, _ = new_person("eve")
    for path in ("audit", "audit.csv"):
        assert Client().get(house.url(path))["location"].startswith("/accounts/login/")
        assert stranger.get(house.url(path)).status_code == 404
    for role, status in ((Role.ADMIN, 200), (Role.ANALYST, 403), (Role.FINANCE, 403)):
        client = house.member(role)
        assert client.get(house.url("audit")).status_code == status
        if status == 403:
            assert client.get(house.url("audit.csv")).status_code == 403


def test_own_events_are_shown_and_nobody_elses(house: House) -> None:
    note(house, subject="app_mine", detail={"before": {"name": "Old"}, "after": {"name": "<b>New</b>"}})
    other = make_neighbour()
    record("app.update", "app", "app_theirs", actor="x", now=now(), developer_id=other.developer_id)
    page = page_of(house)
    assert ("app_mine" in page, "app_theirs" in page) == (True, False)
    assert "name: &lt;b&gt;New&lt;/b&gt;" in page


def test_actors_are_named(house: House) -> None:
    _, user = new_person("carol")
    _, staff = new_person("root")
    staff.is_staff = True
    staff.save()
    note(house, actor=f"user:{user.pk}")
    note(house, actor=f"user:{staff.pk}")
    note(house, actor="token:dtok_1")
    page = page_of(house)
    assert "carol@example.com" in page
    assert "operator" in page
    assert "root@example.com" not in page
    assert "token:dtok_1" in page


def test_filters_narrow(house: House) -> None:
    _, user = new_person("carol")
    moment = now()
    note(house, "app.disable", "app_one", actor=f"user:{user.pk}")
    note(house, "token.issue", "dtok_two")
    note(house, "app.enable", "app_three", now=moment - timedelta(days=40))
    day = (moment - timedelta(days=40)).date().isoformat()
    for query, found in (
        ("?who=Carol@example.com", {"app_one"}),
        ("?what=token.", {"dtok_two"}),
        ("?what=app.&subject=app_three", {"app_three"}),
        (f"?begin={day}&end={day}", {"app_three"}),
        (f"?begin={moment.date().isoformat()}", {"app_one", "dtok_two"}),
        ("?subject=nothing", set()),
        ("?begin=nonsense", set()),
    ):
        page = page_of(house, query)
        assert {each for each in ("app_one", "dtok_two", "app_three") if f"subject={each}" in page} == found, query


def test_pages_follow_each_other(house: House) -> None:
    moment = now() + timedelta(seconds=1)
    for number in range(2 * PAGE):
        # Some at one moment: the place between two pages is exact all the same.
        note(house, "app_secret.issue", f"app_{number:03}", now=moment + timedelta(seconds=number // 7))
    seen: list[str] = []
    query = "?what=app_secret."
    for _ in range(2):
        page = page_of(house, query)
        seen += [line.split('"')[0] for line in page.split("?subject=")[1:]]
        older = page.split("cursor=")
        query = f"?what=app_secret.&cursor={older[1].split(chr(34))[0]}" if len(older) > 1 else ""
    assert sorted(seen) == [f"app_{number:03}" for number in range(2 * PAGE)]
    assert query == ""
    assert "app_099" in page_of(house, "?cursor=nonsense")


def test_log_cannot_be_changed(house: House) -> None:
    event_id = note(house)
    for statement in ("UPDATE audit_events SET actor = 'x' WHERE id = %s", "DELETE FROM audit_events WHERE id = %s"):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, [event_id])
    assert AuditEvent.objects.get(pk=event_id).actor == "user:0"


@pytest.mark.django_db(transaction=True)
def test_export_holds_what_the_filter_shows() -> None:
    house = make_house()
    note(house, "app.disable", "app_one", detail={"reason": "=danger"})
    note(house, "token.issue", "dtok_two")
    answered: Any = house.owner.get(house.url("audit.csv?what=app.&subject=app_one"))
    assert answered["content-disposition"] == 'attachment; filename="audit.csv"'

    async def everything() -> bytes:
        return b"".join([piece async for piece in answered])

    rows = list(csv.DictReader(io.StringIO(asyncio.run(everything()).decode())))
    assert [(row["action"], row["subject_id"], row["detail"]) for row in rows] == [
        ("app.disable", "app_one", '{"reason": "=danger"}')
    ]


def test_nonsense_is_not_exported(house: House) -> None:
    for query in ("?begin=nonsense", "?what=nonsense"):
        assert house.owner.get(house.url(f"audit.csv{query}")).status_code == 400
        assert "errors" in page_of(house, query)


def test_number_of_queries_does_not_grow(house: House, django_assert_max_num_queries: Any) -> None:
    counts = []
    for names in (("a",), ("b", "c")):
        for name in names:
            _, user = new_person(name)
            note(house, actor=f"user:{user.pk}")
        with django_assert_max_num_queries(12) as counted:
            page_of(house)
        counts.append(len(counted))
    assert counts[0] == counts[1]
