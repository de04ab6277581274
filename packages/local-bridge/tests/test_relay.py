"""The relay against a gateway made here: frames, credit, bodies in parts, and when it connects again."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from modelfaucet_bridge import __version__
from modelfaucet_bridge.relay import SUBPROTOCOL, BackendProblem, Model, Opened, Relay, RelayRefused, socket_url

CALL = {"type": "call", "call": "c1", "model": "m", "operation": "chat", "stream": True, "window": 4}


class Echo:
    """A backend that says the body it got again and again, and counts what was asked of it."""

    def __init__(self, chunks: int = 3, *, problem: str = "") -> None:
        self.chunks, self.problem = chunks, problem
        self.read = 0
        self.closed = asyncio.Event()
        self.offered: Sequence[Model] = [{"id": "m"}]

    def models(self) -> Sequence[Model]:
        return self.offered

    @asynccontextmanager
    async def open(self, operation: str, model: str, body: dict[str, Any], stream: bool) -> AsyncIterator[Opened]:
        if self.problem:
            raise BackendProblem(self.problem)
        try:
            yield 200, "text/event-stream", self._say(body)
        finally:
            self.closed.set()

    async def _say(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        for _ in range(self.chunks):
            self.read += 1
            yield json.dumps(body).encode()


async def closes(backend: Echo) -> None:
    with anyio.fail_after(5):
        await backend.closed.wait()


class Gateway:
    """The other end of one connection, as a test plays it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def next(self, kind: str) -> dict[str, Any]:
        while True:
            with anyio.fail_after(5):
                frame: dict[str, Any] = json.loads(await self.socket.recv())
            if frame["type"] == kind:
                return frame
            assert frame["type"] == "ping", frame

    async def welcome(self) -> None:
        await self.next("hello")
        await self.send(type="welcome", bridge_id="brg_1", ping_seconds=5)


Story = Callable[[Gateway], Awaitable[None]]


