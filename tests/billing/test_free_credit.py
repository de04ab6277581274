"""Free credit: a few times a client and app, and not where it was stopped."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import close_old_connections, connection
from django.test import Client

from apps.billing.services.free_credit import may_take_free_credit
from apps.billing.services.risk_actions import take_action, undo_action
from apps.core.clock import now as clock
from apps.core.money import nano_from_usd
from apps.features.services.apps import create_app, update_app
from tests.billing.risk_factories import end_user, given, seen
from tests.gateway.api_factories import Api, make_api
from tests.live import ACTOR
from tests.usage.factories import Desk, make_desk

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


@pytest.fixture
def desk() -> Desk:
    return make_desk()


@pytest.fixture
def api(client: Client, settings: Any) -> Api:
    settings.TRUSTED_PROXIES = 1
    api = make_api(client)
    update_app(app_id=api.app_id, anonymous_allowance=nano_from_usd("0.02"), now=clock(), actor=ACTOR)
    api.fund_allowance("1")
    return api


def taker(desk: Desk, at: datetime = NOW - DAY, *, kind: str = "allowance", **client: Any) -> str:
    """Make an end user who came from a client and was given free credit."""
    user, account = end_user(desk, at=at)
    seen(desk, user, at, **client)
    given(account, kind, at)
    return user


def newcomer(desk: Desk, **client: Any) -> str:
    user, _ = end_user(desk, at=NOW)
    seen(desk, user, NOW, **client)
    return user


def may(desk: Desk, user: str, app_id: str = "") -> bool:
    return may_take_free_credit(user, app_id or desk.world.app_id, now=NOW)


def test_three_of_one_client_may_and_the_fourth_may_not(desk: Desk) -> None:
    answers = []
    for _ in range(5):
        user, account = end_user(desk, at=NOW)
        seen(desk, user, NOW)
        answers.append(may(desk, user))
        if answers[-1]:
            given(account, "allowance", NOW)
    assert answers == [True, True, True, False, False]


def test_promotions_count_and_paid_credit_does_not(desk: Desk) -> None:
    for kind in ("promo", "allowance", "paid", "grant"):
        taker(desk, kind=kind)
    user = newcomer(desk)
    assert may(desk, user)
    taker(desk, kind="promo")
    assert not may(desk, user)


def test_who_has_taken_it_is_not_held_against_themselves(desk: Desk, settings: Any) -> None:
    settings.ALLOWANCES_PER_FINGERPRINT = 1
    assert may(desk, taker(desk))
    assert not may(desk, newcomer(desk))


def test_other_clients_other_apps_and_long_ago_do_not_count(desk: Desk) -> None:
    other = create_app(developer_id=desk.world.developer_id, name="Other", **WHO)
    for number in range(3):
        taker(desk, agent=f"Other/{number}")
        taker(desk, address=f"198.51.100.{number}")
        taker(desk, NOW - 31 * DAY)
        taker(desk, app_id=other)
    assert may(desk, newcomer(desk))


def test_one_network_may_a_few_times_whatever_program_it_says_it_is(desk: Desk, settings: Any) -> None:
    settings.ALLOWANCES_PER_NETWORK = 5
    for number in range(5):
        user = newcomer(desk, agent=f"Agent/{number}")
        assert may(desk, user)
        taker(desk, agent=f"Agent/{number}")
    assert not may(desk, newcomer(desk, agent="Agent/new"))
    assert may(desk, newcomer(desk, address="198.51.100.1"))


def test_no_limit_is_no_limit(desk: Desk, settings: Any) -> None:
    settings.ALLOWANCES_PER_FINGERPRINT = settings.ALLOWANCES_PER_NETWORK = 0
    for _ in range(30):
        taker(desk)
    assert may(desk, newcomer(desk))


def test_who_comes_without_a_fingerprint_is_vouched_for(desk: Desk) -> None:
    for _ in range(9):
        taker(desk)
    assert may(desk, end_user(desk, at=NOW)[0])


def test_stopped_app_or_end_user_gets_none_until_it_is_undone(desk: Desk) -> None:
    user, other = newcomer(desk), newcomer(desk)
    of_user = take_action("end_user", user, "suspend", reason="abuse", **WHO)
    assert (may(desk, user), may(desk, other)) == (False, True)
    of_app = take_action("app", desk.world.app_id, "suspend", reason="abuse", **WHO)
    assert not may(desk, other)
    undo_action(of_app, **WHO)
    assert (may(desk, user), may(desk, other)) == (False, True)
    undo_action(of_user, **WHO)
    assert may(desk, user)


def ask(api: Api, device: str, address: str = "203.0.113.1") -> dict[str, Any]:
    answer = api.post(
        "/v1/sessions", {"public_app_id": api.public_id, "device_id": device}, None, x_forwarded_for=address
    )
    assert answer.status_code == 201, answer.content
    content: dict[str, Any] = answer.json()
    return content


def test_session_of_one_device_too_many_opens_without_allowance(api: Api) -> None:
    for number in range(3):
        assert ask(api, f"d{number}")["allowance"]["state"] == "granted"
    refused = ask(api, "d3")
    assert (refused["allowance"]["state"], refused["balance_usd"]) == ("refused", "0.0000")
    assert refused["allowance"]["message"]
    assert ask(api, "d0")["allowance"]["state"] == "granted_before"
    assert ask(api, "d4", "203.0.113.2")["allowance"]["state"] == "granted"


@pytest.mark.django_db(transaction=True)
def test_devices_that_come_at_once_get_no_more_than_one_after_the_other(api: Api) -> None:
    states: list[str] = []
    barrier = threading.Barrier(8)

    def come(number: int) -> None:
        try:
            own = Api(api.world, api.public_id, api.secret, api.developer_token, Client())
            barrier.wait(10)
            states.append(ask(own, f"d{number}")["allowance"]["state"])
        finally:
            close_old_connections()
            connection.close()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(states) == ["granted"] * 3 + ["refused"] * 5
