"""Clients that read slowly or not at all cost no memory, and answers as long as they like are passed through."""

import json
import socket
import time
import tracemalloc
from typing import Any

import pytest

from apps.usage.models import UsageEvent
from tests.live import World
from tests.provider_answers import Behaviour
from tests.provider_double import ProviderDouble
from tests.settlement.asking import ask


def open_stream(world: World, **options: int) -> socket.socket:
    """Ask for a stream on a socket of our own, with a small receive buffer, and read nothing."""
    host, port = world.base_url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.connect((host, int(port)))
    body = json.dumps(world.body("Say hello", stream=True))
    connection.sendall(
        (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.token}\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        ).encode()
    )
    return connection


ENORMOUS = Behaviour(chunks=4_000, chunk_bytes=10_000)


def test_reader_that_stalls_holds_up_the_provider_and_then_counts_as_gone(world: World, double: ProviderDouble) -> None:
    double.script(ENORMOUS)
    with open_stream(world):
        event = world.wait_for_event()
        request = double.requests[0]
        double.wait_for(lambda: request.closed_by_peer_at)
        # 40 MB were to come; what was taken lies in the double's send buffer, which the kernel lets grow to some
        # megabytes, and in ours and our sockets', which are bounded.
        assert request.bytes_written < 12_000_000
        assert (event.outcome, event.estimated, event.charged) == ("client_left", True, True)
        assert 1_000 <= event.duration_ms < 4_000
        assert UsageEvent.objects.count() == 1


def test_reader_that_is_slow_but_reads_gets_everything(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(chunks=200, chunk_bytes=10_000))
    received = 0
    with open_stream(world) as connection:
        data = b""
        while b"[DONE]" not in data[-200:]:
            piece = connection.recv(200_000)
            assert piece
            received += len(piece)
            data = data[-200:] + piece
            time.sleep(0.002)
    assert received > 2_000_000
    assert world.wait_for_event().outcome == "finished"


def test_enormous_stream_passes_through_in_bounded_memory(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(chunks=1_500, chunk_bytes=10_000, usage="missing"))
    with open_stream(world) as connection:
        buffer = memoryview(bytearray(1_000_000))
        received = connection.recv_into(buffer)  # the double has made its answer by now
        tracemalloc.start()
        tail = b""
        while b"[DONE]" not in tail:
            count = connection.recv_into(buffer)
            assert count
            received += count
            tail = tail[-100:] + bytes(buffer[max(count - 100, 0) : count])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert received > 15_000_000
    event = world.wait_for_event()
    assert (event.outcome, event.estimated) == ("finished", True)
    assert event.output_tokens > 1_000_000
    assert peak < 10_000_000


@pytest.mark.parametrize("stream", [False, True])
def test_large_prompt_reaches_the_provider_whole(world: World, double: ProviderDouble, stream: bool) -> None:
    text = "A long story. " * 40_000
    answered = ask(world, text, stream=stream)
    assert answered.status == 200
    sent: Any = double.requests[0].body
    assert sent["messages"][0]["content"] == text
