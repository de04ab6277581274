"""People at work in the console: a developer's members in each role, and a stranger."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client

from apps.core.clock import now
from apps.developers.models import Role
from apps.developers.services.developers import add_member
from tests.usage.factories import Desk, make_desk

ACTOR = "test"


@dataclass
class House:
    """A developer with an app, calls to be made by hand, and a browser of its owner."""

    desk: Desk
    owner: Client

    @property
    def developer_id(self) -> str:
        return self.desk.world.developer_id

    @property
    def app_id(self) -> str:
        return self.desk.world.app_id

    def url(self, path: str = "") -> str:
        return f"/console/{self.developer_id}/{path}"

    def app_url(self, path: str = "") -> str:
        return self.url(f"apps/{self.app_id}/{path}")

    def member(self, role: str) -> Client:
        """Return a browser of a new member in a role."""
        client, user = new_person(f"{role}-{self.developer_id}")
        add_member(self.developer_id, user.pk, role, now=now(), actor=ACTOR)
        return client


def new_person(name: str) -> tuple[Client, Any]:
    """Return a signed-in browser and its user, who belongs to no developer."""
    user = get_user_model().objects.create_user(name, f"{name}@example.com")
    client = Client()
    client.force_login(user)
    return client, user


def make_house(**world: Any) -> House:
    """Make a developer with an app and an owner."""
    house = House(make_desk(**world), Client())
    house.owner = house.member(Role.OWNER)
    return house
