"""Relay: the first target that answers, and exactly one usage event whatever happens."""

import asyncio
import math
from collections.abc import Iterator, Sequence

from django.conf import settings

from apps.core.errors import BadRequest
from apps.core.ids import new_id
from apps.core.money import usd
from apps.gateway.attempts import AttemptFailed, ending_of, uncancel
from apps.gateway.bridges.answer import BridgeAnswer
from apps.gateway.call import Call, Kept
from apps.gateway.failures import (
    CREDENTIAL_LIMIT,
    UNSUPPORTED,
    Failure,
    client_error,
    failure_of_error,
    failure_of_status,
)
from apps.gateway.formats.base import ClientFormat
from apps.gateway.formats.embeddings import EmbeddingsRequest, read_embeddings
from apps.gateway.formats.reading import in_clients_words
from apps.gateway.http import send_bytes
from apps.gateway.metering import Answer, BrokenAnswer, read_answer
from apps.gateway.outcomes import judge
from apps.gateway.providers.base import Adapter
from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.retries import backoff
from apps.gateway.routing import Target
from apps.gateway.runtime import wall_clock
from apps.gateway.streaming import StreamRelay
from apps.gateway.upstream import Response, UpstreamBroken, UpstreamError, UpstreamResponse
from apps.gateway.wire import ChatRequest
from apps.usage.limits import Dimension
from apps.usage.rate import LOCAL

MAX_ANSWER_BYTES = 64_000_000
MAX_ERROR_BYTES = 65_536


class _NotAsked(AttemptFailed):
    """A target was passed over without a call, which says nothing about its health."""


async def relay(call: Call, *, deadline: float) -> None:
    """Serve an admitted call from the first target that answers, all of them again after a pause if none does.

    Raises the error to tell the client when none did; the call is settled in any case.
    """
    failures: list[Failure] = []
    targets = call.decision.targets
    tries = 0
    while True:
        again: list[Target] = []
        for target in _up_first(call, targets):
            try:
                await _attempt(call, target, deadline)
                return
            except AttemptFailed as attempt:
                failure = attempt.failure
                failures.append(failure)
                call.record_attempt(target, failure.code, failure.status)
                if not isinstance(attempt, _NotAsked):
                    call.runtime.health.failure(target.health_key, failure)
                if failure.retryable:
                    again.append(target)
                if failure.final or call.live.gone or call.runtime.loop.time() >= deadline:
                    again.clear()
                    break
            except asyncio.CancelledError:
                if not call.live.cut:
                    raise
                uncancel()
                await _settle_left(call, target)
                return
        tries += 1
        if not again or tries > settings.RETRIES or not await _pause(call, tries, failures, deadline):
            break
        targets = tuple(again)
    call.live.stopped = True  # from here on nothing is cut short
    if call.live.gone:
        await call.settle_unserved(target, status=0, error_code="client_left")
        return
    error = client_error(failures, call.attempts)
    if isinstance(call.request, ChatRequest):
        error = in_clients_words(error, call.request.client)
    await call.settle_unserved(target, status=error.status, error_code=error.code)
    raise error


def _up_first(call: Call, targets: Sequence[Target]) -> Iterator[Target]:
    """Give the targets in order, but last those left alone since the plan was made.

    Another call has found that they fail, or is the one that finds out whether they still do.
    """
    left_alone = []
    for target in targets:
        down, _, _, now = call.runtime.health.view()
        if down and max(down.get(key, 0.0) for key in (target.health_key, (target.credential.id, ""))) > now:
            left_alone.append(target)
        else:
            yield target
    yield from left_alone


async def _pause(call: Call, tries: int, failures: Sequence[Failure], deadline: float) -> bool:
    """Wait before the targets are tried again. Return False where that would take too long, or nobody waits."""
    waits = [failure.retry_after for failure in failures if failure.retry_after is not None]
    left = min(deadline - call.runtime.loop.time(), settings.RETRY_PATIENCE)
    seconds = backoff(tries, min(waits) if waits else None, left, call.runtime.random)
    if seconds is None:
        return False
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not call.live.cut:
            raise
        uncancel()
    return not call.live.gone


async def _attempt(call: Call, target: Target, deadline: float) -> None:
    """Serve the call from one target. Raises AttemptFailed; its place in the limits of the key is then free again."""
    dimensions = await _limit_credential(call, target)
    others = call.dimensions
    call.dimensions += dimensions  # given back with the others, however the call ends
    try:
        await _ask(call, target, deadline)
    except AttemptFailed:
        if dimensions:
            call.runtime.limits.finish(call.request_id, dimensions, 0)
            call.dimensions = others
        raise


async def _ask(call: Call, target: Target, deadline: float) -> None:
    adapter = ADAPTERS[target.offer.adapter]
    try:
        url, body = _request(call, target, adapter)
    except BadRequest as error:
        # What this provider's format cannot say, another's may.
        final = error.code != UNSUPPORTED
        raise _NotAsked(Failure(error.code, 400, error.message, error.param, final=final)) from error
    call.runtime.health.attempt(target.health_key)
    call.sent = call.runtime.loop.time()
    local = target.mode == LOCAL
    call.live.drains = not local
    try:
        if local:
            response: Response = await _send_to_bridge(call, target, body, deadline)
        else:
            response = await _send(call, target, url, body, deadline)
    except UpstreamError as error:
        raise AttemptFailed(failure_of_error(error)) from error
    with response:
        if response.status != 200:
            raise AttemptFailed(await _read_failure(response, target))
        if call.request.stream:
            assert isinstance(call.request, ChatRequest)
            await StreamRelay(call, call.request, target, adapter, response).run()
        else:
            await _relay_json(call, target, adapter, response)


