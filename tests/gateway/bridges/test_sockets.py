"""The socket itself, spoken to by hand: who is let in, what is taken, and how it is closed."""

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from apps.core.clock import now
from apps.features.services.bridges import create_bridge, revoke_bridge
from apps.features.services.end_users import disable_end_user
from apps.gateway.bridges import consumer, protocol
from tests.gateway.bridges.conftest import LOCAL, connected, none_connected
from tests.live import ACTOR, Server, World, notice, wait_until

HELLO: dict[str, Any] = {"version": "9.9", "models": [{"id": LOCAL}], "max_concurrency": 2}


class Hand:
    """A bridge that does only what the test says."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def send(self, kind: str, **members: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **members}))

    def chunk(self, call: str, data: bytes) -> None:
        self.send("chunk", call=call, data=base64.b64encode(data).decode())

    def next(self, kind: str, seconds: float = 10) -> dict[str, Any]:
        """Return the next frame of a kind; answers pings meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            frame = json.loads(self.socket.recv(max(deadline - time.monotonic(), 0)))
            if frame["type"] == kind:
                return dict(frame)
            if frame["type"] == "ping":
                self.send("pong")

    def closed(self, seconds: float = 10) -> int:
        """Return the code with which the gateway closes."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self.socket.recv(max(deadline - time.monotonic(), 0))
        except ConnectionClosed as ended:
            assert ended.rcvd is not None
            return ended.rcvd.code


@contextmanager
def dialled(world: World, token: str, *, subprotocol: str | None = protocol.SUBPROTOCOL) -> Iterator[Hand]:
    with connect(
        world.base_url.replace("http", "ws") + protocol.PATH,
        additional_headers={"Authorization": f"Bearer {token}"},
        subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
        compression=None,
        close_timeout=1,
    ) as socket:
        yield Hand(socket)


@contextmanager
def greeted(world: World, server: Server, **hello: Any) -> Iterator[Hand]:
    made = create_bridge(end_user_id=world.end_user_id, name="By hand", now=now(), actor=ACTOR)
    with dialled(world, made.token) as hand:
        hand.send("hello", **{**HELLO, **hello})
        welcome = hand.next("welcome")
        assert welcome == {"type": "welcome", "bridge_id": made.bridge_id, "ping_seconds": 5.0}
        notice(server)
        yield hand
    wait_until(lambda: not connected(made.bridge_id), 10)


@pytest.fixture
def token(world: World) -> str:
    return create_bridge(end_user_id=world.end_user_id, name="By hand", now=now(), actor=ACTOR).token


def test_token_that_nobody_knows_is_closed(world: World, token: str) -> None:
    for wrong in ("mf_brg_unknown", world.token, "x" * 600):
        with dialled(world, wrong) as hand:
            assert hand.closed() == protocol.UNKNOWN_TOKEN


def test_revoked_token_is_closed_and_its_socket_too(world: World, server: Server) -> None:
    made = create_bridge(end_user_id=world.end_user_id, name="By hand", now=now(), actor=ACTOR)
    world.manifest(privacy={"mode": "local_only"})
    with dialled(world, made.token) as hand:
        hand.send("hello", **HELLO)
        hand.next("welcome")
        revoke_bridge(bridge_id=made.bridge_id, now=now(), actor=ACTOR)
        revoked = time.monotonic()
        assert hand.closed() == protocol.UNKNOWN_TOKEN
        assert time.monotonic() - revoked < 1
    answer = world.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "local_bridge_unavailable")
    with dialled(world, made.token) as hand:
        assert hand.closed() == protocol.UNKNOWN_TOKEN


def test_end_user_that_is_disabled_is_closed(world: World, server: Server) -> None:
    with greeted(world, server) as hand:
        disable_end_user(end_user_id=world.end_user_id, now=now(), actor=ACTOR)
        assert hand.closed() == protocol.SUSPENDED


def test_other_paths_and_protocols_are_refused(world: World, token: str) -> None:
    with dialled(world, token, subprotocol=None) as hand:
        assert hand.closed() == protocol.PROTOCOL_ERROR
    with pytest.raises(InvalidStatus), connect(world.base_url.replace("http", "ws") + "/v1/other"):
        pass


def test_bridge_that_does_not_say_hello_is_closed(world: World, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "HELLO_SECONDS", 0.3)
    with dialled(world, token) as hand:
        assert hand.closed() == protocol.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[]", protocol.PROTOCOL_ERROR),
        ('{"type": "unheard-of"}', protocol.PROTOCOL_ERROR),
        ('{"type": "hello", "models": [{}]}', protocol.PROTOCOL_ERROR),
        (json.dumps({"type": "ping", "x": "y" * protocol.MAX_FRAME_BYTES}), protocol.TOO_LARGE),
        (json.dumps({"type": "chunk", "call": "c", "data": base64.b64encode(bytes(70_000)).decode()}), 1009),
    ],
)
def test_frame_that_is_none_closes_the_socket(world: World, token: str, text: str, code: int) -> None:
    with dialled(world, token) as hand:
        hand.socket.send(text)
        assert hand.closed() == code
    with dialled(world, token) as hand:
        hand.socket.send(b"\x00\x01")
        assert hand.closed() == protocol.PROTOCOL_ERROR


def test_call_is_told_as_documented(world: World, server: Server) -> None:
    with greeted(world, server) as hand, ThreadPoolExecutor() as threads:
        asked = threads.submit(world.chat, "Hi", model=LOCAL, modelfaucet={"prefer": "local"})
        call = hand.next("call")
        body = call.pop("body")
        told = {name: call[name] for name in ("type", "model", "operation", "stream", "window")}
        assert told == {"type": "call", "model": LOCAL, "operation": "chat", "stream": False, "window": 32}
        assert body["messages"] == [{"role": "user", "content": "Hi"}] and body["model"] == LOCAL
        hand.send("accepted", call=call["call"])
        hand.send("head", call=call["call"], status=200, content_type="application/json")
        said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Ho"}, "finish_reason": "stop"}]}
        hand.chunk(call["call"], json.dumps(said).encode())
        hand.send("end", call=call["call"])
        answer = asked.result(10)
    assert answer.json()["choices"][0]["message"]["content"] == "Ho"
    event = world.event(answer)
    assert event.estimated and event.output_tokens > 0  # no usage was told, so it was counted


def test_more_chunks_than_there_is_credit_for_close_the_socket(world: World, server: Server) -> None:
    with greeted(world, server) as hand, ThreadPoolExecutor() as threads:
        opened = threads.submit(_unread, world)
        call = hand.next("call")["call"]
        hand.send("accepted", call=call)
        hand.send("head", call=call, status=200, content_type="text/event-stream")
        with pytest.raises(ConnectionClosed):
            for _ in range(2000):
                hand.chunk(
                    call,
                    b"data: " + b'{"choices":[{"delta":{"content":"x"}}]}' + b"\n\n" + b": " + b"p" * 60_000 + b"\n\n",
                )
        assert hand.closed() == protocol.PROTOCOL_ERROR
        opened.result(10)


def _unread(world: World) -> None:
    with world.stream(model=LOCAL, modelfaucet={"prefer": "local"}):
        time.sleep(4)


def test_credit_comes_as_the_client_reads(world: World, server: Server) -> None:
    with greeted(world, server) as hand, ThreadPoolExecutor() as threads:
        asked = threads.submit(world.chat, "Hi", model=LOCAL, modelfaucet={"prefer": "local"})
        call = hand.next("call")["call"]
        hand.send("accepted", call=call)
        hand.send("head", call=call, status=200)
        given = 0
        for sent in range(100):
            if sent - given == protocol.WINDOW:
                given += hand.next("credit")["chunks"]
            hand.chunk(call, b" ")
        hand.send("failed", call=call, code="busy", message="said by nobody")
        answer = asked.result(10)
    assert answer.json()["error"]["code"] == "bridge_busy" and "nobody" not in answer.text
    assert given >= 100 - protocol.WINDOW


def test_cancelled_call_is_told_and_what_comes_after_is_ignored(world: World, server: Server) -> None:
    with greeted(world, server) as hand, ThreadPoolExecutor() as threads:
        left = threads.submit(_leaves, world)
        call = hand.next("call")["call"]
        hand.send("accepted", call=call)
        assert hand.next("cancel", 5)["call"] == call
        hand.send("head", call=call, status=200)
        hand.send("end", call=call)
        left.result(10)
        hand.send("ping")
        assert hand.next("pong")


def _leaves(world: World) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{world.base_url}/v1/chat/completions",
            json=world.body("Hi", model=LOCAL, modelfaucet={"prefer": "local"}),
            headers=world.headers(),
            timeout=0.7,
        )


def test_hello_again_replaces_what_is_offered(world: World, server: Server) -> None:
    with greeted(world, server) as hand:
        hand.send("hello", models=[{"id": "other", "context_window": 4096}], version="10")

        def listed() -> list[str]:
            return [
                model["id"]
                for model in httpx.get(f"{world.base_url}/v1/models", headers=world.headers()).json()["data"]
            ]

        wait_until(lambda: "other" in listed(), 5)
        assert LOCAL not in listed()


def test_same_bridge_connecting_again_takes_the_place(world: World, token: str) -> None:
    with dialled(world, token) as first:
        first.send("hello", **HELLO)
        first.next("welcome")
        with dialled(world, token) as second:
            second.send("hello", **HELLO)
            second.next("welcome")
            assert first.closed() == protocol.REPLACED
            assert not none_connected(world)
    wait_until(lambda: none_connected(world), 10)
