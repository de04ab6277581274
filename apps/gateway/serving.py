"""Serving a model call, whatever its format: admit, route, relay, settle."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.conf import settings

from apps.core.addresses import network_of
from apps.gateway.admission import Quote, admit, exact_quote
from apps.gateway.cache.embedding import embed_by_call
from apps.gateway.cache.hits import answer_from_cache
from apps.gateway.call import Call
from apps.gateway.callers import may_shorten
from apps.gateway.classify import QUESTION, classify_request
from apps.gateway.formats.base import Format, ModelRequest
from apps.gateway.http import Exchange, address_of
from apps.gateway.plan_limits import refuse_spent
from apps.gateway.redaction import Redaction, hash_prompt, redact
from apps.gateway.relay import relay
from apps.gateway.replays import claim, key_of, replay
from apps.gateway.routing import Decision, Wish, plan, read_wish, wants_count
from apps.gateway.runtime import Live, Runtime, wall_clock
from apps.gateway.snapshots import Caller, Policy
from apps.gateway.wire import ChatRequest
from apps.usage.limits.rules import Dimension, scopes_of
from apps.usage.limits.verdicts import limit_headers, refusal

T = TypeVar("T")

# A larger body, in bytes, is parsed in a thread.
PARSE_INLINE = 262_144


async def parse(read: Callable[[bytes], T], body: bytes) -> T:
    """Return the request; a large one is read beside the event loop, because millions of parts take a second."""
    return read(body) if len(body) <= PARSE_INLINE else await asyncio.to_thread(read, body)


async def serve(
    fmt: Format,
    runtime: Runtime,
    exchange: Exchange,
    caller: Caller,
    request: ModelRequest,
    body: bytes,
    *,
    counted: bool = False,
) -> None:
    """Answer a request that was read; what refuses it is raised, and then nothing was spent.

    `counted`: the limits know of it, as a part of another call.
    """
    scope, request_id = exchange.scope, exchange.request_id
    policy = await runtime.snapshots.policy()
    key = key_of(exchange, caller, endpoint=fmt.endpoint, body=body)
    if key is not None:
        # First of all: what was answered is answered again, whatever can no longer be served.
        outcome = await claim(runtime, key, request_id)
        if outcome is not None:
            await replay(exchange, outcome)
            return
    try:
        if caller.principal.spent_plan is not None:
            refuse_spent(caller.principal.spent_plan, at=wall_clock())
        decision, wish = await decide(runtime, exchange, policy, caller, request)
    except Exception:
        if key is not None:
            await runtime.release_key(request_id)
        raise
    live = Live(request_id, asyncio.current_task(), exchange.receive, keyed=key is not None)
    call = Call(
        runtime=runtime,
        scope=scope,
        send=exchange.send,
        request_id=request_id,
        started=exchange.started,
        started_at=wall_clock(),
        headers=exchange.headers,
        caller=caller,
        format=fmt,
        request=request,
        decision=decision,
        rules=policy.limits,
        budgets=policy.budgets,
        live=live,
        key=key,
    )
    try:
        try:
            if not counted:
                call.dimensions = await _limit(runtime, exchange, policy, caller)
            if decision.redact:
                call.decision, call.redaction = await _redact(runtime, policy, caller, request, decision, wish)
            if caller.principal.manifest.privacy.prompt_hash:
                call.prompt_hash = await hash_prompt(request, caller.principal.app_id)
            cache = caller.principal.manifest.cache
            if cache.on and await answer_from_cache(call, partial(embed_by_call, serve, call)):
                return
            call.admission = await admit(
                runtime,
                caller,
                request if call.redaction is None else call.redaction.held,
                call.decision,
                policy.budgets,
                request_id=request_id,
                may_shorten=may_shorten(scope, caller),
                memo=call.memo,
            )
            call.decision = call.admission.decision
            runtime.enter(live)
            try:
                await relay(call, deadline=exchange.started + settings.REQUEST_DEADLINE)
            finally:
                runtime.leave(live)
        finally:
            if call.cache is not None:
                call.cache.done()
            if call.dimensions:
                runtime.limits.finish(request_id, call.dimensions, call.tokens)
    except Exception:
        await call.release_key()
        raise


async def quote(runtime: Runtime, exchange: Exchange, caller: Caller, request: ModelRequest) -> tuple[Decision, Quote]:
    """Return where a request would be sent and its worst case. It counts as a request, and raises as serving does."""
    policy = await runtime.snapshots.policy()
    dimensions = await _limit(runtime, exchange, policy, caller)
    try:
        decision, wish = await decide(runtime, exchange, policy, caller, request)
        held = request
        if decision.redact:
            decision, redaction = await _redact(runtime, policy, caller, request, decision, wish)
            held = request if redaction is None else redaction.held
        return decision, await exact_quote(caller, held, decision, may_shorten=False)
    finally:
        if dimensions:
            runtime.limits.finish(exchange.request_id, dimensions, 0)


async def decide(
    runtime: Runtime, exchange: Exchange, policy: Policy, caller: Caller, request: ModelRequest
) -> tuple[Decision, Wish]:
    """Return where a request can be sent, and what was wished.

    Raises what `plan` raises, and BadRequest for a wish that is malformed.
    """
    wish = read_wish(
        request,
        exchange.scope["headers"],
        classify=partial(_task_class, request),
        hour=int(wall_clock() // 3600 % 24),
        operation=request.operation,
    )
    routes = caller.routes(policy.table)
    if caller.local:
        wish.local = runtime.bridges.stand_ins(caller.local, caller.principal, wish)
    if wants_count(routes, wish):
        tokenizers = {offer.tokenizer for name in routes.allowed for offer in policy.table.offers[name]}
        for tokenizer in tokenizers:
            await asyncio.to_thread(request.prompt.count, tokenizer, 0)
        wish.counted = True
    return plan(routes, wish, runtime.health.view(), rng=runtime.random), wish


async def _redact(
    runtime: Runtime, policy: Policy, caller: Caller, request: ModelRequest, decision: Decision, wish: Wish
) -> tuple[Decision, Redaction | None]:
    """Return the decision with the redacted request; one for local models only, without, where it cannot be redacted.

    Raises what `redact` and `plan` raise.
    """
    redaction = await redact(request, caller.principal.manifest.privacy)
    if redaction is not None:
        return decision, redaction
    wish.local_only = True
    wish.local = runtime.bridges.stand_ins(caller.local, caller.principal, wish)
    return plan(caller.routes(policy.table), wish, runtime.health.view(), rng=runtime.random), None


def _task_class(request: ModelRequest) -> str:
    return classify_request(request) if isinstance(request, ChatRequest) else QUESTION


async def _limit(runtime: Runtime, exchange: Exchange, policy: Policy, caller: Caller) -> tuple[Dimension, ...]:
    """Count a call in all of its limits and return them. Raises RateLimited, and then it counts in none."""
    dimensions = caller.limits
    if policy.limits:
        network = network_of(address_of(exchange.scope)) if policy.limits.covers("ip") else None
        dimensions = policy.limits.for_call(scopes_of(caller.principal, network=network), dimensions)
    if not dimensions:
        return ()
    verdict = await runtime.limits.admit(exchange.request_id, dimensions)
    exchange.headers += limit_headers(verdict)
    if not verdict.passed:
        raise refusal(verdict)
    return dimensions
