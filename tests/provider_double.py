"""A provider that speaks OpenAI's, Azure's, Anthropic's and Gemini's wire formats and misbehaves on command.

    with ProviderDouble() as double:
        double.script(Behaviour(usage="missing"))      # the next request only, in order
        ... call double.base_url + "/chat/completions"
        assert double.requests[0].body["stream"] is True

The format follows from the path, so one double is any provider: its base_url is `double.base_url` for an OpenAI-like
one and for Anthropic, `double.url` for Azure and Gemini (`double.base_url_of(adapter)`). Embeddings are answered too.

What it does is chosen, first match wins, by the script; by the key that the call brings (`by_key`); by
`[[name key=value …]]` in the last user message (`[[stall-within]]`, `[[slow chunks=20 interval=0.05]]`,
`[[usage=zero]]`); by a model named `double-<name>`; or by `double.default`. The names are the keys of NAMED, the keys
are the fields of Behaviour.
"""

import asyncio
import json
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httptools

from tests.provider_answers import NAMED, Answer, Behaviour, choose
from tests.provider_formats import FORMATS, OpenAIFormat, embed, format_of

__all__ = ["NAMED", "Behaviour", "ProviderDouble", "Recorded"]

_USAGE = re.compile(rb'"(prompt_tokens|output_tokens|promptTokenCount)"')
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests"}


@dataclass
class Recorded:
    """One request as the double saw it. Times are `time.monotonic()` seconds."""

    method: str
    path: str
    headers: dict[str, str]
    raw_body: bytes
    body: Any
    connection: int
    started_at: float
    finished_at: float | None = None
    completed: bool = False  # the whole answer was written
    closed_by_peer_at: float | None = None  # the client hung up before the answer was complete
    bytes_written: int = 0
    chunks_written: int = 0
    usage: dict[str, Any] = field(default_factory=dict)  # what was, or would have been, reported
    text: str = ""  # the whole answer of choice 0, if it had been completed
    format: str = ""  # openai azure anthropic gemini embeddings gemini-embeddings; empty: no call of a model


