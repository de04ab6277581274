"""Embeddings by a model of the catalogue: a call like any other of the same payer, with a receipt of its own."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol

import msgspec

from apps.core.errors import FaucetError
from apps.core.ids import new_id
from apps.gateway.cache.vectors import Vector, normalised
from apps.gateway.call import Call
from apps.gateway.formats.base import Format, ModelRequest
from apps.gateway.formats.embeddings import EMBEDDINGS
from apps.gateway.http import Exchange, Message
from apps.gateway.runtime import Runtime
from apps.gateway.snapshots import Caller

logger = logging.getLogger(__name__)

# Tells with the answer what comparing its prompt came to.
PRICE_HEADER = b"x-modelfaucet-embedding-price-usd"


class Serve(Protocol):
    """What serves a call; `counted`: it is counted in its limits already."""

    def __call__(
        self,
        fmt: Format,
        runtime: Runtime,
        exchange: Exchange,
        caller: Caller,
        request: ModelRequest,
        body: bytes,
        *,
        counted: bool,
    ) -> Awaitable[None]: ...


class _Embedding(msgspec.Struct):
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


_decode = msgspec.json.Decoder(_Embeddings).decode


async def embed_by_call(serve: Serve, call: Call, model: str, text: str) -> Vector | None:
    """Return the embedding of a text, None where it cannot be had: then there is nothing to compare with."""
    body = msgspec.json.encode({"model": model, "input": text, "encoding_format": "float"})
    answer: list[bytes] = []
    over = asyncio.Event()

    async def receive() -> Message:
        await over.wait()  # the client is watched by the call that asks
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            answer.append(message["body"])
        else:
            price = dict(message["headers"]).get(b"x-modelfaucet-price-usd")
            if price is not None:
                call.headers.append((PRICE_HEADER, price))

    # None of the caller's headers: its wishes are about the answer, and its key of idempotency is the answer's.
    scope = {**call.scope, "headers": [], "extensions": {}}
    exchange = Exchange(scope, receive, send, new_id("req"), call.runtime.loop.time())
    try:
        await serve(EMBEDDINGS, call.runtime, exchange, call.caller, EMBEDDINGS.parse(body), body, counted=True)
        data = _decode(b"".join(answer)).data
    except (FaucetError, msgspec.MsgspecError) as error:
        code = error.code if isinstance(error, FaucetError) else type(error).__name__
        logger.warning("prompt not embedded", extra={"request_id": call.request_id, "model": model, "error": code})
        return None
    finally:
        over.set()
    return normalised(data[0].embedding) if data else None
