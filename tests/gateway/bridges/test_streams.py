"""Streams over a bridge that do not go well: clients that leave or are slow, bridges that die or say nothing."""

import os
import signal
import time
from contextlib import suppress

import httpx
import pytest

from tests.gateway.bridges.conftest import LOCAL, Bridges, Connect, none_connected
from tests.live import Server, World, rate_all, wait_until
from tests.provider_answers import Behaviour
from tests.provider_double import ProviderDouble

PROMISE = 2.0  # seconds in which a loss is told
PREFER = {"model": LOCAL, "modelfaucet": {"prefer": "local"}}


def test_client_that_leaves_stops_the_local_model(world: World, connect: Connect, local: ProviderDouble) -> None:
    connect()
    local.default = Behaviour(chunks=2000, interval=0.02)
    with world.stream(**PREFER) as response:
        next(response.iter_bytes())
    left = time.monotonic()
    local.wait_for(lambda: local.requests[0].closed_by_peer_at is not None, 5)
    closed_at = local.requests[0].closed_by_peer_at
    assert closed_at is not None and closed_at - left < 1
    event = world.wait_for_event()
    assert (event.route_mode, event.outcome) == ("local", "client_left") and event.estimated
    assert rate_all() == 1 and world.balance().held == 0


def test_client_that_leaves_before_the_answer_stops_the_local_model(
    world: World, connect: Connect, local: ProviderDouble
) -> None:
    connect()
    local.default = Behaviour(fail="stall-before")
    with suppress(httpx.ReadTimeout):
        httpx.post(
            f"{world.base_url}/v1/chat/completions", json=world.body("Hi", **PREFER), headers=world.headers(), timeout=1
        )
    local.wait_for(lambda: local.requests[0].closed_by_peer_at is not None, 5)
    assert world.wait_for_event().price_nano == 0


def test_slow_reader_stops_the_local_model_and_costs_no_memory(
    world: World, connect: Connect, local: ProviderDouble, server: Server
) -> None:
    running = connect()
    size = 60_000_000
    local.default = Behaviour(chunks=size // 10_000, chunk_bytes=10_000)
    before = running.memory
    with world.stream(**PREFER) as response:
        pieces = response.iter_bytes()
        got = len(next(pieces))
        wait_until(lambda: _rests(local), 20)
        stopped_at = local.requests[0].bytes_written
        time.sleep(1)
        assert local.requests[0].bytes_written == stopped_at, "the bridge went on reading"
        # Buffers of four sockets, and a window of chunks.
        assert stopped_at < 20_000_000, "more was read than is bounded"
        assert running.memory - before < 30_000_000
        assert all(len(answer.parts) <= 32 for answer in _calls(server))
        got += sum(len(piece) for piece in pieces)
    assert got > size and local.requests[0].completed
    assert world.wait_for_event().outcome == "finished"


def _rests(local: ProviderDouble) -> bool:
    written = local.requests[0].bytes_written
    time.sleep(0.5)
    return local.requests[0].bytes_written == written


def _calls(server: Server) -> list:
    runtime = server.gateway._runtime
    assert runtime is not None
    return list(runtime.bridges.calls.values())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_loss_in_mid_stream_is_told_in_time_and_the_next_call_is_served_by_another(
    world: World, connect: Connect, local: ProviderDouble, how: signal.Signals
) -> None:
    """A process that is killed closes its socket; one that is stopped, as a machine that sleeps, just says nothing."""
    first = connect()
    local.default = Behaviour(chunks=2000, interval=0.02)
    world.manifest(privacy={"mode": "local_only"})
    with world.stream(model=LOCAL) as response:
        pieces = response.iter_bytes()
        said = next(pieces) + next(pieces)
        second = connect()
        os.kill(first.process.pid, how)
        killed = time.monotonic()
        said += b"".join(pieces)
    took = time.monotonic() - killed
    assert took < PROMISE, f"{took:.2f} s"
    assert b'"bridge_lost"' in said and b"[DONE]" not in said
    event = world.wait_for_event()
    assert (event.outcome, event.error_code, event.price_nano) == ("provider_failed", "bridge_lost", 0)

    local.default = Behaviour()
    answer = world.chat(model=LOCAL)
    assert answer.status_code == 200
    assert world.event(answer).credential_id == second.bridge_id
    first.kill()


def test_bridge_that_says_nothing_is_passed_over(
    world: World, connect: Connect, local: ProviderDouble, double: ProviderDouble
) -> None:
    running = connect()
    world.manifest(routing={"policy": "local_first"})
    os.kill(running.process.pid, signal.SIGSTOP)
    answer = world.chat()
    assert (answer.status_code, answer.headers["x-modelfaucet-route-mode"]) == (200, "platform")
    assert len(double.requests) == 1
    [attempt] = world.event().attempts
    assert attempt["code"] == "bridge_unavailable" and attempt["ms"] < 1000 * PROMISE
    # Hung up on, it is not asked again, and connects by itself once it wakes.
    wait_until(lambda: none_connected(world), 5)
    assert world.chat().headers["x-modelfaucet-route-mode"] == "platform"
    assert len(double.requests) == 2
    os.kill(running.process.pid, signal.SIGCONT)
    wait_until(lambda: world.chat().headers["x-modelfaucet-route-mode"] == "local", 10)


def test_gateway_that_restarts_is_found_again(
    world: World, server: Server, bridges: Bridges, local: ProviderDouble, connect: Connect
) -> None:
    """The bridge's own patience: it dials until somebody answers, and says what it offers again."""
    running = connect()
    link = next(iter(server.gateway._runtime.bridges.links.values()))  # type: ignore[union-attr]
    server.gateway._runtime.loop.call_soon_threadsafe(link.close, 1012)  # type: ignore[union-attr]
    wait_until(lambda: "code 1012" in running.log.read_text(), 5)
    world.manifest(privacy={"mode": "local_only"})
    wait_until(lambda: world.chat().status_code == 200, 10)


def test_silence_of_the_local_model_is_not_taken_for_a_loss(
    world: World, connect: Connect, local: ProviderDouble
) -> None:
    connect()
    local.default = Behaviour(delay=4)
    answer = world.chat(**PREFER)
    assert (answer.status_code, answer.headers["x-modelfaucet-route-mode"]) == (200, "local")


def test_local_model_that_breaks_off_is_told(world: World, connect: Connect, local: ProviderDouble) -> None:
    connect()
    local.default = Behaviour(fail="close-within")
    with world.stream(**PREFER) as response:
        said = response.read()
    assert b"bridge_endpoint_broke_off" in said and b"[DONE]" not in said
    assert world.wait_for_event().price_nano == 0
