"""The demo app as the demo makes it, and a browser that looks at its page."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from django.test import Client

from apps.console import demo
from apps.core import addresses
from apps.core.clock import now
from apps.features.queries import app_by_public_id
from apps.features.services.apps import create_app
from apps.vault.services.app_secrets import issue_app_secret
from tests.live import ACTOR, MODEL, TERMS, World, make_world

OWN_ORIGIN = "http://testserver"


@dataclass
class Demo:
    """The demo app, whose model is offered at `provider_url`."""

    world: World
    app_id: str
    secret: str


def make_demo(base_url: str = "", provider_url: str = "https://api.provider.example/v1") -> Demo:
    """Make the demo's app; no address has been counted yet."""
    addresses.forget()
    world = make_world(base_url, provider_url)
    app_id = create_app(
        developer_id=world.developer_id,
        name="Demo app",
        terms=TERMS,
        public_id=demo.PUBLIC_APP_ID,
        default_model=MODEL,
        max_output_tokens=1_000,
        now=now(),
        actor=ACTOR,
    )
    assert app_by_public_id(demo.PUBLIC_APP_ID) is not None
    return Demo(world, app_id, issue_app_secret(app_id, now=now(), actor=ACTOR))


def ask_session(client: Client, *, new: bool = False, origin: str | None = OWN_ORIGIN, **extra: Any) -> Any:
    """Ask the demo's backend for a user token, as the page does."""
    headers = {} if origin is None else {"origin": origin}
    return client.post(
        "/demo/session", {"new": True} if new else {}, content_type="application/json", headers=headers, **extra
    )


def open_session(client: Client, *, new: bool = False) -> str:
    """Return a session token of this browser's visitor, by way of POST /v1/sessions."""
    visitor = ask_session(client, new=new).json()
    proof = {"public_app_id": visitor["public_app_id"], "user_token": visitor["user_token"]}
    response = client.post("/v1/sessions", proof, content_type="application/json")
    assert response.status_code == 201, response.content
    token: str = response.json()["session_token"]
    return token


def state_of(client: Client) -> dict[str, Any]:
    """Return what GET /demo/state tells this browser."""
    response = client.get("/demo/state")
    assert response.status_code == 200
    content: dict[str, Any] = response.json()
    return content


class Page(HTMLParser):
    """What of a page a content security policy is about, and the text that people read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self._within: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in ("meta", "link", "img", "input", "br"):
            self._within.append(tag)
        if tag == "style" or (tag == "script" and "src" not in named and named.get("type") != "application/json"):
            self.inline.append(tag)
        self.inline += [name for name in named if name == "style" or name.startswith("on")]
        self.addresses += [value for name in ("src", "href", "action") if (value := named.get(name))]
        self.ids += [value for value in [named.get("id")] if value]
        self.text += [value for name in ("title", "aria-label", "placeholder", "alt") if (value := named.get(name))]

    def handle_endtag(self, tag: str) -> None:
        if tag in self._within:
            while self._within.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        hidden = {"script", "code", "kbd"}
        if data.strip() and not hidden & set(self._within):
            self.text.append(re.sub(r"\s+", " ", data.strip()))
