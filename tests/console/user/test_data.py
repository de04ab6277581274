"""Everything that is held about an end user, taken home and erased."""

import asyncio
import json
from typing import Any

import pytest

from apps.billing.services.fingerprints import note_fingerprint
from apps.core.clock import now
from apps.core.errors import Unauthorized
from apps.developers.models import AuditEvent
from apps.features.bridges import authenticate_bridge
from apps.features.models import Bridge, BridgeConnection, EndUser, LocalEndpoint, VirtualSession
from apps.features.services.bridges import create_bridge, open_connection
from apps.features.services.local_endpoints import add_endpoint
from apps.ledger.models import LedgerEntry
from apps.ledger.queries import balance
from apps.usage.models import UsageEvent
from apps.vault.models import ProviderCredential
from tests.console.user.factories import Visitor, make_visitor, other_user
from tests.live import ACTOR

SECRET = "sk-theirs-0123456789abcdef-WXYZ"


def body(response: Any) -> str:
    """Return what an answer streams."""

    async def read() -> bytes:
        return b"".join([piece async for piece in response.streaming_content])

    return asyncio.run(read()).decode()


@pytest.mark.django_db(transaction=True)
def test_everything_held_is_one_file_and_nothing_of_others(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    visitor = make_visitor()
    event = visitor.desk.served()
    visitor.world.key("end_user", SECRET, label="Mine")
    visitor.world.acknowledge()
    visitor.post("limits", {"daily": "1"})
    give_machine(visitor)
    other = other_user(visitor, usd="3")
    answered = visitor.get("data/all.json")
    assert answered["content-disposition"].startswith('attachment; filename="my-data-usr_')
    text = body(answered)
    data = json.loads(text)
    assert data["end_user_id"] == data["account"][0]["end_user_id"] == visitor.world.end_user_id
    assert [row["request_id"] for row in data["calls"]] == [event.request_id]
    assert data["calls"][0]["input_tokens"] == 100
    assert [row["amount_usd"] for row in data["ledger"]] == ["10.0000"]
    assert data["provider_keys"][0]["last_characters"] == "WXYZ"
    assert data["limits"][0]["amount_usd"] == "1.0000"
    assert [row["mode"] for row in data["fee_consents"]] == ["byok"]
    assert data["top_ups"] == []
    assert [(row["name"], row["version"]) for row in data["bridges"]] == [("Workbench", "0.1.0")]
    assert [row["base_url"] for row in data["local_endpoints"]] == ["http://127.0.0.1:11434/v1"]
    assert data["local_reports"] == []
    assert len(data) == 3 + 21
    assert SECRET not in text
    assert other.world.end_user_id not in text
    single = body(visitor.get("data/calls.csv"))
    assert (single.count("\r\n"), event.request_id in single) == (2, True)
    assert visitor.get("data/users.csv").status_code == 404
    for name in data:
        if isinstance(data[name], list):
            assert body(visitor.get(f"data/{name}.csv")).count("\r\n") == 1 + len(data[name])


@pytest.mark.django_db
class TestDelete:
    def test_credit_that_is_left_is_given_up_in_so_many_words(self, visitor: Visitor) -> None:
        page = visitor.text("delete")
        assert "$10.00 is left" in page
        assert "None of it can be refunded" in page
        kept = visitor.post("delete", {"word": "delete"})
        assert (kept.status_code, "give it up" in kept.content.decode()) == (200, True)
        wrong = visitor.post("delete", {"word": "yes", "forfeit": "on"})
        assert "as it is shown" in wrong.content.decode()
        assert EndUser.objects.get(pk=visitor.world.end_user_id).status == "active"

    def test_user_is_erased_and_the_books_stay(self, visitor: Visitor) -> None:
        user = visitor.world.end_user_id
        event = visitor.desk.served()
        visitor.world.key("end_user", SECRET, label="Mine")
        visitor.post("limits", {"daily": "1"})
        token = give_machine(visitor)
        note_fingerprint(user, visitor.world.app_id, address="203.0.113.7", user_agent="x", anonymous=False, now=now())
        other = other_user(visitor, usd="1")
        held = visitor.post("delete", {"word": "delete", "forfeit": "on"})
        assert "still running" in held.content.decode()
        rate_all()
        before = LedgerEntry.objects.count()
        gone = visitor.post("delete", {"word": " Delete ", "forfeit": "on"})
        assert "Your data is deleted" in gone.content.decode()
        assert gone.cookies["mf_me"].value == ""
        assert EndUser.objects.get(pk=user).status == "disabled"
        assert not VirtualSession.objects.filter(end_user_id=user, revoked_at=None).exists()
        assert ProviderCredential.objects.get(owner_id=user).status == "deleted"
        assert SECRET not in str(ProviderCredential.objects.filter(owner_id=user).values())
        with pytest.raises(Unauthorized):
            authenticate_bridge(token)
        assert (LocalEndpoint.objects.count(), BridgeConnection.objects.count()) == (0, 0)
        assert Bridge.objects.get().name == ""
        assert LedgerEntry.objects.count() == before
        assert UsageEvent.objects.filter(request_id=event.request_id).exists()
        funds = balance(visitor.world.account_id)
        assert funds.frozen
        told = AuditEvent.objects.get(action="end_user.erase")
        assert (told.subject_id, told.detail["provider_keys"], told.detail["bridges"]) == (user, 1, 1)
        assert visitor.get().status_code in (401, 403)
        assert other.get().status_code == 200

    def test_empty_wallet_asks_for_nothing_but_the_word(self, visitor: Visitor) -> None:
        other = other_user(visitor)
        assert "is left in your wallet" not in other.text("delete")
        assert "Your data is deleted" in other.post("delete", {"word": "delete"}).content.decode()
        assert not balance(other.world.account_id).frozen
        assert EndUser.objects.get(pk=visitor.world.end_user_id).status == "active"


def give_machine(visitor: Visitor) -> str:
    """Give a user a bridge that is connected and a server that is noted; return the bridge's token."""
    user = visitor.world.end_user_id
    made = create_bridge(end_user_id=user, name="Workbench", now=now(), actor=ACTOR)
    open_connection(bridge_id=made.bridge_id, channel="web.1", version="0.1.0", models=[], max_concurrency=1, now=now())
    url = "http://127.0.0.1:11434/v1"
    add_endpoint(end_user_id=user, name="Here", kind="ollama", base_url=url, models=[], now=now())
    return made.token


def rate_all() -> None:
    """Book what was settled, so that nothing is held any more."""
    from apps.usage.services.rating import rate_pending

    rate_pending(now=now())
