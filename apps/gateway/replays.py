"""Idempotency-Key: the first request with a key is served, its repeats are answered from what was stored."""

import asyncio

from django.conf import settings

from apps.core.errors import Conflict
from apps.gateway.http import Exchange, header, send_bytes
from apps.gateway.runtime import Runtime
from apps.gateway.snapshots import Caller
from apps.usage.services.idempotency import CLAIM, LOOK, IdempotencyKey, Outcome, judge, read_key

# How long a repeat waits for the first request with its Idempotency-Key before it gets 409, and how often it looks.
DUPLICATE_WAIT = 30.0
DUPLICATE_LOOK = 0.1


def key_of(exchange: Exchange, caller: Caller, *, endpoint: str, body: bytes) -> IdempotencyKey | None:
    """Return the Idempotency-Key of a request. Raises BadRequest for one that is none."""
    value = header(exchange.scope, b"idempotency-key")
    if value is None:
        return None
    # The same words to another feature are another request.
    asked = f"{endpoint}:{caller.principal.feature_key}"
    return read_key(value.decode("latin-1"), scope=caller.payer, endpoint=asked, body=body)


async def claim(runtime: Runtime, key: IdempotencyKey, request_id: str) -> Outcome | None:
    """Make the key this request's, or return the stored outcome of its first request.

    Raises Conflict when the key came with another body or its first request is still running.
    """
    parameters = key.claim_parameters(request_id, lease=settings.HOLD_LEASE, ttl=settings.IDEMPOTENCY_TTL)
    deadline = runtime.loop.time() + DUPLICATE_WAIT
    while True:
        async with runtime.connection() as connection:
            cursor = await connection.execute(CLAIM, parameters)
            if await cursor.fetchone() is not None:
                return None
            row = await (await connection.execute(LOOK, parameters)).fetchone()
        if row is not None:
            outcome = judge(key, row)
            if outcome is not None:
                return outcome
            if runtime.loop.time() >= deadline:
                raise Conflict(
                    "A request with this Idempotency-Key is still running.",
                    code="idempotency_in_progress",
                    retry_after=5,
                )
            await asyncio.sleep(DUPLICATE_LOOK)


async def replay(exchange: Exchange, outcome: Outcome) -> None:
    """Answer a repeat with what its first request was answered."""
    headers = [(name.encode(), value.encode()) for name, value in outcome.headers.items()]
    headers += [(b"idempotent-replayed", b"true"), *exchange.headers]
    await send_bytes(exchange.send, outcome.status, outcome.body, headers)
