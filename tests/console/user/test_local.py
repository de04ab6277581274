"""An end user's own machine: bridges, what apps noted of its servers, and what it costs."""

import re
from typing import Any

import pytest

from apps.core.clock import now
from apps.core.errors import Unauthorized
from apps.core.money import nano_from_usd
from apps.features.bridges import authenticate_bridge, bridges_of
from apps.features.models import Bridge
from apps.features.services.apps import set_app_terms
from apps.features.services.bridges import MAX_BRIDGES, close_connection, create_bridge, open_connection
from apps.features.services.local_endpoints import add_endpoint
from apps.features.services.terms import TermsInput
from apps.vault.queries import consents_of
from tests.console.user.factories import Visitor, other_user
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
FEE = nano_from_usd("0.002")


def make(visitor: Visitor, name: str = "Workbench") -> tuple[str, str]:
    """Make a bridge on the page; return (its id, its token)."""
    answered = visitor.post("local", {"name": name})
    assert answered.status_code == 201, answered.content
    page = answered.content.decode()
    found = re.search(r"modelfaucet-bridge connect --gateway (\S+) --token (mf_brg_[\w-]+)<", page)
    assert found is not None and found[1] == "http://testserver"
    return bridges_of(visitor.world.end_user_id, now=now())[0].id, found[2]


def connect(bridge_id: str, models: int = 2) -> str:
    offered = [{"id": f"llama-{number}"} for number in range(models)]
    who: dict[str, Any] = {"channel": "web.1", "version": "0.1.0", "max_concurrency": 2}
    return open_connection(bridge_id=bridge_id, models=offered, now=now(), **who)


def note(visitor: Visitor, name: str = "Ollama here") -> str:
    return add_endpoint(
        end_user_id=visitor.world.end_user_id,
        name=name,
        kind="ollama",
        base_url="http://127.0.0.1:11434/v1",
        models=[{"id": "llama3.2:3b"}],
        now=now(),
    )


def test_page_without_anything_says_what_to_do(visitor: Visitor) -> None:
    page = visitor.text("local")
    assert "No bridge is connected." in page
    assert "Make a bridge" in page
    assert "This app charges nothing for it." in page
    assert "their addresses are never called from here" in page
    assert "hx-get" not in page  # nothing changes by itself


def test_token_and_command_are_shown_once(visitor: Visitor) -> None:
    bridge_id, token = make(visitor)
    assert authenticate_bridge(token).id == bridge_id
    listed = visitor.text("local")
    assert "Workbench" in listed and "not connected" in listed
    for path in ("local", "local/bridges", f"local/bridges/{bridge_id}", f"local/bridges/{bridge_id}/revoke"):
        assert token not in visitor.text(path)


def test_state_follows_the_connection(visitor: Visitor) -> None:
    bridge_id, _token = make(visitor)
    waiting = visitor.text(f"local/bridges/{bridge_id}")
    assert "has not come yet" in waiting and "hx-get" in waiting
    connection_id = connect(bridge_id, models=8)
    there = visitor.text(f"local/bridges/{bridge_id}")
    assert "Its models can answer." in there and "hx-get" not in there
    rows = visitor.text("local/bridges")
    assert 'badge good">connected' in rows and "version 0.1.0" in rows
    assert "llama-5" in rows and "llama-6" not in rows and "and 2 more" in rows
    close_connection(connection_id, now=now())
    assert "not connected" in visitor.text("local/bridges")


def test_bridge_is_revoked_after_a_question(visitor: Visitor) -> None:
    bridge_id, token = make(visitor)
    assert "Revoke Workbench?" in visitor.text(f"local/bridges/{bridge_id}/revoke")
    answered = visitor.post(f"local/bridges/{bridge_id}/revoke")
    assert (answered.status_code, answered["location"]) == (302, f"{visitor.base}local")
    with pytest.raises(Unauthorized):
        authenticate_bridge(token)
    assert "Workbench" not in visitor.text("local")
    assert visitor.get(f"local/bridges/{bridge_id}").status_code == 404


def test_bridge_needs_a_name_and_room(visitor: Visitor) -> None:
    refused = visitor.post("local", {"name": ""})
    assert refused.status_code == 200 and "This field is required." in refused.content.decode()
    refused = visitor.post("local", {"name": "mf_brg_secret"})
    assert "looks like a secret" in refused.content.decode()
    for number in range(MAX_BRIDGES):
        create_bridge(end_user_id=visitor.world.end_user_id, name=str(number), now=now(), actor=ACTOR)
    assert "Make a bridge" not in visitor.text("local")
    refused = visitor.post("local", {"name": "One more"})
    assert refused.status_code == 200 and Bridge.objects.count() == MAX_BRIDGES


def test_endpoint_is_listed_and_removed(visitor: Visitor) -> None:
    endpoint_id = note(visitor)
    page = visitor.text("local")
    assert "Ollama here" in page and "http://127.0.0.1:11434/v1" in page and "llama3.2:3b" in page
    assert visitor.post(f"local/endpoints/{endpoint_id}/remove").status_code == 302
    assert "Ollama here" not in visitor.text("local")
    assert visitor.post(f"local/endpoints/{endpoint_id}/remove").status_code == 404


def test_fee_is_told_and_agreed_to_here(visitor: Visitor) -> None:
    set_app_terms(app_id=visitor.world.app_id, terms=TermsInput(local_fee=FEE), now=now(), actor=ACTOR)
    page = visitor.text("local")
    assert "0.0020 USD" in page and "I have read this and agree" in page
    answered = visitor.post("fees/acknowledge", {"mode": "local", "fee": str(FEE), "back": "local"})
    assert answered["location"] == f"{visitor.base}local"
    assert consents_of(visitor.world.end_user_id) == {"local": FEE}
    page = visitor.text("local")
    assert "read by you" in page and "and agree" not in page


def test_stranger_finds_and_changes_nothing(visitor: Visitor) -> None:
    bridge_id, token = make(visitor)
    endpoint_id = note(visitor)
    stranger = other_user(visitor)
    page = stranger.text("local")
    assert "Workbench" not in page and "Ollama here" not in page
    assert stranger.get(f"local/bridges/{bridge_id}").status_code == 404
    for path in (f"local/bridges/{bridge_id}/revoke", f"local/endpoints/{endpoint_id}/remove"):
        assert stranger.post(path).status_code == 404
    assert authenticate_bridge(token)
    assert "Ollama here" in visitor.text("local")


def test_form_without_the_pages_token_does_nothing(visitor: Visitor) -> None:
    bridge_id, token = make(visitor)
    for path in ("local", f"local/bridges/{bridge_id}/revoke"):
        assert visitor.browser.post(visitor.base + path, {"name": "x", "form": "0" * 64}).status_code == 403
    assert authenticate_bridge(token) and Bridge.objects.count() == 1


def test_page_asks_as_often_for_three_machines_as_for_one(visitor: Visitor, django_assert_max_num_queries: Any) -> None:
    for number in range(3):
        bridge_id = create_bridge(
            end_user_id=visitor.world.end_user_id, name=str(number), now=now(), actor=ACTOR
        ).bridge_id
        connect(bridge_id)
        note(visitor, str(number))
    with django_assert_max_num_queries(12):
        visitor.text("local")


def test_page_speaks_chinese(visitor: Visitor) -> None:
    make(visitor, "笔记本")
    answered = visitor.get("local", headers={"accept-language": "zh-CN"})
    page = answered.content.decode()
    assert "笔记本" in page and "Make a bridge" not in page and "not connected" not in page
