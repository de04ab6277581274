"""One session and the same call, served in turn by all four sources, as one policy has it."""

from apps.core.clock import now
from apps.vault.services.credentials import disable_credential
from tests.gateway.bridges.conftest import LOCAL, Connect
from tests.live import ACTOR, Server, World, differences, notice, rate_all
from tests.provider_double import ProviderDouble

SOURCES = ("local", "byok", "developer_key", "platform")


def test_same_call_is_served_by_all_four_sources_in_turn(
    server: Server, world: World, double: ProviderDouble, local: ProviderDouble, connect: Connect
) -> None:
    world.manifest(routing={"policy": "local_first"})
    own = world.key("end_user", "sk-user-1")
    developers = world.key("developer", "sk-developer-1")
    world.acknowledge()
    running = connect(LOCAL)
    notice(server)

    def call() -> str:
        answer = world.chat("Say hello")
        assert answer.status_code == 200, answer.text
        event = world.event(answer)
        passed_over = {entry["mode"] for entry in event.routing["rejected"]}
        # The event says which source served, and why those before it did not.
        assert set(SOURCES[: SOURCES.index(event.route_mode)]) - {"local"} <= passed_over
        assert event.policy == "local_first"
        return answer.headers["x-modelfaucet-route-mode"]

    served = [call()]
    running.stop()
    notice(server)
    served.append(call())
    for key in (own, developers):
        disable_credential(key, now=now(), actor=ACTOR)
        notice(server)
        served.append(call())
    assert served == list(SOURCES)
    assert len(local.requests) == 1
    assert double.keys_used() == ["sk-user-1", "sk-developer-1", "sk-double-0"]
    assert rate_all() == 4 and not differences()
