"""Another developer on the same instance, with an app and an owner of its own."""

from dataclasses import dataclass

from django.test import Client

from apps.core.clock import now
from apps.developers.services.developers import create_developer
from apps.features.services.apps import create_app
from tests.console.seats import ACTOR, new_person


@dataclass
class Neighbour:
    """A developer whose things are nobody else's, and a browser of its owner."""

    developer_id: str
    app_id: str
    owner: Client


def make_neighbour() -> Neighbour:
    client, user = new_person("neighbour")
    made = create_developer("Next door", "next@example.com", owner_user_id=user.pk, now=now(), actor=ACTOR)
    app_id = create_app(developer_id=made, name="Next door's app", now=now(), actor=ACTOR)
    return Neighbour(made, app_id, client)
