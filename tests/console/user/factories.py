"""An end user who came to their pages by the app's link, and others who did not."""

import re
from dataclasses import dataclass, field
from typing import Any

from django.test import Client

from apps.core import addresses
from apps.core.clock import now
from apps.features.queries import authenticate
from apps.features.services.apps import update_app
from apps.features.services.end_users import ensure_end_user
from apps.features.services.tokens import open_session
from tests.live import ACTOR, World
from tests.usage.factories import Desk, make_desk

ORIGIN = "https://shop.example"
# What an anonymous device has, and what needs an app that vouches.
OPEN = ("", "balance", "calls")
NAMED = (
    "credit",
    "buy",
    "keys",
    "keys/new",
    "local",
    "local/bridges",
    "fees",
    "limits",
    "data",
    "data/all.json",
    "delete",
)


@dataclass
class Visitor:
    """A browser of an end user of the desk's app, in which the link was opened."""

    desk: Desk
    world: World
    browser: Client = field(default_factory=Client)
    base: str = ""

    def link(self, *, embed: bool = False) -> str:
        """Have the app ask for a link, and return its address without the host."""
        answered = self.browser.post(
            "/v1/user/page-links",
            {"embed": embed},
            content_type="application/json",
            headers={"authorization": f"Bearer {self.world.token}"},
        )
        assert answered.status_code == 201, answered.content
        url: str = answered.json()["url"]
        return url.removeprefix("http://testserver")

    def enter(self, *, embed: bool = False, secure: bool = False) -> Any:
        answered = self.browser.get(self.link(embed=embed), secure=secure)
        assert answered.status_code == 302, answered.content
        self.base = answered["location"]
        return answered

    def get(self, path: str = "", **more: Any) -> Any:
        return self.browser.get(self.base + path, **more)

    def text(self, path: str = "") -> str:
        answered = self.get(path)
        assert answered.status_code == 200, answered.content
        content: str = answered.content.decode()
        return content

    def post(self, path: str, values: dict[str, Any] | None = None, *, page: str = "limits", **more: Any) -> Any:
        """Send a form with the token of a page that was shown."""
        return self.browser.post(self.base + path, {"form": self.token(page), **(values or {})}, **more)

    def token(self, page: str = "limits") -> str:
        found = re.search(r'name="form" value="([0-9a-f]{64})"', self.text(page))
        assert found is not None
        return found[1]

    @property
    def session_id(self) -> str:
        return authenticate(self.world.token, now=now()).id


def make_visitor(usd: str = "10", **world: Any) -> Visitor:
    """Make an app and an end user who has opened the link to their pages."""
    addresses.forget()
    desk = make_desk(usd, **world)
    visitor = Visitor(desk, desk.world)
    visitor.enter()
    return visitor


def other_user(visitor: Visitor, usd: str = "0") -> Visitor:
    """Return another end user of the same app, in another browser."""
    other = Visitor(visitor.desk, visitor.world.new_session(usd=usd))
    other.enter()
    return other


def make_anonymous(visitor: Visitor) -> Visitor:
    """Return an anonymous device of the same app, in another browser."""
    update_app(app_id=visitor.world.app_id, anonymous_allowance=1_000_000, now=now(), actor=ACTOR)
    user = ensure_end_user(app_id=visitor.world.app_id, external_id="device", anonymous=True, now=now())
    session = open_session(
        app_id=visitor.world.app_id, feature_key=None, end_user_id=user, assurance="anonymous", ttl=600, now=now()
    )
    device = World(developer_id=visitor.world.developer_id, app_id=visitor.world.app_id, end_user_id=user)
    device.token = session.token
    other = Visitor(visitor.desk, device)
    other.enter()
    return other


def allow_origin(visitor: Visitor, *origins: str) -> None:
    """Let the app be embedded in pages of these origins."""
    update_app(app_id=visitor.world.app_id, allowed_origins=list(origins), now=now(), actor=ACTOR)
