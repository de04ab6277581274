"""Answering from the cache: a call like any other for limits, funds and receipts, without a provider."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.core.money import usd
from apps.gateway.admission import hold_exactly
from apps.gateway.cache.streams import renewed, take_apart
from apps.gateway.cache.use import HEADER, Embed, Hit, use_of
from apps.gateway.call import Call, Kept, price_note
from apps.gateway.formats.base import ClientFormat
from apps.gateway.http import Headers, send_bytes
from apps.gateway.metering import BrokenAnswer
from apps.gateway.outcomes import Verdict
from apps.gateway.streaming import STREAM_HEADERS, stream_tail
from apps.gateway.wire import ChatRequest
from apps.usage.models import Outcome
from apps.usage.rate import Charge, Tokens


async def answer_from_cache(call: Call, embed: Embed) -> bool:
    """Answer a call from the cache if it can be; tell whether it was.

    Raises InsufficientFunds, Forbidden (wallet_frozen) or Unavailable: an answer from the cache is paid for as well.
    """
    use = call.cache = use_of(call)
    if use is None:
        return False
    hit = await use.find(call, embed)
    if hit is not None and await _answer(call, hit):
        return True
    call.headers.append((HEADER, b"miss"))
    return False


async def _answer(call: Call, hit: Hit) -> bool:
    entry, target = hit.entry, hit.target
    verdict = Verdict(Outcome.FINISHED, True, entry.counted, entry.estimated)
    call.hit = hit
    charge = call.price(target, verdict)
    try:
        body = _body(call, hit, charge, verdict)
    except (BrokenAnswer, msgspec.MsgspecError, KeyError, RecursionError):
        call.hit = None  # kept by another version of this code
        return False
    call.headers.append((HEADER, hit.kind.value.encode()))
    call.live.stopped = True  # nothing is left that could be cut short
    await hold_exactly(call, charge.price)
    call.first_byte = call.runtime.loop.time()
    headers = [*call.answer_headers(target)]
    if call.request.stream:
        headers = [*STREAM_HEADERS, *headers]
    else:
        headers = [(b"content-type", b"application/json"), *headers, *_price_headers(charge, verdict)]
    await call.settle(
        target, verdict, charge, status=200, finish_reason=entry.finish_reason, answer=Kept(headers, body)
    )
    await send_bytes(call.send, 200, body, headers)
    return True


def _price_headers(charge: Charge, verdict: Verdict) -> Headers:
    headers: Headers = [(b"x-modelfaucet-price-usd", usd(charge.price).encode())]
    if verdict.estimated:
        headers.append((b"x-modelfaucet-estimated", b"true"))
    return headers


def _body(call: Call, hit: Hit, charge: Charge, verdict: Verdict) -> bytes:
    """Return a kept answer in the client's format. Raises BrokenAnswer, msgspec.MsgspecError or KeyError."""
    request = call.request
    if not isinstance(request, ChatRequest):
        return hit.entry.body
    fmt: ClientFormat = call.format  # type: ignore[assignment]  # what answers a ChatRequest
    canonical = renewed(hit.entry.body, request_id=call.request_id, created=int(call.started_at))
    if request.stream:
        return _stream(fmt, request, canonical, call.request_id, price_note(call, charge, verdict), verdict.tokens)
    return fmt.answer(msgspec.json.encode(canonical), request, request_id=call.request_id, usage=verdict.tokens)


def _stream(
    fmt: ClientFormat,
    request: ChatRequest,
    canonical: dict[str, Any],
    request_id: str,
    note: Mapping[str, object],
    usage: Tokens,
) -> bytes:
    events = take_apart(canonical, with_usage=request.wants_usage)
    encoder = fmt.encoder(request, request_id=request_id)
    if encoder is not None:
        events = encoder.feed(events)
    return events + stream_tail(encoder, note, usage)