def play(backend: Callable[[], Echo], *stories: Story, refused: int | None = None) -> Echo:
    """Let a relay meet a gateway that plays one story for each connection, and return its backend."""

    async def run() -> Echo:
        told = iter(stories)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left = len(stories)

        async def handle(socket: ServerConnection) -> None:
            nonlocal left
            try:
                await next(told)(Gateway(socket))
                left -= 1
                if not left and not over.done():
                    over.set_result(None)
            except Exception as error:
                if not over.done():
                    over.set_exception(error)

        async with serve(handle, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
            port = server.sockets[0].getsockname()[1]
            made = backend()
            running = asyncio.ensure_future(Relay(f"http://127.0.0.1:{port}", "mf_brg_1", made).run())
            with anyio.fail_after(20):
                await over
            if refused is not None:
                with pytest.raises(RelayRefused) as caught, anyio.fail_after(5):
                    await running
                assert caught.value.code == refused
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return made

    return asyncio.run(run())


def test_call_is_answered_in_order() -> None:
    async def story(gateway: Gateway) -> None:
        assert gateway.socket.request is not None
        assert gateway.socket.request.headers["Authorization"] == "Bearer mf_brg_1"
        hello = await gateway.next("hello")
        assert hello == {"type": "hello", "version": __version__, "models": [{"id": "m"}], "max_concurrency": 4}
        await gateway.send(type="welcome", bridge_id="brg_1", ping_seconds=5)
        await gateway.send(**CALL, body={"say": "hi"})
        assert await gateway.next("accepted") == {"type": "accepted", "call": "c1"}
        assert (await gateway.next("head"))["content_type"] == "text/event-stream"
        said = [base64.b64decode((await gateway.next("chunk"))["data"]) for _ in range(3)]
        assert said == [b'{"say": "hi"}'] * 3
        assert (await gateway.next("end"))["call"] == "c1"

    play(Echo, story)


def test_no_more_is_read_than_there_is_credit_for() -> None:
    async def story(gateway: Gateway) -> None:
        await gateway.welcome()
        await gateway.send(**CALL, body={})
        for kind in ("accepted", "head", "chunk", "chunk", "chunk", "chunk"):
            await gateway.next(kind)
        with anyio.move_on_after(0.5) as waited:
            await gateway.next("chunk")
        assert waited.cancelled_caught
        await gateway.send(type="credit", call="c1", chunks=2)
        assert await gateway.next("chunk") and await gateway.next("chunk")

    assert play(lambda: Echo(1000), story).read <= 8


def test_cancelled_call_closes_its_answer_at_once() -> None:
    made: list[Echo] = []

    def backend() -> Echo:
        made.append(Echo(1000))
        return made[0]

    async def story(gateway: Gateway) -> None:
        await gateway.welcome()
        await gateway.send(**CALL, body={})
        await gateway.next("accepted")
        await gateway.next("head")
        await gateway.send(type="cancel", call="c1")
        await closes(made[0])

    play(backend, story)


def test_body_in_parts_is_put_together() -> None:
    body = json.dumps({"text": "x" * 1_000_000}).encode()
    parts = [body[start : start + 400_000] for start in range(0, len(body), 400_000)]

    async def story(gateway: Gateway) -> None:
        await gateway.welcome()
        await gateway.send(**{**CALL, "window": 64}, body_parts=len(parts))
        await gateway.next("accepted")
        for part in parts:
            await gateway.send(type="body", call="c1", data=base64.b64encode(part).decode())
        await gateway.next("head")
        said = b""
        while len(said) < len(body):
            data = base64.b64decode((await gateway.next("chunk"))["data"])
            assert len(data) <= 65_536
            said += data
        assert said == body
        await gateway.next("end")

    play(lambda: Echo(1), story)


def test_call_that_cannot_be_made_is_given_up_with_its_code() -> None:
    async def story(gateway: Gateway) -> None:
        await gateway.welcome()
        await gateway.send(**CALL, body={"secret": "words"})
        await gateway.next("accepted")
        assert await gateway.next("failed") == {"type": "failed", "call": "c1", "code": "busy", "message": ""}

    play(lambda: Echo(problem="busy"), story)


def test_connection_that_breaks_is_made_again() -> None:
    async def breaks(gateway: Gateway) -> None:
        await gateway.welcome()
        await gateway.socket.close(1012)

    async def serves(gateway: Gateway) -> None:
        await gateway.welcome()
        await gateway.send(**CALL, body={})
        await gateway.next("accepted")

    play(Echo, breaks, breaks, serves)


@pytest.mark.parametrize("code", [4401, 4409])
def test_gateway_that_will_not_have_it_is_not_asked_again(code: int) -> None:
    async def story(gateway: Gateway) -> None:
        await gateway.next("hello")
        await gateway.socket.close(code)

    play(Echo, story, refused=code)


def test_calls_end_with_their_connection() -> None:
    made: list[Echo] = []

    def backend() -> Echo:
        made.append(Echo(1000))
        return made[0]

    async def story(gateway: Gateway) -> None:
        await gateway.welcome()
        await gateway.send(**CALL, body={})
        await gateway.next("accepted")
        await gateway.next("head")
        gateway.socket.transport.abort()
        with pytest.raises(ConnectionClosed):
            while True:
                await gateway.socket.recv()
        await closes(made[0])

    play(backend, story)


def test_address_of_a_gateway() -> None:
    assert socket_url("https://ai.example.com/") == "wss://ai.example.com/v1/bridge"
    assert socket_url("http://127.0.0.1:8000/in/a/folder") == "ws://127.0.0.1:8000/in/a/folder/v1/bridge"
    for wrong in ("ai.example.com", "ftp://ai.example.com", "https://user:word@ai.example.com", "https://"):
        with pytest.raises(ValueError, match="address"):
            socket_url(wrong)
