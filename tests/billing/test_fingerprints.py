"""Fingerprints: noted at sessions, alike for one client, and nothing of the client in any table."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.billing.models.risk import Fingerprint
from apps.billing.services.fingerprints import note_fingerprint, purge_fingerprints
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.services.apps import update_app
from tests.billing.risk_factories import clients
from tests.gateway.api_factories import Api, code_of, make_api
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
ADDRESS, AGENT = "203.0.113.77", "SecretAgent/7.7 (Raw; Value)"


@pytest.fixture
def api(client: Client, settings: Any) -> Api:
    settings.TRUSTED_PROXIES = 1
    api = make_api(client)
    update_app(app_id=api.app_id, anonymous_allowance=nano_from_usd("0.02"), now=now(), actor=ACTOR)
    return api


def note(user: str = "usr_1", address: str = ADDRESS, agent: str = AGENT, at: datetime = NOW) -> set[str]:
    """Note a visit and return all fingerprints of that end user."""
    note_fingerprint(user, "app_1", address=address, user_agent=agent, now=at)
    return set(Fingerprint.objects.filter(end_user_id=user).values_list("fingerprint", flat=True))


def open_session(api: Api, body: dict[str, Any], token: str | None = None, **headers: str) -> Any:
    headers = {"x_forwarded_for": ADDRESS, "user_agent": AGENT, **headers}
    return api.post("/v1/sessions", {"public_app_id": api.public_id, **body}, token, **headers)


def dump() -> str:
    """Return the text of every row of every table."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f"SELECT t::text FROM {connection.ops.quote_name(table)} t")  # noqa: S608 (our own tables)
            found += [row[0] for row in cursor.fetchall()]
    return "\n".join(found)


def test_nothing_of_the_client_is_stored_or_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.fund_allowance("1")
    for body in ({"device_id": "d1"}, {"user_token": api.user_token()}):
        assert open_session(api, body).status_code == 201
    told = {"external_user_id": "bob", "client_address": "198.51.100.9", "client_user_agent": "Other/9.9"}
    assert open_session(api, told, api.secret).status_code == 201
    assert Fingerprint.objects.values("end_user_id").distinct().count() == 3
    everything = dump() + caplog.text
    assert api.app_id in everything  # or the dump would prove nothing
    for raw in (ADDRESS, AGENT, "SecretAgent", "198.51.100.9", "Other/9.9", "203.0.113"):
        assert raw not in everything


def test_session_of_each_proof_notes_its_client(api: Api) -> None:
    open_session(api, {"device_id": "d1"})
    open_session(api, {"user_token": api.user_token()})
    assert set(Fingerprint.objects.values_list("anonymous", "app_id")) == {(True, api.app_id), (False, api.app_id)}
    one, other = (
        set(Fingerprint.objects.filter(anonymous=anonymous).values_list("fingerprint", "network"))
        for anonymous in (True, False)
    )
    assert one == other


def test_forwarded_address_counts_only_behind_a_trusted_proxy(api: Api, settings: Any) -> None:
    open_session(api, {"device_id": "d1"}, x_forwarded_for="198.51.100.1, 203.0.113.1")
    open_session(api, {"device_id": "d2"}, x_forwarded_for="198.51.100.2, 203.0.113.1")
    assert len(clients()) == 2
    settings.TRUSTED_PROXIES = 0
    open_session(api, {"device_id": "d3"}, x_forwarded_for="198.51.100.3")
    open_session(api, {"device_id": "d4"}, x_forwarded_for="198.51.100.4")
    assert len(clients()) == 4


def test_backend_is_not_taken_for_its_users_client(api: Api) -> None:
    assert open_session(api, {"external_user_id": "bob"}, api.secret).status_code == 201
    assert not Fingerprint.objects.exists()
    told = {"external_user_id": "bob", "client_address": ADDRESS, "client_user_agent": AGENT}
    open_session(api, told, api.secret, x_forwarded_for="198.51.100.1", user_agent="backend")
    by_backend = clients()
    open_session(api, {"device_id": "d1"})
    assert clients() == by_backend


@pytest.mark.parametrize("address", ["nobody", "1.2.3", "unix:/tmp/x", 7, "1" * 46])
def test_backend_that_tells_no_address_is_refused(api: Api, address: Any) -> None:
    answer = open_session(api, {"external_user_id": "bob", "client_address": address}, api.secret)
    assert code_of(answer) == (400, "invalid_type")
    assert answer.json()["error"]["param"] == "client_address"
    assert not Fingerprint.objects.exists()


def test_visits_of_one_client_are_one_fingerprint_and_are_counted() -> None:
    first = note()
    assert note(at=NOW + timedelta(hours=1)) == first
    assert len(first) == 2
    rows = set(Fingerprint.objects.values_list("sessions", "first_seen_at", "last_seen_at"))
    assert rows == {(2, NOW, NOW + timedelta(hours=1))}


def test_network_and_program_are_told_apart() -> None:
    same = note("usr_1")
    assert note("usr_2") == same
    assert note("usr_3", agent="Other") & same == set()
    assert note("usr_4", address="203.0.113.78") & same == set()
    networks = {
        user: set(Fingerprint.objects.filter(end_user_id=user).values_list("network", flat=True))
        for user in ("usr_1", "usr_3", "usr_4")
    }
    assert networks["usr_1"] == networks["usr_3"]
    assert networks["usr_1"].isdisjoint(networks["usr_4"])


def test_addresses_of_one_ipv6_network_are_one_and_a_socket_is_none() -> None:
    assert note("usr_1", "2001:db8::1") == note("usr_2", "2001:db8::ffff:2")
    assert note("usr_3", "2001:db8:0:1::1").isdisjoint(note("usr_1", "2001:db8::1"))
    assert note("usr_4", "::ffff:203.0.113.77") == note("usr_5", ADDRESS)
    assert note("usr_6", "") == note("usr_7", "unix:") == set()


@pytest.mark.parametrize(("days", "linked"), [(0, True), (1, True), (29, True), (30, True), (61, False), (400, False)])
@pytest.mark.parametrize("start", range(0, 60, 7))
def test_visits_within_thirty_days_are_linked_and_far_apart_not(days: int, linked: bool, start: int) -> None:
    begin = NOW + timedelta(days=start)
    first, second = note("usr_1", at=begin), note("usr_2", at=begin + timedelta(days=days))
    assert bool(first & second) is linked


def test_hashes_depend_on_the_pepper_and_are_apart_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.core import hashing

    first = note("usr_1")
    assert hashing.keyed_hash("address", ADDRESS) not in {value for pair in clients() for value in pair}
    monkeypatch.setattr(hashing, "_PEPPER", b"another")
    assert note("usr_2") & first == set()


def test_visit_is_one_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        note_fingerprint("usr_1", "app_1", address=ADDRESS, user_agent=AGENT, now=NOW)


def test_strange_user_agents_are_taken() -> None:
    for number, agent in enumerate(("", "x" * 100_000, "\x00", "\ud800", "名前")):
        assert note(f"usr_{number}", agent=agent)


def test_what_was_not_seen_for_long_is_deleted(settings: Any) -> None:
    settings.FINGERPRINT_DAYS = 60
    note("usr_1", at=NOW - timedelta(days=61))
    note("usr_2", at=NOW - timedelta(days=59))
    assert purge_fingerprints(now=NOW) == 2
    assert set(Fingerprint.objects.values_list("end_user_id", flat=True)) == {"usr_2"}
