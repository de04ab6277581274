"""The HTTP face: /v1 as OpenAI's clients know it, /status, /pair, what commands ask of a running bridge, the page."""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from modelfaucet_bridge import page
from modelfaucet_bridge.app import Bridge
from modelfaucet_bridge.engine import EVENT_STREAM, Answer, Ask
from modelfaucet_bridge.guard import Guard, refusal
from modelfaucet_bridge.policies import Refused

BODY_BYTES = 32_000_000
APP_NAME_LENGTH = 60


@dataclass(frozen=True)
class Caller:
    """Who has shown a token: the owner, or a page of an origin that was paired."""

    owner: bool
    origin: str | None


def build(bridge: Bridge) -> Starlette:
    """Return the ASGI application of a bridge."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with bridge.running():
            yield

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", _chat, methods=["POST"]),
            Route("/v1/responses", _responses, methods=["POST"]),
            Route("/v1/embeddings", _embeddings, methods=["POST"]),
            Route("/v1/models", _models),
            Route("/v1/models/{model:path}", _model),
            Route("/status", _status),
            Route("/pair", _pair, methods=["POST"]),
            Route("/pair/{pairing_id}", _pairing),
            Route("/admin/pairings", _decide, methods=["POST"]),
            Route("/admin/page-key", _page_key, methods=["POST"]),
            Route("/admin/refresh", _refresh, methods=["POST"]),
            *page.routes(),
        ],
        middleware=[Middleware(Guard, hosts=bridge.allowed_hosts, origins=bridge.allowed_origins)],
        exception_handlers={Refused: _refused, 404: _not_found, 405: _not_found, Exception: _broken},
        lifespan=lifespan,
    )
    app.state.bridge = bridge
    return app


def _caller(request: Request) -> Caller:
    """Tell who calls. Raises Refused."""
    bridge: Bridge = request.app.state.bridge
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(401, "missing_token", "Send the bridge's token: Authorization: Bearer mf_local_…")
    token, origin = token.strip(), request.headers.get("origin")
    if bridge.is_owner(token):
        return Caller(True, origin)
    paired = bridge.origins.of(token)
    if paired is None:
        raise Refused(401, "invalid_token", "This token is not known here, or was revoked.")
    # An extension's own requests may come without an Origin; those of a web page never do.
    if origin != paired.origin and not (origin is None and not paired.origin.startswith("http")):
        raise Refused(403, "origin_not_allowed", "This token belongs to another origin.")
    return Caller(False, paired.origin)


def _owner(request: Request) -> Bridge:
    """Return the bridge to its owner. Raises Refused to anybody else."""
    if not _caller(request).owner:
        raise Refused(403, "owner_only", "Only the bridge's own token may do this.")
    bridge: Bridge = request.app.state.bridge
    return bridge


async def _json(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise Refused(413, "request_too_large", f"A request has at most {BODY_BYTES} bytes.")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Refused(400, "invalid_json", "The body is not a JSON object.")
    return content


async def _chat(request: Request) -> Response:
    return await _call(request, "chat")


async def _responses(request: Request) -> Response:
    return await _call(request, "responses")


async def _embeddings(request: Request) -> Response:
    return await _call(request, "embeddings")


async def _call(request: Request, operation: str) -> Response:
    caller, body = _caller(request), await _json(request)
    bridge: Bridge = request.app.state.bridge
    gateway = request.headers.get("x-faucet-gateway", bridge.spool.gateway).rstrip("/")
    session = request.headers.get("x-faucet-session", "") if gateway == bridge.spool.gateway else ""
    return CallResponse(bridge, Ask(operation, body, "http", caller.origin, not caller.owner, session))


class CallResponse(Response):
    """The answer of a channel as it comes. When the client leaves, the channel is told at once."""

    def __init__(self, bridge: Bridge, ask: Ask) -> None:
        super().__init__()
        self._bridge, self._ask = bridge, ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:

            async def leave() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(leave)
            try:
                async with self._bridge.engine.call(self._ask) as answer:
                    await self._send(answer, send)
            except Refused as refused:
                await refusal(refused)(scope, receive, send)
            tasks.cancel_scope.cancel()

    async def _send(self, answer: Answer, send: Send) -> None:
        parts = answer.chunks()
        streams = answer.content_type.startswith(EVENT_STREAM)
        body = b"" if streams else b"".join([part async for part in parts])  # it may break off: then it is refused
        headers = {"content-type": answer.content_type, **answer.headers}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        try:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except Refused as refused:
            body = f"data: {json.dumps(refused.envelope())}\n\n".encode()
        await send({"type": "http.response.body", "body": body})


def _listed(request: Request) -> list[dict[str, Any]]:
    caller = _caller(request)
    bridge: Bridge = request.app.state.bridge
    return [
        {
            "id": model.id,
            "object": "model",
            "created": 0,
            "owned_by": channel.name,
            "context_window": model.context_window,
            "capabilities": list(model.capabilities),
            "local": channel.local,
        }
        for model, channel in bridge.fleet.models(shared_only=not caller.owner)
    ]


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": _listed(request)})


async def _model(request: Request) -> Response:
    found = next((model for model in _listed(request) if model["id"] == request.path_params["model"]), None)
    if found is None:
        raise Refused(404, "model_not_found", "No channel of this bridge has this model: see /v1/models.")
    return JSONResponse(found)


async def _status(request: Request) -> Response:
    bridge: Bridge = request.app.state.bridge
    if "authorization" not in request.headers:
        return JSONResponse(bridge.greeting())
    return JSONResponse(bridge.status(owner=_caller(request).owner))


async def _pair(request: Request) -> Response:
    bridge: Bridge = request.app.state.bridge
    origin = request.headers.get("origin")
    if not origin or origin == "null":
        raise Refused(400, "origin_required", "Only a web page or an extension can be paired; programs use the token.")
    name = (await _json(request)).get("app_name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise Refused(400, "invalid_app_name", "Say the name of your app in app_name.")
    pairing = bridge.pairings.ask(origin, name.strip()[:APP_NAME_LENGTH])
    if pairing is None:
        raise Refused(429, "too_many_pairings", "Other pages wait to be paired.", retry_after=30)
    left = max(1, round(pairing.until - time.time()))
    return JSONResponse({"pairing_id": pairing.id, "code": pairing.code, "expires_in": left}, status_code=202)


async def _pairing(request: Request) -> Response:
    bridge: Bridge = request.app.state.bridge
    pairing = bridge.pairings.collect(request.path_params["pairing_id"], request.headers.get("origin", ""))
    if pairing is None:
        raise Refused(404, "pairing_not_found", "There is no such request to pair, or no longer.")
    return JSONResponse({"state": pairing.state} | ({"token": pairing.token} if pairing.token else {}))


async def _decide(request: Request) -> Response:
    bridge, content = _owner(request), await _json(request)
    pairing = bridge.pairings.decide(str(content.get("code", "")), content.get("allow") is not False)
    if pairing is None:
        raise Refused(404, "pairing_not_found", "No page waits with this code.")
    return JSONResponse({"state": pairing.state, "origin": pairing.origin, "app_name": pairing.app_name})


async def _page_key(request: Request) -> Response:
    return JSONResponse({"key": _owner(request).page_keys.new_key()})


async def _refresh(request: Request) -> Response:
    bridge = _owner(request)
    await bridge.reload()
    return JSONResponse(bridge.status(owner=True))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(error)


async def _not_found(request: Request, error: Exception) -> Response:
    return refusal(Refused(getattr(error, "status_code", 404), "not_found", "There is nothing at this address."))


async def _broken(request: Request, error: Exception) -> Response:
    return refusal(Refused(500, "internal_error", "The bridge has failed; its log says where."))
