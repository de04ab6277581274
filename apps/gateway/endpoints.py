"""The model endpoints: what each reads and how it answers; `serving` does the rest."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import msgspec

from apps.core.errors import NotFound
from apps.core.money import usd
from apps.gateway.bridges.targets import with_local
from apps.gateway.callers import read_caller, read_request_body
from apps.gateway.formats.base import Format, ModelRequest
from apps.gateway.formats.chat import CHAT
from apps.gateway.formats.embeddings import EMBEDDINGS
from apps.gateway.formats.feature import feature_format
from apps.gateway.formats.messages import MESSAGES
from apps.gateway.formats.responses import RESPONSES
from apps.gateway.http import Exchange
from apps.gateway.routing import Target
from apps.gateway.runtime import Runtime
from apps.gateway.serving import parse, quote, serve
from apps.usage.rate import LOCAL

MODELS_PATH = "/v1/models"
FEATURES_PATH = "/v1/features"
# A developer who wants these lets users' own machines answer, and so lets them make the prompt.
LOCAL_POLICIES = frozenset({"local_first", "privacy_first"})

Handler = Callable[[Runtime, Exchange], Awaitable[None]]


class _Readable(Format, Protocol):
    def parse(self, body: bytes) -> ModelRequest: ...


async def _call(fmt: _Readable, runtime: Runtime, exchange: Exchange) -> None:
    """Serve a model call in one of the clients' formats."""
    exchange.envelope = fmt.error
    caller = await read_caller(runtime, exchange)
    body = await read_request_body(runtime, exchange)
    request = await parse(fmt.parse, body)
    await serve(fmt, runtime, exchange, caller, request, body)


async def feature(runtime: Runtime, exchange: Exchange) -> None:
    """Serve POST /v1/features/{key}."""
    key: str = exchange.scope["path"].removeprefix(f"{FEATURES_PATH}/")
    caller = await read_caller(runtime, exchange, feature_key=key)
    fmt = feature_format(caller.principal)
    body = await read_request_body(runtime, exchange)
    await serve(fmt, runtime, exchange, caller, await parse(fmt.parse, body), body)


async def feature_shape(runtime: Runtime, exchange: Exchange) -> None:
    """Serve GET /v1/features/{key}: what a client needs to know of a feature to call it.

    The prompt is told only where the manifest wants the user's own machine first, or nothing else: it is made there.
    """
    key: str = exchange.scope["path"].removeprefix(f"{FEATURES_PATH}/")
    caller = await read_caller(runtime, exchange, feature_key=key)
    principal = caller.principal
    manifest = principal.manifest
    local = manifest.privacy.mode == "local_only" or manifest.routing.policy in LOCAL_POLICIES
    content = {
        "object": "feature",
        "key": principal.feature_key,
        "privacy_mode": manifest.privacy.mode,
        "default_model": principal.default_model,
        "max_output_tokens": principal.max_output_tokens,
        "input": manifest.input,
        "output": {"kind": manifest.output.kind, "schema": manifest.output.schema},
        "prompt": msgspec.to_builtins(manifest.prompt) if local else None,
    }
    await exchange.send_json(200, content)


async def count_tokens(runtime: Runtime, exchange: Exchange) -> None:
    """Serve POST /v1/messages/count_tokens."""
    exchange.envelope = MESSAGES.error
    caller = await read_caller(runtime, exchange)
    request = await parse(MESSAGES.parse_count, await read_request_body(runtime, exchange))
    _, quoted = await quote(runtime, exchange, caller, request)
    await exchange.send_json(200, MESSAGES.count_answer(quoted.prompt_tokens))


async def estimate(runtime: Runtime, exchange: Exchange) -> None:
    """Serve POST /v1/estimate: the most that a chat completion with this body can cost."""
    caller = await read_caller(runtime, exchange)
    request = await parse(CHAT.parse, await read_request_body(runtime, exchange))
    decision, quoted = await quote(runtime, exchange, caller, request)
    content = {
        "object": "estimate",
        "model": decision.model,
        "route_mode": decision.targets[0].mode,
        "prompt_tokens": quoted.prompt_tokens,
        "max_output_tokens": quoted.output_cap * request.choices,
        "max_price_usd": usd(quoted.amount),
        "currency": "usd",
    }
    await exchange.send_json(200, content)


async def models(runtime: Runtime, exchange: Exchange) -> None:
    """Serve GET /v1/models: what this token may call, with its price; and GET /v1/models/{id}."""
    caller = await read_caller(runtime, exchange)
    routes = caller.routes((await runtime.snapshots.policy()).table)
    served = routes.served()
    if caller.local and routes.withheld(LOCAL) is None:
        served = with_local(served, caller.local, caller.principal, runtime.bridges.load)
    path: str = exchange.scope["path"]
    if path == MODELS_PATH:
        await exchange.send_json(200, {"object": "list", "data": [_model(*item) for item in served.items()]})
        return
    name = path.removeprefix(f"{MODELS_PATH}/")
    if name not in served:
        raise NotFound(f"The model '{name[:200]}' does not exist here.", code="model_not_found", param="model")
    await exchange.send_json(200, _model(name, served[name]))


def _model(name: str, targets: tuple[Target, ...]) -> dict[str, object]:
    offer = targets[0].offer
    tiers = offer.price.tiers if offer.price is not None else ()
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": offer.provider,
        "context_window": offer.context_window,
        "max_output_tokens": offer.max_output_tokens,
        "capabilities": sorted(offer.capabilities),
        "route_modes": list(dict.fromkeys(target.mode for target in targets)),
        "pricing": {
            "unit": "usd per 1,000,000 tokens, at the provider's list price",
            "tiers": [
                {
                    "from_tokens": tier.from_tokens,
                    "input": usd(tier.input),
                    "cache_read": usd(tier.cache_read),
                    "cache_write": usd(tier.cache_write),
                    "output": usd(tier.output),
                }
                for tier in tiers
            ],
        },
    }


async def stored_completions(runtime: Runtime, exchange: Exchange) -> None:
    """Serve GET /v1/chat/completions: no completion is ever stored, so the list is empty."""
    await read_caller(runtime, exchange)
    await exchange.send_json(200, {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})


ROUTES: dict[str, dict[str, Handler]] = {
    "/v1/chat/completions": {"POST": partial(_call, CHAT), "GET": stored_completions},
    "/v1/responses": {"POST": partial(_call, RESPONSES)},
    "/v1/messages": {"POST": partial(_call, MESSAGES)},
    "/v1/messages/count_tokens": {"POST": count_tokens},
    "/v1/embeddings": {"POST": partial(_call, EMBEDDINGS)},
    "/v1/estimate": {"POST": estimate},
    MODELS_PATH: {"GET": models},
}
_MODEL: dict[str, Handler] = {"GET": models}
_FEATURE: dict[str, Handler] = {"GET": feature_shape, "POST": feature}


def find(path: str) -> dict[str, Handler] | None:
    """Return the handlers of a path by method, or None where Django answers it."""
    if path.startswith(f"{MODELS_PATH}/"):
        return _MODEL
    if path.startswith(f"{FEATURES_PATH}/"):
        return _FEATURE
    return ROUTES.get(path)
