import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from apps.core.errors import BadRequest
from apps.features import queries, services
from apps.features.models import EndUser
from tests.features.factories import ACTOR, NOW, make_app, make_developer, make_user


@pytest.mark.django_db
def test_same_user_is_one_row() -> None:
    app = make_app()
    assert make_user(app) == make_user(app)
    assert EndUser.objects.count() == 1


@pytest.mark.django_db
def test_same_id_in_two_apps_is_two_users_that_cannot_be_linked() -> None:
    developer = make_developer()
    make_user(make_app(developer))
    make_user(make_app(developer))
    assert len(set(EndUser.objects.values_list("external_hash", flat=True))) == 2


@pytest.mark.django_db
def test_device_that_takes_a_users_name_is_not_that_user() -> None:
    app = make_app()
    named, device = make_user(app, "alice"), make_user(app, "alice", anonymous=True)
    assert named != device
    info = queries.end_user_by_id(device)
    assert info is not None
    assert info == queries.EndUserInfo(device, app.id, anonymous=True, active=True, created_at=info.created_at)


@pytest.mark.django_db
def test_raw_id_is_neither_stored_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    user = make_user(make_app(), "alice@example.com")
    assert "alice" not in str(EndUser.objects.filter(pk=user).values().get())
    assert "alice" not in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize("external_id", ["", "x" * 257, "a\0b", "a\ud800b"])
def test_id_that_cannot_be_kept_is_refused(external_id: str) -> None:
    with pytest.raises(BadRequest):
        make_user(make_app(), external_id)


@pytest.mark.django_db
def test_disabled_user_stays_the_same_user() -> None:
    app = make_app()
    user = make_user(app)
    services.disable_end_user(end_user_id=user, now=NOW, actor=ACTOR)
    assert make_user(app) == user
    info = queries.end_user_by_id(user)
    assert info is not None
    assert not info.active
    assert queries.end_user_by_id("usr_nobody") is None


@pytest.mark.django_db(transaction=True)
def test_first_calls_that_race_agree_on_one_user() -> None:
    app = make_app()
    racers, rounds = 6, 5
    barrier = Barrier(racers)

    def first_call(_: int) -> list[str]:
        try:
            found = []
            for number in range(rounds):
                barrier.wait(timeout=20)
                found.append(make_user(app, f"user {number}"))
            return found
        finally:
            connection.close()

    with ThreadPoolExecutor(racers) as pool:
        answers = list(pool.map(first_call, range(racers)))

    assert len(set(map(tuple, answers))) == 1
    assert EndUser.objects.count() == rounds
