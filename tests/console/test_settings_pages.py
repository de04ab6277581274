"""A developer's settings and switches, and the public pages beside them."""

import re
from typing import Any

import pytest
from django.test import Client

from apps.core.clock import now
from apps.core.errors import Forbidden
from apps.developers.models import AuditEvent, Developer, Role, Scope
from apps.developers.services.developers import disable_developer
from apps.developers.services.tokens import authenticate_token, issue_token
from apps.features.models import App, AppFeature
from apps.features.queries import authenticate
from apps.features.services.apps import create_app
from tests.console.neighbours import make_neighbour
from tests.console.seats import ACTOR, House, make_house, new_person

pytestmark = pytest.mark.django_db
NAMED = {
    "SUPPORT_EMAIL": "help@example.com",
    "SECURITY_EMAIL": "security@example.com",
    "ABUSE_EMAIL": "abuse@example.com",
    "INCIDENT_URL": "https://status.example.com",
}


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def house(db: None) -> House:
    return make_house()


def test_who_sees_the_settings(house: House) -> None:
    stranger, _ = new_person("eve")
    posts = ("settings", "settings/stop", "settings/start", f"settings/apps/{house.app_id}")
    for path in ("settings", "settings/stop"):
        assert Client().get(house.url(path))["location"].startswith("/accounts/login/")
        assert stranger.get(house.url(path)).status_code == 404
        assert house.owner.get(house.url(path)).status_code == 200
    for role, status in ((Role.ADMIN, 200), (Role.ANALYST, 403), (Role.FINANCE, 403)):
        client = house.member(role)
        assert {client.get(house.url(path)).status_code for path in ("settings", "settings/stop")} == {status}
    assert {stranger.post(house.url(path)).status_code for path in posts} == {404}


def test_roles_that_change_nothing(house: House) -> None:
    for role in (Role.ANALYST, Role.FINANCE):
        client = house.member(role)
        for path in ("settings", "settings/stop", "settings/start", f"settings/apps/{house.app_id}"):
            assert client.post(house.url(path), {"name": "x", "to": "off"}).status_code == 403
    assert App.objects.get(pk=house.app_id).status == "active"


def test_name_and_address_are_changed(house: House) -> None:
    url = house.url("settings")
    assert house.owner.post(url, {"name": "Looms Ltd", "email": "looms@example.com"})["location"] == url
    row = Developer.objects.get(pk=house.developer_id)
    assert (row.name, row.email) == ("Looms Ltd", "looms@example.com")
    assert 'id="id_email_error"' in house.owner.post(url, {"name": "x", "email": "nobody"}).content.decode()


def test_app_and_feature_are_switched(house: House) -> None:
    token = house.desk.world.token
    url = house.url(f"settings/apps/{house.app_id}")
    for path, model in ((url, App), (f"{url}/default", AppFeature)):
        key: dict[str, Any] = {"pk": house.app_id} if model is App else {"app_id": house.app_id, "key": "default"}
        assert house.owner.post(path, {"to": "off"})["location"] == house.url("settings")
        assert model.objects.get(**key).status == "disabled"
        with pytest.raises(Forbidden):
            authenticate(token, now=now())
        house.owner.post(path, {"to": "on"})
        assert authenticate(token, now=now()).app_id == house.app_id
    assert house.owner.post(f"{url}/nothing", {"to": "off"}).status_code == 404
    other = make_neighbour()
    assert house.owner.post(house.url(f"settings/apps/{other.app_id}"), {"to": "off"}).status_code == 404


def test_everything_stops_and_starts(house: House) -> None:
    session = house.desk.world.token
    key = house.desk.world.virtual_key()
    token, _ = issue_token(house.developer_id, "t", [Scope.USAGE_READ], now=now(), actor=ACTOR)
    page = house.owner.get(house.url("settings/stop")).content.decode()
    name = Developer.objects.get(pk=house.developer_id).name
    assert f"“{name}”" in page
    refused = house.owner.post(house.url("settings/stop"), {"name": "something else"})
    assert 'id="id_name_error"' in refused.content.decode()
    assert authenticate(session, now=now()).app_id == house.app_id
    assert house.owner.post(house.url("settings/stop"), {"name": name})["location"] == house.url("settings")
    for secret in (session, key):
        with pytest.raises(Forbidden) as stopped:
            authenticate(secret, now=now())
        assert stopped.value.code == "developer_disabled"
    with pytest.raises(Forbidden):
        authenticate_token(token, now=now())
    page = house.owner.get(house.url("settings")).content.decode()
    assert "Everything is stopped" in page
    assert "Everything is stopped" in house.owner.get(house.url()).content.decode()
    assert house.owner.post(house.url("settings/start"))["location"] == house.url("settings")
    assert authenticate(key, now=now()).developer_id == house.developer_id
    assert "Everything is stopped" not in house.owner.get(house.url()).content.decode()
    kinds = AuditEvent.objects.filter(action__in=("developer.stop", "developer.start")).order_by("id")
    assert [row.action for row in kinds] == ["developer.stop", "developer.start"]


def test_what_an_operator_disabled_does_not_start_itself(house: House) -> None:
    disable_developer(house.developer_id, now=now(), actor=ACTOR)
    assert house.owner.post(house.url("settings/start")).status_code == 404
    assert Developer.objects.get(pk=house.developer_id).status == "disabled"


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_contacts_and_rules_are_public(client: Client, settings: Any, language: str) -> None:
    headers = {"accept-language": language}
    assert client.get("/contacts", headers=headers).status_code == 200
    for name, value in NAMED.items():
        setattr(settings, name, value)
    page = client.get("/contacts", headers=headers).content.decode()
    assert all(value in page for value in NAMED.values())
    rules = client.get("/acceptable-use", headers=headers)
    assert rules.status_code == 200
    assert "mailto:abuse@example.com" in rules.content.decode()
    assert not re.search(r"\son\w+=|style=|<script(?![^>]*src=)", rules.content.decode())


def test_contacts_are_served_to_programs(client: Client, settings: Any) -> None:
    content = client.get("/v1/contacts").json()
    assert content["support_email"] is None
    for name, value in NAMED.items():
        setattr(settings, name, value)
    content = client.get("/v1/contacts").json()
    assert {name.upper(): content[name.lower()] for name in NAMED} == NAMED
    assert content["acceptable_use_url"] == "http://testserver/acceptable-use"


def test_number_of_queries_does_not_grow(house: House, django_assert_max_num_queries: Any) -> None:
    counts = []
    for more in (0, 2):
        for number in range(more):
            create_app(developer_id=house.developer_id, name=f"app {number}", now=now(), actor=ACTOR)
        with django_assert_max_num_queries(12) as counted:
            house.owner.get(house.url("settings"))
        counts.append(len(counted))
    assert counts[0] == counts[1]
