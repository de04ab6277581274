"""The demo provider: a small server that speaks OpenAI's wire format, so that a demo needs no key and no network.

    python -m modelfaucet.demo.provider --port 0

prints one line of JSON with the address it listens on (`{"host", "port", "base_url"}`) and serves
POST /v1/chat/completions (JSON and streams, tools, exact usage), POST /v1/embeddings and GET /v1/models until it is
told to stop.
It stands alone: no Django, no database, so that the gateway reaches it as it reaches any other provider.
"""

import argparse
import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from modelfaucet.demo.completion import MODELS as CHAT_MODELS
from modelfaucet.demo.completion import Completion, Refused, complete
from modelfaucet.demo.embeddings import EMBEDDING_MODEL, embed

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LARGEST_BODY = 20_000_000
PACE_SECONDS = 0.025
GRACEFUL_SECONDS = 2
MODELS = (*CHAT_MODELS, EMBEDDING_MODEL)
_STARTED = int(time.time())


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class Provider:
    """The ASGI application. `pace` is the time between two pieces of a stream, in seconds."""

    def __init__(self, *, pace: float = PACE_SECONDS) -> None:
        self.pace = pace

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the demo provider does not serve {scope['type']}")
        method, path = scope["method"], scope["path"].rstrip("/")
        try:
            if path == "/v1/chat/completions":
                _require(method, "POST")
                completion = complete(_parse(await _read(receive)), created=int(time.time()))
                if completion.stream:
                    await self._stream(completion, receive, send)
                else:
                    await _answer(send, 200, completion.whole())
            elif path == "/v1/embeddings":
                _require(method, "POST")
                await _answer(send, 200, embed(_parse(await _read(receive))))
            elif path == "/v1/models":
                _require(method, "GET")
                await _answer(send, 200, {"object": "list", "data": [_model(name) for name in MODELS]})
            elif path.startswith("/v1/models/") and path.rpartition("/")[2] in MODELS:
                _require(method, "GET")
                await _answer(send, 200, _model(path.rpartition("/")[2]))
            else:
                raise Refused(404, f"Unknown request URL: {method} {scope['path']}.", code="unknown_url")
        except Refused as refusal:
            await _answer(send, refusal.status, refusal.body)
        except ClientLeft:
            pass

    async def _stream(self, completion: Completion, receive: Receive, send: Send) -> None:
        """Send the events one by one at the pace, and stop when the client leaves."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        leaving = asyncio.create_task(_left(receive))
        try:
            for objects in completion.events():
                events = b"".join(b"data: %b\n\n" % _json(each) for each in objects)
                await send({"type": "http.response.body", "body": events, "more_body": True})
                await asyncio.wait([leaving], timeout=self.pace)
                if leaving.done():
                    return
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        finally:
            leaving.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            raise Refused(413, "The request body is too large.")
        more = message.get("more_body", False)
    return b"".join(parts)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The request body is not valid JSON.") from error


def _require(method: str, wanted: str) -> None:
    if method != wanted:
        raise Refused(405, f"Not allowed to {method} on this URL; use {wanted}.", code="method_not_supported")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _STARTED, "owned_by": "modelfaucet"}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


async def _answer(send: Send, status: int, value: Any) -> None:
    body = _json(value)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(arguments: list[str] | None = None) -> None:
    """Listen, announce the address on the first line of output, and serve until a signal ends it."""
    parser = argparse.ArgumentParser(prog="modelfaucet.demo.provider", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--pace-ms", type=float, default=PACE_SECONDS * 1000, help="between two pieces of a stream")
    options = parser.parse_args(arguments)
    listening = socket.create_server((options.host, options.port), backlog=512)
    host, port = listening.getsockname()[:2]
    announcement = {"host": host, "port": port, "base_url": f"http://{host}:{port}/v1"}
    print(json.dumps(announcement), flush=True)  # noqa: T201  (what starts us reads it)
    config = uvicorn.Config(
        Provider(pace=options.pace_ms / 1000),
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=75,  # as hosted providers do, so that the gateway is the one to close
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
