"""The relay: this machine dials a gateway, and answers the calls that come over that WebSocket.

    relay = Relay("https://gateway.example", "mf_brg_…", backend)
    await relay.run()                    # until cancelled; connects again by itself

What answers the calls is a Backend. `python -m modelfaucet_bridge.relay --gateway … --endpoint http://127.0.0.1:11434/v1`
runs one in front of a single OpenAI-compatible server; its token is read from MODELFAUCET_BRIDGE_TOKEN.

No more is read of a local model than the gateway gave credit for, so a slow client stops it; a call that the gateway
cancels is closed at once. Nothing of a prompt or an answer is kept or logged.
"""

import argparse
import asyncio
import base64
import binascii
import inspect
import json
import logging
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import anyio
import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from modelfaucet_bridge import __version__

log = logging.getLogger(__name__)

SUBPROTOCOL = Subprotocol("faucet.bridge.v1")
MAX_FRAME_BYTES = 1_048_576
MAX_CHUNK_BYTES = 65_536
MAX_BODY_BYTES = 64_000_000
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
# How often the backend is asked whether it still offers the same.
OFFER_SECONDS = 15.0
# While calls are under way the gateway hears from us at least so often, or takes them for lost.
BEAT_SECONDS = 0.5
BAD_TOKEN, SUSPENDED, REPLACED = 4401, 4403, 4409

Model = Mapping[str, Any]
# Status, content type, and the body as it comes. Leaving the context closes the call.
Opened = tuple[int, str, AsyncIterator[bytes]]


class Backend(Protocol):
    """What answers calls on this machine."""

    def models(self) -> Sequence[Model] | Awaitable[Sequence[Model]]:
        """Return what is offered: `id`, and where known `context_window` and `capabilities`."""
        ...

    def open(
        self, operation: str, model: str, body: dict[str, Any], stream: bool
    ) -> AbstractAsyncContextManager[Opened]:
        """Begin a call (`operation` is chat or embeddings). Raises BackendProblem."""
        ...