async def _limit_credential(call: Call, target: Target) -> tuple[Dimension, ...]:
    """Count the call in the limits of the key that it is about to use; at its limit, the next target is tried."""
    if not call.rules.covers("credential"):
        return ()
    dimensions = call.rules.for_call({"credential": target.credential.id})
    if dimensions:
        verdict = await call.runtime.limits.admit(call.request_id, dimensions)
        if verdict.refused is not None:
            wait = max(math.ceil(verdict.refused.retry_after), 1)
            raise _NotAsked(Failure(CREDENTIAL_LIMIT, 0, retry_after=wait))
    return dimensions


def _request(call: Call, target: Target, adapter: Adapter) -> tuple[str, bytes]:
    """Return the URL and the body for a target. Raises BadRequest where its format cannot say what is asked."""
    assert call.admission is not None
    request, offer = call.outgoing(target), target.offer
    if isinstance(request, EmbeddingsRequest):
        url = adapter.embeddings_url(target.base_url, model=offer.upstream_model)
        return url, adapter.embeddings_body(request, model=offer.upstream_model)
    cap = call.admission.output_cap
    if offer.max_output_tokens is not None:
        cap = min(cap, offer.max_output_tokens)
    if offer.context_window is not None and request.max_output is None and call.admission.counted:
        cap = min(cap, max(offer.context_window - call.admission.quote.prompt_tokens, 1))
    url = adapter.chat_url(target.base_url, model=offer.upstream_model, stream=request.stream)
    return url, adapter.chat_body(
        request,
        model=offer.upstream_model,
        output_cap=cap,
        cap_name=target.cap_name,
        keeps_cache_control=offer.keeps_cache_control,
    )


async def _send(call: Call, target: Target, url: str, body: bytes, deadline: float) -> UpstreamResponse:
    """Send the request; once more where a kept connection ended before the answer began.

    Such a connection was closed for idleness just then, as servers do. That the provider worked and said nothing is
    far less likely, and would cost us, not the payer.
    """
    upstream = call.runtime.upstream
    try:
        return await upstream.send(url, target.headers, body, deadline=deadline)
    except UpstreamBroken as error:
        if not error.reused or error.bytes_received:
            raise
        call.record_attempt(target, "provider_closed_kept_connection", 0)
    return await upstream.send(url, target.headers, body, deadline=deadline)


async def _send_to_bridge(call: Call, target: Target, body: bytes, deadline: float) -> BridgeAnswer:
    """Send the request over the end user's own bridge."""
    bridge = call.caller.bridge(target.credential.id)
    request = call.request
    return await call.runtime.bridges.send(
        bridge,
        new_id("call"),
        model=target.offer.upstream_model,
        operation=request.operation,
        body=body,
        stream=request.stream,
        deadline=deadline,
    )


async def _read_failure(response: Response, target: Target) -> Failure:
    try:
        body = await response.read(MAX_ERROR_BYTES)
    except UpstreamError:
        body = b""
    secrets = [value for _, value in target.credential.headers.items()]
    secrets += [value.removeprefix("Bearer ") for value in secrets]
    return failure_of_status(response.status, body, response.headers, secrets, now=wall_clock())


async def _settle_left(call: Call, target: Target) -> None:
    """Settle a call whose client left before anything was delivered: the payer owes nothing."""
    verdict = judge(await ending_of(call, target, complete=False, client_left=True))
    await call.settle(target, verdict, call.price(target, verdict), status=0, error_code="client_left")


async def _relay_json(call: Call, target: Target, adapter: Adapter, response: Response) -> None:
    try:
        body, answer = _read(call, target, adapter, await response.read(MAX_ANSWER_BYTES))
        call.live.stopped = True  # from here on nothing is cut short
        call.first_byte = call.runtime.loop.time()
        call.runtime.health.success(target.health_key, call.first_byte - call.sent)
        verdict = judge(await ending_of(call, target, complete=True, client_left=call.live.gone, answer=answer))
        canonical = body
        if isinstance(call.request, ChatRequest):
            call.said = answer.text if call.keeps_answer else None
            if (restorer := call.restorer(target)) is not None:
                body = restorer.restore_json(body)
            fmt: ClientFormat = call.format  # type: ignore[assignment]  # what answers a ChatRequest
            body = fmt.answer(body, call.request, request_id=call.request_id, usage=verdict.tokens)
    except UpstreamError as error:
        raise AttemptFailed(failure_of_error(error)) from error
    except BrokenAnswer as error:
        raise AttemptFailed(Failure("provider_answer_broken", response.status)) from error
    charge = call.price(target, verdict)
    headers = [
        (b"content-type", b"application/json"),
        *call.answer_headers(target),
        (b"x-modelfaucet-price-usd", usd(charge.price).encode()),
    ]
    if verdict.estimated:
        headers.append((b"x-modelfaucet-estimated", b"true"))
    await call.settle(
        target, verdict, charge, status=200, finish_reason=answer.finish_reason, answer=Kept(headers, body)
    )
    if call.cache is not None:
        await call.cache.keep(call, target, verdict, canonical, answer.finish_reason)
    await send_bytes(call.send, 200, body, headers)


def _read(call: Call, target: Target, adapter: Adapter, body: bytes) -> tuple[bytes, Answer]:
    """Return a provider's answer in canonical form, and what it says of itself. Raises BrokenAnswer."""
    request = call.request
    if isinstance(request, EmbeddingsRequest):
        body = adapter.read_embeddings(body, request, model=target.offer.upstream_model)
        return body, Answer(usage=read_embeddings(body), finish_reason="stop", text=" ")
    body = adapter.read_chat(body, created=int(call.started_at))
    return body, read_answer(body)
