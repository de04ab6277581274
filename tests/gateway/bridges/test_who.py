"""Whose bridge answers, and what nobody else gets to see."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from apps.core.clock import now
from apps.features.services.bridges import revoke_bridge
from tests.gateway.bridges.conftest import LOCAL, SECRET_WORD, Connect
from tests.live import Server, World, wait_until
from tests.provider_answers import Behaviour
from tests.provider_double import ProviderDouble


def test_stranger_never_reaches_another_users_bridge(
    world: World, connect: Connect, local: ProviderDouble, double: ProviderDouble
) -> None:
    connect()
    stranger = world.new_session("bob", usd="1")
    world.manifest(privacy={"mode": "local_only"})
    refused = stranger.chat(SECRET_WORD, model=LOCAL)
    assert refused.json()["error"]["code"] == "model_not_found"
    refused = stranger.chat(SECRET_WORD)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "local_bridge_unavailable")
    world.manifest(routing={"policy": "local_first"})
    wait_until(lambda: stranger.chat(SECRET_WORD).status_code == 200)
    assert not local.requests and len(double.requests) == 1
    # A virtual key stands for the developer, who has no bridge.
    world.token = world.virtual_key(usd="1")
    assert world.chat(SECRET_WORD).headers["x-modelfaucet-route-mode"] == "platform"
    assert not local.requests


def test_local_only_feature_reaches_no_cloud_and_leaves_nothing_of_the_prompt(
    world: World, connect: Connect, local: ProviderDouble, double: ProviderDouble
) -> None:
    connect()
    world.manifest(privacy={"mode": "local_only"}, routing={"fallback_models": ["test-model"]})
    prompt = f"My secret is {SECRET_WORD}."
    assert world.chat(prompt).status_code == 200
    with world.stream(prompt) as response:
        assert b"[DONE]" in response.read()
    local.script(Behaviour(status=500), Behaviour(fail="close-within"), Behaviour(fail="garbage"))
    assert world.chat(prompt).status_code == 502
    with world.stream(prompt) as response:
        assert b"bridge_endpoint_broke_off" in response.read()
    assert world.chat(prompt).status_code == 502
    assert len(local.requests) == 5 and SECRET_WORD in str(local.requests[0].body)
    assert not double.requests and not double.embeddings
    assert not tables_with(SECRET_WORD)


def tables_with(word: str) -> list[str]:
    """Return the tables of the database in which a word stands, in whichever column."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            name = connection.ops.quote_name(table)
            cursor.execute(f"SELECT count(*) FROM {name} AS row WHERE row::text LIKE %s", [f"%{word}%"])  # noqa: S608
            if cursor.fetchone()[0]:
                found.append(table)
    return found


def test_tables_are_searched_as_they_should_be(world: World) -> None:
    """The search of the test above finds what is there."""
    assert "apps" in tables_with(world.app_id)


def test_two_bridges_share_the_calls(world: World, connect: Connect, local: ProviderDouble) -> None:
    first, second = connect(), connect()
    world.manifest(privacy={"mode": "local_only"})
    local.default = Behaviour(delay=2)  # all eight are under way at once, on a busy machine, too
    with ThreadPoolExecutor(8) as threads:
        answers = [one.result() for one in [threads.submit(world.chat) for _ in range(8)]]
    assert {answer.status_code for answer in answers} == {200}
    served = Counter(world.event(answer).credential_id for answer in answers)
    assert served == {first.bridge_id: 4, second.bridge_id: 4}


def test_calls_beyond_a_bridges_own_limit_wait_there(world: World, connect: Connect, local: ProviderDouble) -> None:
    connect(concurrency=1)
    world.manifest(privacy={"mode": "local_only"})
    local.default = Behaviour(delay=0.2)
    with ThreadPoolExecutor(5) as threads:
        answers = [one.result() for one in [threads.submit(world.chat) for _ in range(5)]]
    assert {answer.status_code for answer in answers} == {200}
    assert local.max_in_flight == 1


def test_revoked_bridge_is_hung_up_on_and_its_program_ends(
    world: World, connect: Connect, local: ProviderDouble, server: Server
) -> None:
    running = connect()
    world.manifest(privacy={"mode": "local_only"})
    assert world.chat().status_code == 200
    revoke_bridge(bridge_id=running.bridge_id, now=now(), actor="test")
    began = time.monotonic()
    assert running.process.wait(10) == 1
    assert time.monotonic() - began < 2
    assert "revoked" in running.log.read_text()
    assert world.chat().json()["error"]["code"] == "local_bridge_unavailable"


def test_what_cannot_be_redacted_goes_to_the_local_model(
    world: World, connect: Connect, local: ProviderDouble, double: ProviderDouble
) -> None:
    """Redaction is for the cloud: what stays with the user is sent as it is."""
    connect()
    world.manifest(privacy={"mode": "redact_before_cloud"}, routing={"policy": "local_first"})
    answer = world.chat("Write to ada@example.com")
    assert answer.status_code == 200 and not double.requests
    assert "ada@example.com" in str(local.requests[0].body)