class BackendProblem(Exception):
    """A call cannot be answered. `code`: busy, model_not_found, endpoint_unreachable, endpoint_timeout, or
    endpoint_broke_off. No word of it may quote a prompt."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class RelayRefused(Exception):
    """The gateway will not have this bridge: its token is unknown or revoked (4401), or another program uses it."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class _Dial(connect):
    """A connection that goes where it was told to, and nowhere else with the token."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Relay:
    """One bridge's connection to its gateway, made again whenever it breaks.

    `on_state(connected)` is called when that changes. `max_concurrency` calls are answered at once; others wait here.
    """

    def __init__(
        self,
        gateway_url: str,
        token: str,
        backend: Backend,
        *,
        max_concurrency: int = 4,
        on_state: Callable[[bool], None] | None = None,
    ) -> None:
        self.url = socket_url(gateway_url)
        self.connected = False
        self._token = token
        self._backend = backend
        self._max_concurrency = max_concurrency
        self._on_state = on_state
        self._random = random.SystemRandom()
        self._wake = asyncio.Event()

    def announce(self) -> None:
        """Tell the gateway soon what is offered now."""
        self._wake.set()

    async def run(self) -> None:
        """Serve until cancelled. Raises RelayRefused where connecting again would be of no use."""
        pause = FIRST_PAUSE
        while True:
            welcomed = await self._once()
            if welcomed:
                pause = FIRST_PAUSE
            # Jitter, so that the bridges of a gateway that restarts do not come back as one.
            await asyncio.sleep(pause * self._random.uniform(0.5, 1))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _once(self) -> bool:
        """Serve over one connection until it ends; tell whether the gateway took it."""
        session: _Session | None = None
        try:
            async with _Dial(
                self.url,
                additional_headers={"Authorization": f"Bearer {self._token}"},
                subprotocols=[SUBPROTOCOL],
                user_agent_header=f"modelfaucet-bridge/{__version__}",
                compression=None,
                max_size=MAX_FRAME_BYTES,
                open_timeout=15,
                ping_interval=None,  # the protocol has its own
                close_timeout=2,
            ) as socket:
                session = _Session(socket, self._backend, self._max_concurrency, self._wake, self._set_connected)
                await session.serve()
        except ConnectionClosed as closed:
            self._read_close(closed)
        except InvalidStatus as error:
            log.warning("the gateway answered with status %d", error.response.status_code)
        except (OSError, WebSocketException, TimeoutError, asyncio.TimeoutError) as error:
            log.warning("the gateway cannot be reached (%s)", type(error).__name__)
        finally:
            self._set_connected(False)
        return session is not None and session.welcomed

    def _read_close(self, closed: ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        if code == BAD_TOKEN:
            raise RelayRefused("The gateway does not know this token, or it was revoked.", code)
        if code == REPLACED:
            raise RelayRefused("Another program has connected with the token of this bridge.", code)
        log.info("the connection ended with code %d%s", code, " (suspended)" if code == SUSPENDED else "")

    def _set_connected(self, connected: bool) -> None:
        if connected != self.connected:
            self.connected = connected
            log.info("connected" if connected else "disconnected")
            if self._on_state is not None:
                self._on_state(connected)


class _Call:
    """A call that came over the socket."""

    def __init__(self, frame: dict[str, Any]) -> None:
        self.id = str(frame["call"])
        self.model = str(frame["model"])
        self.operation = str(frame["operation"])
        self.stream = bool(frame.get("stream"))
        self.body: dict[str, Any] | None = frame.get("body")
        self.missing = int(frame.get("body_parts", 0))
        self.parts: list[bytes] = []
        self.size = 0
        self.credit = int(frame.get("window", 1))
        self.more = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def spend(self) -> None:
        """Return once the gateway takes another chunk."""
        while self.credit < 1:
            self.more.clear()
            await self.more.wait()
        self.credit -= 1

    def take(self, part: bytes) -> bool:
        """Keep a part of the body; tell whether it is whole."""
        self.size += len(part)
        if self.size > MAX_BODY_BYTES:
            raise BackendProblem("endpoint_broke_off")
        self.parts.append(part)
        self.missing -= 1
        if self.missing > 0:
            return False
        self.body = json.loads(b"".join(self.parts))
        self.parts.clear()
        return True


class _Session:
    """What happens over one connection."""

    def __init__(
        self,
        socket: ClientConnection,
        backend: Backend,
        max_concurrency: int,
        wake: asyncio.Event,
        set_connected: Callable[[bool], None],
    ) -> None:
        self.welcomed = False
        self._socket = socket
        self._backend = backend
        self._max_concurrency = max_concurrency
        self._slots = asyncio.Semaphore(max_concurrency)
        self._wake = wake
        self._set_connected = set_connected
        self._calls: dict[str, _Call] = {}
        self._offer: list[Model] | None = None
        self._ping_seconds = 5.0
        self._heard_at = asyncio.get_running_loop().time()

    async def serve(self) -> None:
        """Serve until the connection ends, which raises ConnectionClosed."""
        await self._hello()
        beside = [asyncio.ensure_future(work()) for work in (self._keep_alive, self._keep_offer)]
        try:
            while True:
                text = await self._socket.recv()
                self._heard_at = asyncio.get_running_loop().time()
                await self._take(json.loads(text))
        finally:
            # A call goes with the connection that it came over: nobody is there to take its answer.
            ending = [*beside, *(call.task for call in self._calls.values() if call.task is not None)]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _send(self, kind: str, **members: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, **members}, separators=(",", ":")))

    async def _hello(self) -> None:
        found = self._backend.models()
        models = list(await found if inspect.isawaitable(found) else found)
        if models != self._offer:
            self._offer = models
            await self._send("hello", version=__version__, models=models, max_concurrency=self._max_concurrency)

    async def _keep_offer(self) -> None:
        while True:
            # Not asyncio.wait_for: it loses a cancellation that comes together with the event, before Python 3.12.
            with anyio.move_on_after(OFFER_SECONDS):
                await self._wake.wait()
            self._wake.clear()
            try:
                await self._hello()
            except ConnectionClosed:
                return
            except Exception as error:
                log.warning("what is offered cannot be found out (%s)", type(error).__name__)

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        pinged_at = loop.time()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = loop.time()
            if now - self._heard_at > 2 * self._ping_seconds + 1:
                self._socket.transport.abort()  # a gateway that says nothing would not answer a close either
                return
            if self._calls or now - pinged_at >= self._ping_seconds:
                pinged_at = now
                try:
                    await self._send("ping")
                except ConnectionClosed:
                    return

    async def _take(self, frame: dict[str, Any]) -> None:
        kind = frame.get("type")
        call = self._calls.get(str(frame.get("call", "")))
        if kind == "call":
            await self._begin(_Call(frame))
        elif kind == "ping":
            await self._send("pong")
        elif kind == "welcome":
            self.welcomed = True
            self._ping_seconds = float(frame.get("ping_seconds", self._ping_seconds))
            self._set_connected(True)
        elif call is None:
            return  # it is over, and the gateway had not heard of that yet
        elif kind == "credit":
            call.credit += int(frame["chunks"])
            call.more.set()
        elif kind == "cancel":
            self._calls.pop(call.id, None)
            if call.task is not None:
                call.task.cancel()
        elif kind == "body":
            await self._take_part(call, frame)

    async def _begin(self, call: _Call) -> None:
        self._calls[call.id] = call
        await self._send("accepted", call=call.id)
        if call.missing < 1:
            self._start(call)

    async def _take_part(self, call: _Call, frame: dict[str, Any]) -> None:
        try:
            whole = call.take(base64.b64decode(frame["data"], validate=True))
        except (BackendProblem, ValueError, binascii.Error):
            del self._calls[call.id]
            await self._send("failed", call=call.id, code="endpoint_broke_off", message="The body cannot be read.")
            return
        if whole:
            self._start(call)

    def _start(self, call: _Call) -> None:
        call.task = asyncio.ensure_future(self._answer(call))

    async def _answer(self, call: _Call) -> None:
        try:
            async with self._slots:
                await self._relay(call)
        except ConnectionClosed:
            return
        except BackendProblem as problem:
            await self._fail(call, problem.code)
        except Exception as error:
            log.warning("a call failed (%s)", type(error).__name__)
            await self._fail(call, "endpoint_broke_off")
        finally:
            self._calls.pop(call.id, None)

    async def _relay(self, call: _Call) -> None:
        body = call.body if call.body is not None else {}
        async with self._backend.open(call.operation, call.model, body, call.stream) as (status, content_type, chunks):
            await self._send("head", call=call.id, status=status, content_type=content_type)
            async for data in chunks:
                for start in range(0, len(data), MAX_CHUNK_BYTES):
                    await call.spend()
                    piece = data[start : start + MAX_CHUNK_BYTES]
                    await self._send("chunk", call=call.id, data=base64.b64encode(piece).decode())
            await self._send("end", call=call.id)

    async def _fail(self, call: _Call, code: str) -> None:
        try:
            await self._send("failed", call=call.id, code=code, message="")
        except ConnectionClosed:
            pass


class OneEndpoint:
    """A Backend in front of one OpenAI-compatible server (`base_url` ends before /chat/completions).

    `offered` is told in place of what the server lists.
    """

    def __init__(self, base_url: str, *, api_key: str = "", offered: Sequence[Model] = ()) -> None:
        self._offered = offered
        self._base_url = base_url.rstrip("/")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # A model that is loaded first may be silent for minutes; the gateway has its own patience.
        timeout = httpx.Timeout(connect=5, read=600, write=60, pool=5)
        limits = httpx.Limits(max_connections=64)
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, trust_env=False)

    async def models(self) -> Sequence[Model]:
        """Return what the server lists; nothing while it is not there."""
        if self._offered:
            return self._offered
        try:
            answer = await self._client.get(f"{self._base_url}/models", timeout=5)
            listed = answer.raise_for_status().json()["data"]
            return [_model(each) for each in listed[:200]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            log.warning("the local server lists no models (%s)", type(error).__name__)
            return []

    @asynccontextmanager
    async def open(self, operation: str, model: str, body: dict[str, Any], stream: bool) -> AsyncIterator[Opened]:
        """Call the server."""
        path = "embeddings" if operation == "embeddings" else "chat/completions"
        try:
            async with self._client.stream("POST", f"{self._base_url}/{path}", json=body) as answer:
                yield answer.status_code, answer.headers.get("content-type", "application/json"), answer.aiter_bytes()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise BackendProblem("endpoint_unreachable") from error
        except httpx.TimeoutException as error:
            raise BackendProblem("endpoint_timeout") from error
        except httpx.HTTPError as error:
            raise BackendProblem("endpoint_broke_off") from error


def _model(listed: Mapping[str, Any]) -> dict[str, Any]:
    model: dict[str, Any] = {"id": str(listed["id"])}
    for name in ("context_window", "context_length", "max_model_len"):
        if isinstance(size := listed.get(name), int) and size > 0:
            model["context_window"] = size
            break
    if isinstance(known := listed.get("capabilities"), list):
        model["capabilities"] = [each for each in known if isinstance(each, str)]
    return model


def _told(text: str) -> dict[str, Any]:
    name, _, capabilities = text.partition("=")
    return {"id": name, "capabilities": [each for each in capabilities.split(",") if each]}


def socket_url(gateway_url: str) -> str:
    """Return the WebSocket address of a gateway. Raises ValueError for what is none."""
    parts = urlsplit(gateway_url)
    schemes = {"https": "wss", "http": "ws", "wss": "wss", "ws": "ws"}
    if parts.scheme not in schemes or not parts.netloc or "@" in parts.netloc:
        raise ValueError("A gateway's address starts with https:// (or http:// on this machine).")
    return urlunsplit((schemes[parts.scheme], parts.netloc, f"{parts.path.rstrip('/')}/v1/bridge", "", ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a relay in front of one server."""
    parser = argparse.ArgumentParser(prog="python -m modelfaucet_bridge.relay", description=main.__doc__)
    parser.add_argument("--gateway", required=True, help="address of the gateway, such as https://ai.example.com")
    parser.add_argument("--endpoint", required=True, help="OpenAI-compatible server, such as http://127.0.0.1:11434/v1")
    parser.add_argument("--token", default="", help="the bridge's token; better in MODELFAUCET_BRIDGE_TOKEN")
    parser.add_argument("--max-concurrency", type=int, default=4, help="calls answered at once")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="ID[=CAPABILITY,…]",
        help="offer this model in place of what the server lists, for example llama3.2=chat,tools; again for more",
    )
    options = parser.parse_args(arguments)
    token = options.token or os.environ.get("MODELFAUCET_BRIDGE_TOKEN", "")
    if not token:
        parser.error("the bridge's token is missing: set MODELFAUCET_BRIDGE_TOKEN")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    offered = [_told(each) for each in options.model]
    backend = OneEndpoint(options.endpoint, api_key=os.environ.get("MODELFAUCET_ENDPOINT_KEY", ""), offered=offered)
    try:
        relay = Relay(options.gateway, token, backend, max_concurrency=options.max_concurrency)
        asyncio.run(relay.run())
    except ValueError as error:
        parser.error(str(error))
    except RelayRefused as refused:
        log.error("%s", refused)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
