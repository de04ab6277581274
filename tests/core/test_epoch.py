"""The feed of single callers: nothing that commits is missed, whatever the order, and nothing is told twice."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from django.db import connection

from apps.core.clock import now
from apps.core.epoch import PATIENCE, READ_CHANGES, ChangeFeed, Changes, forget_caller, purge_forgotten_callers
from apps.core.models import ForgottenCaller, PolicyEpoch

pytestmark = pytest.mark.django_db(transaction=True)
INSERT = "INSERT INTO forgotten_callers (kind, subject_id) VALUES ('session', %s)"


class Reader:
    """A feed that reads through the test's own connection, one second later each time."""

    def __init__(self) -> None:
        self.feed = ChangeFeed()
        self.at = 1000.0

    def read(self, *, after: float = 1.0) -> Changes:
        self.at += after
        with connection.cursor() as cursor:
            cursor.execute(READ_CHANGES, [self.feed.since])
            return self.feed.take(cursor.fetchall(), at=self.at)


@pytest.fixture
def reader() -> Reader:
    reader = Reader()
    assert reader.read() == Changes(everything=True)
    assert reader.read() == Changes(everything=False)
    return reader


@pytest.fixture
def others() -> Iterator[list[psycopg.Connection]]:
    settings = connection.get_connection_params()
    wanted = {name: settings[name] for name in ("dbname", "user", "password", "host", "port") if name in settings}
    made = [psycopg.connect(**wanted) for _ in range(2)]
    yield made
    for one in made:
        one.close()


def test_caller_is_told_once(reader: Reader) -> None:
    forget_caller("session", "sess_1")
    forget_caller("end_user", "usr_1")
    assert reader.read().callers == {"sess_1", "usr_1"}
    assert reader.read() == Changes(everything=False)
    forget_caller("session", "sess_1")
    assert reader.read().callers == {"sess_1"}


def test_row_that_commits_late_is_not_missed(reader: Reader, others: list[psycopg.Connection]) -> None:
    early, late = others
    late.execute(INSERT, ["late"])  # the smaller id and transaction, committed last
    early.execute(INSERT, ["early"])
    early.commit()
    assert reader.read().callers == {"early"}
    assert reader.read().callers == frozenset()  # told, though the open transaction makes it be read again
    late.commit()
    assert reader.read().callers == {"late"}
    assert reader.read().callers == frozenset()


def test_row_of_a_transaction_that_failed_is_not_told(reader: Reader, others: list[psycopg.Connection]) -> None:
    others[0].execute(INSERT, ["undone"])
    others[0].rollback()
    assert reader.read() == Changes(everything=False)


def test_epoch_changes_everything(reader: Reader) -> None:
    forget_caller("session", "sess_1")
    PolicyEpoch.objects.update(number=7)
    assert reader.read() == Changes(everything=True)
    assert reader.read() == Changes(everything=False)
    PolicyEpoch.objects.update(number=7)  # a restored backup may bring the number back, not the row's version
    assert reader.read().everything


def test_long_absence_changes_everything(reader: Reader) -> None:
    assert not reader.read(after=PATIENCE).everything
    assert reader.read(after=PATIENCE + 1).everything


def test_database_that_was_set_back_changes_everything(reader: Reader) -> None:
    assert reader.feed.since is not None
    reader.feed.since += 1_000_000
    assert reader.read().everything


def test_only_old_rows_are_purged() -> None:
    forget_caller("session", "sess_old")
    ForgottenCaller.objects.update(created_at=now() - timedelta(minutes=61))
    forget_caller("session", "sess_new")
    assert purge_forgotten_callers(now=now()) == 1
    assert ForgottenCaller.objects.get().subject_id == "sess_new"
