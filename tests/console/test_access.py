"""The console's frame: who gets in, where they arrive, what the menu lists."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from apps.core.clock import now
from apps.developers.models import Member, Role
from apps.developers.services.developers import add_member, create_developer
from tests.usage.factories import make_desk

pytestmark = pytest.mark.django_db
ACTOR = "test"


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


def person(name: str) -> Any:
    return get_user_model().objects.create_user(name, f"{name}@example.com")


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_anonymous_visitor_is_asked_to_sign_in(client: Client) -> None:
    assert client.get("/console/")["location"] == "/accounts/login/?next=/console/"
    assert client.get("/console/dev_1/")["location"] == "/accounts/login/?next=/console/dev_1/"


def test_person_without_a_developer_makes_one_and_owns_it() -> None:
    user = person("ada")
    client = signed_in(user)
    assert client.get("/console/")["location"] == "/console/new"
    made = client.post("/console/new", {"name": "Analytical Engines"})
    member = Member.objects.get(user=user)
    assert (made["location"], member.role) == (f"/console/{member.developer_id}/apps/new", Role.OWNER)
    assert client.get("/console/")["location"] == f"/console/{member.developer_id}/"
    assert "Analytical Engines" in client.get(made["location"]).content.decode()


def test_developer_without_a_name_is_not_made() -> None:
    answered = signed_in(person("ada")).post("/console/new", {"name": " "})
    assert answered.status_code == 200
    assert not Member.objects.exists()


def test_person_of_two_developers_chooses() -> None:
    user = person("ada")
    names = ("Engines", "Looms")
    for name in names:
        create_developer(name, "a@example.com", owner_user_id=user.pk, now=now(), actor=ACTOR)
    page = signed_in(user).get("/console/").content.decode()
    assert all(name in page for name in names)


def test_stranger_is_told_that_there_is_no_such_page() -> None:
    desk = make_desk()
    assert signed_in(person("eve")).get(f"/console/{desk.world.developer_id}/").status_code == 404
    assert signed_in(person("mallory")).get("/console/dev_nobody/").status_code == 404


@pytest.mark.parametrize("role", Role.values)
def test_every_role_sees_the_overview(role: str, django_assert_max_num_queries: Any) -> None:
    desk = make_desk()
    user = person("bob")
    add_member(desk.world.developer_id, user.pk, role, now=now(), actor=ACTOR)
    client = signed_in(user)
    with django_assert_max_num_queries(12):
        assert client.get(f"/console/{desk.world.developer_id}/").status_code == 200