class ProviderDouble:
    """The server, in a thread of its own. Everything public may be read from the test's thread."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, default: Behaviour | None = None) -> None:
        self.default = default or Behaviour()
        self.requests: list[Recorded] = []  # chats in whichever format, in order of arrival
        self.embeddings: list[Recorded] = []
        self.other_requests: list[Recorded] = []
        self.faults: list[Exception] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.connections_opened = 0
        self.open_connections = 0
        self.port = 0
        self.scripted: deque[Behaviour] = deque()
        self.by_key: dict[str, Behaviour] = {}  # by the provider key that a call brings, after the script
        self.loop = asyncio.new_event_loop()
        self.released = asyncio.Event()
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.Transport] = set()
        self._thread = threading.Thread(target=self._run, name="provider-double", daemon=True)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def base_url_of(self, adapter: str) -> str:
        """Return the base URL under which a provider with this adapter is reached."""
        return self.url if adapter in {"azure_openai", "gemini"} else self.base_url

    def script(self, *behaviours: Behaviour | str) -> None:
        """Answer the next calls of a model in these ways, one each; a str is a name of NAMED."""
        self.scripted.extend(Behaviour(**NAMED[each]) if isinstance(each, str) else each for each in behaviours)

    def release(self) -> None:
        """Let the stalled answers go on."""
        self.loop.call_soon_threadsafe(self.released.set)

    def refuse_connections(self) -> None:
        """Close the listening socket and every connection; the port stays ours in name only."""
        self._call(self._stop_listening)

    def accept_connections(self) -> None:
        """Listen again, on the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(5)

    def close_idle_connections(self) -> None:
        """Close every connection, as a server does with those that have been idle for long."""
        self._call(lambda: [transport.close() for transport in self._transports])

    def wait_for(self, condition: Callable[[], Any], timeout: float = 5.0) -> None:
        """Return once `condition()` is true; raise AssertionError after `timeout` seconds."""
        limit = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > limit:
                raise AssertionError("the provider double waited in vain")
            time.sleep(0.005)

    def __enter__(self) -> "ProviderDouble":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._shut_down(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
        if self.faults:
            raise AssertionError("the provider double itself failed") from self.faults[0]

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _call(self, function: Callable[[], object]) -> None:
        async def run() -> None:
            function()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(5)

    async def _listen(self) -> None:
        self._server = await self.loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
        for transport in list(self._transports):
            transport.abort()

    async def _shut_down(self) -> None:
        self._stop_listening()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def behaviour_for(self, body: dict[str, Any], headers: dict[str, str]) -> Behaviour:
        if self.scripted:
            return self.scripted.popleft()
        if self.by_key and (named := self.by_key.get(key_of(headers))):
            return named
        return choose(body, self.default)

    def keys_used(self) -> list[str]:
        """Return the keys that came with the chats, in order of arrival."""
        return [key_of(recorded.headers) for recorded in self.requests]


def key_of(headers: dict[str, str]) -> str:
    """Return the provider key of a request, in whichever header its format puts it."""
    for name in ("authorization", "x-api-key", "api-key", "x-goog-api-key"):
        if name in headers:
            return headers[name].removeprefix("Bearer ")
    return ""


class _HungUp(Exception):
    """The client closed the connection."""


class _Connection(asyncio.Protocol):
    """One connection: requests are answered in the order they came."""

    transport: asyncio.Transport

    def __init__(self, double: ProviderDouble) -> None:
        self.double = double
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: asyncio.Queue[Recorded] = asyncio.Queue()
        self.current: Recorded | None = None
        self.closed = self.closed_by_us = False
        self.may_write = asyncio.Event()
        self.may_write.set()
        self._begin()

    def _begin(self) -> None:
        self.path, self.headers, self.body = "", {}, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        double = self.double
        double.connections_opened += 1
        double.open_connections += 1
        double._transports.add(transport)
        self.number = double.connections_opened
        self.task = double.loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def eof_received(self) -> None:
        self._hung_up()

    def connection_lost(self, error: Exception | None) -> None:
        self._hung_up()
        self.task.cancel()
        self.double.open_connections -= 1
        self.double._transports.discard(self.transport)

    def _hung_up(self) -> None:
        self.closed = True
        self.may_write.set()
        if self.current is not None and self.current.closed_by_peer_at is None and not self.closed_by_us:
            self.current.closed_by_peer_at = time.monotonic()

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def on_url(self, url: bytes) -> None:
        self.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        raw = bytes(self.body)
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        method = self.parser.get_method().decode()
        recorded = Recorded(method, self.path, self.headers, raw, body, self.number, time.monotonic())
        self._begin()
        self.waiting.put_nowait(recorded)

    async def _serve(self) -> None:
        while True:
            recorded = self.current = await self.waiting.get()
            path = recorded.path.partition("?")[0]
            form = recorded.format = (format_of(path) if recorded.method == "POST" else None) or ""
            self._list_for(form).append(recorded)
            self.double.in_flight += 1
            self.double.max_in_flight = max(self.double.max_in_flight, self.double.in_flight)
            try:
                if form in FORMATS:
                    await self._chat(recorded, form)
                elif form:
                    await self._embed(recorded, form)
                elif path.endswith("/models"):
                    await self._list(recorded)
                else:
                    await self._send_json(Behaviour(), 404, {"error": {"message": "no such path", "code": None}})
                recorded.completed = True
            except _HungUp:
                pass
            except Exception as error:
                self.double.faults.append(error)
                self.transport.abort()
            finally:
                recorded.finished_at = time.monotonic()
                self.double.in_flight -= 1
                self.current = None

    def _list_for(self, form: str) -> list[Recorded]:
        double = self.double
        return double.requests if form in FORMATS else double.embeddings if form else double.other_requests

    async def _write(self, data: bytes) -> None:
        await self.may_write.wait()
        if self.closed or self.transport.is_closing():
            raise _HungUp
        self.transport.write(data)
        if self.current is not None:
            self.current.bytes_written += len(data)

    async def _stall(self) -> None:
        await self.double.released.wait()

    async def _end(self, how: str) -> None:
        """Close or reset the connection now, and do not go on."""
        self.closed_by_us = True
        if how.startswith("reset"):
            self.transport.abort()
        else:
            self.transport.close()
        raise _HungUp

    async def _chat(self, recorded: Recorded, form: str) -> None:
        body = recorded.body if isinstance(recorded.body, dict) else {}
        wire = FORMATS[form](body, recorded.path, recorded.headers)
        plain = wire.plain()
        behaviour = self.double.behaviour_for(plain, recorded.headers)
        answer = Answer(plain, behaviour)
        recorded.usage, recorded.text = answer.usage, answer.text
        if await self._misbehaves(behaviour):
            return
        if behaviour.status != 200:
            refusal = wire.error(behaviour.status, f"the double says {behaviour.status}")
            await self._send_json(behaviour, behaviour.status, refusal)
        elif fault := wire.fault():
            await self._send_json(behaviour, fault[0], wire.error(*fault))
        elif wire.streams:
            await self._stream(recorded, behaviour, answer, wire)
        elif behaviour.fail == "wrong-json":
            await self._send(behaviour, 200, b"application/json", b'{"id": "chatcmpl-1", "choices": [')
        else:
            await self._send_json(behaviour, 200, wire.whole(answer))

    async def _list(self, recorded: Recorded) -> None:
        """List the models, by which keys are tried, but not for one that `by_key` refuses."""
        behaviour = self.double.by_key.get(key_of(recorded.headers), Behaviour())
        if behaviour.status == 200:
            await self._send_json(behaviour, 200, _models(recorded))
        else:
            refusal = OpenAIFormat({}, "", {}).error(behaviour.status, f"the double says {behaviour.status}")
            await self._send_json(behaviour, behaviour.status, refusal)

    async def _embed(self, recorded: Recorded, form: str) -> None:
        body = recorded.body if isinstance(recorded.body, dict) else {}
        behaviour = self.double.behaviour_for(body, recorded.headers)
        if await self._misbehaves(behaviour):
            return
        if behaviour.status != 200:
            refusal = OpenAIFormat({}, "", {}).error(behaviour.status, f"the double says {behaviour.status}")
            await self._send_json(behaviour, behaviour.status, refusal)
        elif behaviour.fail == "wrong-json":
            await self._send(behaviour, 200, b"application/json", b'{"object": "list", "data": [')
        else:
            answer = embed(form, body, behaviour)
            recorded.usage = answer.get("usage", {})
            await self._send_json(behaviour, 200, answer)

    async def _misbehaves(self, behaviour: Behaviour) -> bool:
        """Do what is the same in every format; return whether that was the whole answer."""
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        if behaviour.fail == "stall-before":
            await self._stall()
        if behaviour.fail in {"close-before", "reset-before"}:
            await self._end(behaviour.fail)
        if behaviour.fail == "garbage":
            await self._write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            await self._end("close")
        if behaviour.informational:
            await self._write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        if behaviour.raw:
            await self._send(behaviour, behaviour.status, behaviour.content_type.encode(), behaviour.raw)
        elif behaviour.fail == "html":
            await self._send(behaviour, behaviour.status, b"text/html", b"<html><h1>Bad Gateway</h1></html>")
        return bool(behaviour.raw) or behaviour.fail == "html"

    async def _send_json(self, behaviour: Behaviour, status: int, value: Any) -> None:
        await self._send(behaviour, status, b"application/json", json.dumps(value, ensure_ascii=False).encode())

    async def _send(self, behaviour: Behaviour, status: int, kind: bytes, content: bytes) -> None:
        declared = len(content) + (100 if behaviour.fail == "truncate" else 0)
        head = _head(behaviour, status, kind, b"content-length: %d" % declared)
        if behaviour.fail in {"close-within", "reset-within", "stall-within"}:
            await self._write(head + content[: len(content) // 2])
            await asyncio.sleep(0.02)  # a reset must not overtake what was written
            await (self._stall() if behaviour.fail == "stall-within" else self._end(behaviour.fail))
            content, head = content[len(content) // 2 :], b""
        await self._write_split(behaviour, head + content)
        if behaviour.fail == "truncate":
            await self._end("close")
        if behaviour.connection_close:
            self.transport.close()

    async def _write_split(self, behaviour: Behaviour, data: bytes) -> None:
        """Write, in more than one piece where the behaviour says so."""
        cut = 0
        if behaviour.split_character:
            cut = next((place + 1 for place, byte in enumerate(data) if byte >= 0xC0), 0)
        elif behaviour.usage == "split" and (counted := _USAGE.search(data)):
            cut = counted.start() + 9
        if behaviour.one_byte_writes:
            for place in range(len(data)):
                await self._write(data[place : place + 1])
                await asyncio.sleep(0)
        elif cut:
            await self._write(data[:cut])
            await asyncio.sleep(0.02)
            await self._write(data[cut:])
        else:
            await self._write(data)

    async def _stream(self, recorded: Recorded, behaviour: Behaviour, answer: Answer, wire: OpenAIFormat) -> None:
        chunked = behaviour.framing == "chunked"
        framing = b"transfer-encoding: chunked" if chunked else b"connection: close"
        await self._write(_head(behaviour, 200, b"text/event-stream; charset=utf-8", framing))

        async def emit(data: bytes) -> None:
            await self._write_split(behaviour, b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)

        line_end = behaviour.line_end.encode()
        end = line_end * 2
        if behaviour.comments:
            await emit(b": OPENROUTER PROCESSING" + end)
        events = list(wire.frames(answer))
        middle = len(events) // 2
        for place, event in enumerate(events):
            if place == middle and behaviour.fail == "error-event":
                await emit(wire.error_frame().replace(b"\n", line_end) + end)
                break
            if place == middle and behaviour.fail == "wrong-json":
                event = b'data: {"id": "chatcmpl-1", "choices": ['
            if place == middle and behaviour.fail == "stall-within":
                await self._stall()
            elif place == middle and behaviour.fail in {"close-within", "reset-within"}:
                await asyncio.sleep(0.02)
                await self._end(behaviour.fail)
            if place and behaviour.interval:
                await asyncio.sleep(behaviour.interval)
            if place == middle and behaviour.comments:
                await emit(b": keep-alive" + end)
            await emit(event.replace(b"\n", line_end) + end)
            recorded.chunks_written += 1
        last = wire.end()
        if last is not None and behaviour.fail not in {"no-done", "error-event"}:
            await emit(last.replace(b"\n", line_end) + end)
        if chunked:
            await self._write(b"0\r\n\r\n")
        if behaviour.connection_close or not chunked:
            self.transport.close()


def _models(recorded: Recorded) -> dict[str, Any]:
    """Return the list of models in the format of who asks."""
    if "x-goog-api-key" in recorded.headers:
        return {"models": [{"name": f"models/{name}", "displayName": name} for name in NAMED]}
    if "anthropic-version" in recorded.headers:
        listed = [{"type": "model", "id": name, "display_name": name} for name in NAMED]
        return {"data": listed, "has_more": False}
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "double"} for name in NAMED],
    }


def _head(behaviour: Behaviour, status: int, kind: bytes, framing: bytes) -> bytes:
    lines = [
        b"HTTP/1.1 %d %s" % (status, _REASONS.get(status, "Whatever").encode()),
        b"content-type: " + kind,
        framing,
        b"x-request-id: double-1",
    ]
    if behaviour.retry_after is not None:
        lines.append(b"retry-after: " + str(behaviour.retry_after).encode())
    if behaviour.connection_close:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"
