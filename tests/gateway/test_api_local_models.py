"""What end users have on machines of their own: bridges and local endpoints."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client

from apps.core.clock import now
from apps.core.errors import Forbidden, Unauthorized
from apps.core.hashing import keyed_hash
from apps.core.models import ForgottenCaller
from apps.developers.models import AuditEvent
from apps.features.bridges import (
    CONNECTION_PATIENCE,
    authenticate_bridge,
    bridges_of,
    connected_bridges,
    last_connections,
)
from apps.features.models import Bridge, BridgeConnection, LocalEndpoint
from apps.features.queries import authenticate
from apps.features.services.apps import disable_app, enable_app, update_app
from apps.features.services.bridges import (
    MAX_BRIDGES,
    change_offer,
    close_connection,
    create_bridge,
    erase_local_of,
    open_connection,
    revoke_bridge,
    see_connections,
)
from apps.features.services.end_users import disable_end_user
from apps.features.services.local_endpoints import MAX_ENDPOINTS
from apps.features.services.tokens import revoke_session
from tests.gateway.api_factories import Api, code_of, error_of, make_api, make_stranger
from tests.gateway.test_api_provider_keys import session
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
BRIDGES, ENDPOINTS = "/v1/local/bridges", "/v1/local/endpoints"
OFFERED = [{"id": "llama3.2:3b", "context_window": 8192, "capabilities": ["chat", "stream"]}, {"id": "nomic"}]
NOTED = {"name": "My desk", "kind": "ollama", "base_url": "http://127.0.0.1:11434/v1", "models": OFFERED}


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def make(api: Api, name: str = "Laptop", token: str = "") -> Any:
    response = api.post(BRIDGES, {"name": name}, token or api.world.token)
    assert response.status_code == 201, response.content
    return response.json()


def connect(bridge_id: str, *, models: Any = OFFERED, channel: str = "web.1") -> str:
    return open_connection(
        bridge_id=bridge_id, channel=channel, version="0.1.0", models=models, max_concurrency=4, now=now()
    )


def note(api: Api, token: str = "", **body: Any) -> Any:
    response = api.post(ENDPOINTS, {**NOTED, **body}, token or api.world.token)
    assert response.status_code == 201, response.content
    return response.json()


def patch(api: Api, path: str, body: Any, token: str) -> Any:
    headers = {"authorization": f"Bearer {token}"}
    return api.client.patch(path, body, content_type="application/json", headers=headers)


def test_bridge_gets_a_token_that_is_shown_once_and_stored_as_a_hash(api: Api) -> None:
    made = make(api)
    token = made.pop("token")
    assert token.startswith("mf_brg_") and len(token) > 40
    assert made == {
        "object": "bridge",
        "id": made["id"],
        "name": "Laptop",
        "connected": False,
        "connected_at": None,
        "last_seen_at": None,
        "version": None,
        "models": [],
        "created_at": made["created_at"],
    }
    assert api.get(BRIDGES, api.world.token).json()["data"] == [made]
    assert Bridge.objects.get().token_hash == keyed_hash("token", token)
    assert token not in api.get(BRIDGES, api.world.token).content.decode()
    who = authenticate_bridge(token)
    assert (who.id, who.app_id, who.end_user_id) == (made["id"], api.app_id, api.world.end_user_id)
    assert who.developer_id == api.developer_id
    event = AuditEvent.objects.get(action="bridge.create")
    assert (event.subject_id, event.developer_id) == (made["id"], api.developer_id)


def test_bridge_token_calls_no_model_and_reads_no_wallet(api: Api) -> None:
    token = make(api)["token"]
    for path in ("/v1/user/wallet", "/v1/user/fees", BRIDGES, ENDPOINTS):
        assert code_of(api.get(path, token)) == (401, "invalid_token")


def test_connection_is_shown_while_it_lives(api: Api) -> None:
    bridge_id = make(api)["id"]
    user = api.world.end_user_id
    connection_id = connect(bridge_id)
    (shown,) = api.get(BRIDGES, api.world.token).json()["data"]
    assert (shown["connected"], shown["version"], shown["models"]) == (True, "0.1.0", OFFERED)
    (alive,) = connected_bridges(user, now=now())
    assert (alive.bridge_id, alive.connection_id, alive.channel) == (bridge_id, connection_id, "web.1")
    assert (alive.max_concurrency, list(alive.models)) == (4, OFFERED)

    assert change_offer(connection_id, version="0.1.1", models=OFFERED[:1], max_concurrency=2, now=now())
    assert list(connected_bridges(user, now=now())[0].models) == OFFERED[:1]

    later = now() + CONNECTION_PATIENCE * 2
    assert connected_bridges(user, now=later) == ()  # its process died without a word
    see_connections([connection_id], now=later)
    assert connected_bridges(user, now=later) != ()
    see_connections([connection_id], now=later - timedelta(hours=1))  # a clock that is behind takes nothing back
    assert connected_bridges(user, now=later) != ()

    assert close_connection(connection_id, now=later)
    assert not close_connection(connection_id, now=later)
    (over,) = bridges_of(user, now=later)
    assert (over.connected, over.version, over.last_seen_at) == (False, "0.1.1", later)


def test_bridge_that_connects_again_takes_the_place_of_its_connection(api: Api) -> None:
    bridge_id = make(api)["id"]
    first = connect(bridge_id)
    second = connect(bridge_id, channel="web.2")
    assert last_connections([first, second]) == {second}
    assert not close_connection(first, now=now())  # the late farewell of the first ends nothing
    assert [one.connection_id for one in connected_bridges(api.world.end_user_id, now=now())] == [second]
    assert BridgeConnection.objects.count() == 1


def test_callers_are_loaded_again_when_a_bridge_comes_or_goes(api: Api) -> None:
    bridge_id = make(api)["id"]

    def told() -> set[str]:
        ids = set(ForgottenCaller.objects.values_list("subject_id", flat=True))
        ForgottenCaller.objects.all().delete()
        return ids

    told()
    connection_id = connect(bridge_id)
    assert told() == {api.world.end_user_id}
    see_connections([connection_id], now=now())
    assert told() == set()
    close_connection(connection_id, now=now())
    assert told() == {api.world.end_user_id}
    revoke_bridge(bridge_id=bridge_id, now=now(), actor=ACTOR)
    assert told() == {bridge_id, api.world.end_user_id}


def test_revoked_bridge_is_refused_at_once(api: Api) -> None:
    made = make(api)
    connect(made["id"])
    assert api.delete(f"{BRIDGES}/{made['id']}", api.world.token).status_code == 204
    assert api.delete(f"{BRIDGES}/{made['id']}", api.world.token).status_code == 204
    with pytest.raises(Unauthorized) as refused:
        authenticate_bridge(made["token"])
    assert refused.value.code == "token_revoked"
    with pytest.raises(Unauthorized):
        connect(made["id"])
    assert connected_bridges(api.world.end_user_id, now=now()) == ()
    assert api.get(BRIDGES, api.world.token).json()["data"] == []
    assert AuditEvent.objects.filter(action="bridge.revoke", subject_id=made["id"]).count() == 1


def test_bridge_is_refused_with_its_app_or_end_user(api: Api) -> None:
    token = make(api)["token"]
    disable_app(app_id=api.app_id, now=now(), actor=ACTOR)
    with pytest.raises(Forbidden) as refused:
        authenticate_bridge(token)
    assert refused.value.code == "app_disabled"
    enable_app(app_id=api.app_id, now=now(), actor=ACTOR)
    disable_end_user(end_user_id=api.world.end_user_id, now=now(), actor=ACTOR)
    with pytest.raises(Forbidden) as refused:
        authenticate_bridge(token)
    assert refused.value.code == "end_user_disabled"
    with pytest.raises(Unauthorized):
        authenticate_bridge("mf_brg_" + "x" * 43)
    with pytest.raises(Unauthorized):
        authenticate_bridge(api.world.token)


def test_bridges_are_bounded(api: Api) -> None:
    for number in range(MAX_BRIDGES):
        make(api, f"Machine {number}")
    assert code_of(api.post(BRIDGES, {"name": "One more"}, api.world.token)) == (409, "too_many_bridges")
    first = api.get(BRIDGES, api.world.token).json()["data"][0]
    api.delete(f"{BRIDGES}/{first['id']}", api.world.token)
    make(api, "In its place")


@pytest.mark.django_db(transaction=True)
def test_bridges_are_bounded_when_made_at_the_same_time(api: Api) -> None:
    def one(_number: int) -> bool:
        try:
            create_bridge(end_user_id=api.world.end_user_id, name="Machine", now=now(), actor=ACTOR)
        except Exception:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        made = sum(pool.map(one, range(20)))
    assert made == Bridge.objects.count() == MAX_BRIDGES


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201, "mf_brg_abc"])
def test_bridge_needs_a_name(api: Api, name: str) -> None:
    response = api.post(BRIDGES, {"name": name}, api.world.token)
    assert (response.status_code, error_of(response)["param"]) == (400, "name")


def test_endpoint_is_noted_changed_and_removed(api: Api) -> None:
    bridge_id = make(api)["id"]
    noted = note(api, bridge_id=bridge_id)
    assert noted == {
        "object": "local_endpoint",
        "id": noted["id"],
        **NOTED,
        "bridge_id": bridge_id,
        "created_at": noted["created_at"],
        "changed_at": noted["created_at"],
    }
    path = f"{ENDPOINTS}/{noted['id']}"
    assert api.get(path, api.world.token).json() == noted
    assert api.get(ENDPOINTS, api.world.token).json()["data"] == [noted]
    changed = patch(api, path, {"name": "Under the desk", "models": [], "bridge_id": None}, api.world.token).json()
    assert (changed["name"], changed["models"], changed["bridge_id"]) == ("Under the desk", [], None)
    assert (changed["kind"], changed["base_url"]) == (NOTED["kind"], NOTED["base_url"])
    assert api.delete(path, api.world.token).status_code == 204
    assert code_of(api.delete(path, api.world.token)) == (404, "endpoint_not_found")
    assert LocalEndpoint.objects.count() == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"kind": "cloud"}, "kind"),
        ({"name": None}, "name"),
        ({"base_url": None}, "base_url"),
        ({"base_url": "ftp://127.0.0.1"}, "base_url"),
        ({"base_url": "http://user:secret@127.0.0.1/v1"}, "base_url"),
        ({"base_url": "http://127.0.0.1/v1?key=secret"}, "base_url"),
        ({"base_url": "http://127.0.0.1:99999/v1"}, "base_url"),
        ({"base_url": "http:///v1"}, "base_url"),
        ({"base_url": "http://h/" + "x" * 500}, "base_url"),
        ({"models": "llama"}, "models"),
        ({"models": [{"id": str(number)} for number in range(201)]}, "models"),
        ({"models": ["llama"]}, "models[0]"),
        ({"models": [{"id": "a"}, {"id": ""}]}, "models[1].id"),
        ({"models": [{"id": "a", "prompt": "x"}]}, "models[0]"),
        ({"models": [{"id": "a", "context_window": 0}]}, "models[0].context_window"),
        ({"models": [{"id": "a", "context_window": True}]}, "models[0].context_window"),
        ({"models": [{"id": "a", "capabilities": ["magic"]}]}, "models[0].capabilities"),
        ({"models": [{"id": "a", "capabilities": "chat"}]}, "models[0].capabilities"),
    ],
)
def test_endpoint_that_cannot_be_noted(api: Api, body: Any, param: str) -> None:
    response = api.post(ENDPOINTS, {**NOTED, **body}, api.world.token)
    assert (response.status_code, error_of(response)["param"]) == (400, param)
    noted = note(api)
    if None not in body.values():
        answered = patch(api, f"{ENDPOINTS}/{noted['id']}", body, api.world.token)
        assert (answered.status_code, error_of(answered)["param"]) == (400, param)


def test_endpoints_are_bounded(api: Api) -> None:
    for _number in range(MAX_ENDPOINTS):
        note(api)
    assert code_of(api.post(ENDPOINTS, NOTED, api.world.token)) == (409, "too_many_endpoints")


def test_stranger_sees_and_changes_nothing(api: Api) -> None:
    bridge, endpoint = make(api), note(api)
    _developer, strange_app, strange_token = make_stranger()
    for stranger in (session(api, user="bob"), session(api, app_id=strange_app, user="alice")):
        assert api.get(BRIDGES, stranger).json()["data"] == []
        assert api.get(ENDPOINTS, stranger).json()["data"] == []
        path = f"{ENDPOINTS}/{endpoint['id']}"
        assert code_of(api.get(path, stranger)) == (404, "endpoint_not_found")
        assert code_of(patch(api, path, {"name": "Mine"}, stranger)) == (404, "endpoint_not_found")
        assert code_of(api.delete(path, stranger)) == (404, "endpoint_not_found")
        assert code_of(api.delete(f"{BRIDGES}/{bridge['id']}", stranger)) == (404, "bridge_not_found")
        taken = api.post(ENDPOINTS, {**NOTED, "bridge_id": bridge["id"]}, stranger)
        assert code_of(taken) == (404, "bridge_not_found")
    assert code_of(api.get(BRIDGES, strange_token)) == (401, "invalid_token")
    assert LocalEndpoint.objects.get().name == NOTED["name"]
    assert authenticate_bridge(bridge["token"]).id == bridge["id"]


def test_who_may_ask(api: Api) -> None:

    update_app(app_id=api.app_id, anonymous_allowance=1, now=now(), actor=ACTOR)
    device = session(api, user="device", assurance="anonymous")
    for path, body in ((BRIDGES, {"name": "Laptop"}), (ENDPOINTS, NOTED)):
        assert code_of(api.post(path, body, device)) == (403, "proof_required")
        assert code_of(api.post(path, body, api.world.virtual_key(usd="1"))) == (403, "end_user_required")
        assert code_of(api.post(path, body, api.developer_token)) == (401, "invalid_token")
        assert code_of(api.post(path, body)) == (401, "missing_token")
        assert api.get(path, device).json()["data"] == []


def test_revoked_session_is_refused(api: Api) -> None:
    bridge = make(api)

    revoke_session(session_id=authenticate(api.world.token, now=now()).id, now=now(), actor=ACTOR)
    for answered in (
        api.get(BRIDGES, api.world.token),
        api.post(BRIDGES, {"name": "x"}, api.world.token),
        api.delete(f"{BRIDGES}/{bridge['id']}", api.world.token),
        api.get(ENDPOINTS, api.world.token),
        api.post(ENDPOINTS, NOTED, api.world.token),
    ):
        assert code_of(answered) == (401, "token_revoked")
    assert authenticate_bridge(bridge["token"])  # the bridge lasts until it is revoked itself


def test_session_says_whether_local_models_are_there(api: Api) -> None:
    def modes() -> list[str]:
        proof = {"public_app_id": api.public_id, "user_token": api.user_token("carol")}
        opened = api.post("/v1/sessions", proof).json()
        modes.token = opened["session_token"]  # type: ignore[attr-defined]
        return list(opened["available_modes"])

    assert modes() == ["platform"]
    token = modes.token  # type: ignore[attr-defined]
    bridge_id = make(api, token=token)["id"]
    assert modes() == ["platform"]  # a bridge that is not connected serves nobody
    connection_id = connect(bridge_id)
    assert modes() == ["local", "platform"]
    close_connection(connection_id, now=now())
    assert modes() == ["platform"]
    note(api, token=token)
    assert modes() == ["local", "platform"]


def test_database_keeps_machines_with_their_owner(api: Api) -> None:
    bridge, endpoint = make(api), note(api)
    _developer, strange_app, _token = make_stranger()
    session(api, user="bob")
    for moved in (
        lambda: Bridge.objects.filter(pk=bridge["id"]).update(app_id=strange_app),
        lambda: LocalEndpoint.objects.filter(pk=endpoint["id"]).update(app_id=strange_app),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            moved()
    bob = session(api, user="bob")
    other = make(api, token=bob)
    with pytest.raises(IntegrityError), transaction.atomic():
        LocalEndpoint.objects.filter(pk=endpoint["id"]).update(bridge_id=other["id"])


def test_end_user_who_leaves_takes_machines_along(api: Api) -> None:
    made = make(api)
    note(api, bridge_id=made["id"])
    connect(made["id"])
    assert erase_local_of(api.world.end_user_id, now=now(), actor=ACTOR) == 1
    assert (LocalEndpoint.objects.count(), BridgeConnection.objects.count()) == (0, 0)
    row = Bridge.objects.get()
    assert row.name == "" and row.revoked_at is not None
    assert erase_local_of(api.world.end_user_id, now=now(), actor=ACTOR) == 0
