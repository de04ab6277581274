"""A streamed answer on its way to the client: chunks as they come, the last byte once the call is settled."""

import asyncio
from collections.abc import Mapping

import msgspec

from apps.core.errors import FaucetError, ProviderFailed
from apps.gateway.attempts import AttemptFailed, ending_of, uncancel
from apps.gateway.cache.streams import Collector
from apps.gateway.call import Call, Kept, price_note
from apps.gateway.failures import Failure, failure_of_error
from apps.gateway.formats.base import ClientFormat, StreamEncoder
from apps.gateway.http import Headers, writer_of
from apps.gateway.metering import BrokenAnswer
from apps.gateway.outcomes import judge
from apps.gateway.prompt_logs import MOST_EVENTS
from apps.gateway.providers.base import Adapter
from apps.gateway.routing import Target
from apps.gateway.stream_meter import StreamMeter
from apps.gateway.upstream import Response, UpstreamError
from apps.gateway.wire import ChatRequest
from apps.usage.rate import Tokens
from apps.usage.services.idempotency import MAX_KEPT_BYTES

DRAIN_AFTER_END = 0.2

_encode = msgspec.json.Encoder().encode
_EVENT_STREAM = b"text/event-stream"
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class StreamRelay:
    """One SSE answer: decoded where the provider speaks another format, metered, with the values that were
    redacted put back, encoded where the client speaks another format."""

    def __init__(
        self,
        call: Call,
        request: ChatRequest,
        target: Target,
        adapter: Adapter,
        response: Response,
    ) -> None:
        self.call = call
        self.target = target
        self.response = response
        self.format: ClientFormat = call.format  # type: ignore[assignment]  # what answers a ChatRequest
        self.decoder = adapter.chat_stream(created=int(call.started_at))
        self.meter = StreamMeter(strip_usage=not request.wants_usage, tokenizer=target.offer.tokenizer)
        self.restorer = call.restorer(target)
        self.encoder = self.format.encoder(request, request_id=call.request_id)
        self.collector = Collector() if call.cache is not None else None
        self.headers: Headers = [
            *STREAM_HEADERS,
            *call.answer_headers(target),
        ]
        self.writer = writer_of(call.scope, call.send)
        self.started = False
        self.first = b""
        self.said: list[bytes] | None = [] if call.keeps_answer else None
        self.said_bytes = 0
        self.kept: list[bytes] | None = [] if call.key is not None else None
        self.kept_bytes = 0

    async def run(self) -> None:
        if not self.response.headers.get(b"content-type", _EVENT_STREAM).startswith(_EVENT_STREAM):
            raise AttemptFailed(Failure("provider_answer_broken", self.response.status))
        meter, live = self.meter, self.call.live
        failure: Failure | None = None
        ended = False
        try:
            while True:
                over = await self.response.pump(self._take)
                if over and not self._over:
                    self._flush()
                if (over or self._over) and self.restorer is not None:
                    self._write(self.restorer.flush())
                await self._drain_client()
                if over or self._over:
                    break
            ended = meter.done or bool(meter.reasons)
            if not ended:
                failure = Failure("provider_broke_off", 200)
            if meter.error is not None:
                failure = Failure("provider_error_in_stream", 200)
        except UpstreamError as error:
            failure = failure_of_error(error)
        except BrokenAnswer:
            failure = Failure("provider_answer_broken", 200)
        except asyncio.CancelledError:
            if not live.cut:
                raise
            uncancel()
        if failure is not None and not self.started and not live.gone:
            raise AttemptFailed(failure)
        live.stopped = True  # from here on nothing is cut short
        await self._finish(ended and failure is None, failure)

    @property
    def _over(self) -> bool:
        return self.meter.done or self.meter.error is not None

    def _take(self, data: bytes) -> bool:
        """Pass on what the provider sent. Return False where the stream is over or the client is to be waited for."""
        if self.decoder is not None:
            data = self.decoder.feed(data)
        more = self._pass_on(self.meter.feed(data)) if data else True
        return more and not self._over

    def _flush(self) -> None:
        """Pass on what is left when the body has come to its end without the stream's own."""
        if self.decoder is not None and (data := self.decoder.flush()):
            self._pass_on(self.meter.feed(data))
        if not self._over:
            self._pass_on(self.meter.flush())

    def _pass_on(self, data: bytes) -> bool:
        if data and self.collector is not None:
            self.collector.feed(data)
        if self.said is not None and self.said_bytes < MOST_EVENTS:
            self.said_bytes += len(data)
            self.said.append(data)
        if data and self.restorer is not None:
            data = self.restorer.feed(data)
        return self._write(data)

    def _write(self, data: bytes) -> bool:
        if data and self.encoder is not None:
            data = self.encoder.feed(data)
        if self.call.live.gone:
            self.meter.client_left = True
            self._keep(data)  # paid for if it comes to its end: a repeat with the same key gets it
            return True
        if not data:
            return True
        self._keep(data)
        if self.started:
            return self.writer.write(data)
        self.first += data
        return False

    async def _drain_client(self) -> None:
        """Begin the answer if it has not, and wait until the client has read enough of it."""
        call = self.call
        if call.live.gone:
            return
        call.live.sending_since = call.runtime.loop.time()
        if self.first and not self.started:
            self.started = True
            call.first_byte = call.live.sending_since
            await call.send({"type": "http.response.start", "status": 200, "headers": self.headers})
            await call.send({"type": "http.response.body", "body": self.first, "more_body": True})
            self.first = b""
        await self.writer.drain()
        call.live.sending_since = 0.0

    def _keep(self, data: bytes) -> None:
        if self.kept is not None:
            self.kept_bytes += len(data)
            self.kept.append(data)
            if self.kept_bytes > MAX_KEPT_BYTES:
                self.kept.clear()

    async def _finish(self, complete: bool, failure: Failure | None) -> None:
        call, live, meter = self.call, self.call.live, self.meter
        live.sending_since = 0.0
        verdict = judge(
            await ending_of(
                call, self.target, complete=complete, client_left=live.gone, failed=failure is not None, meter=meter
            )
        )
        charge = call.price(self.target, verdict)
        if failure is None:
            self._note_health(complete)
            tail = stream_tail(self.encoder, price_note(call, charge, verdict), verdict.tokens)
        else:
            call.runtime.health.failure(self.target.health_key, failure)
            tail = self._fail(
                ProviderFailed("The provider failed in mid-answer; nothing was charged.", code=failure.code)
            )
        if self.said is not None:
            call.said = b"".join(self.said)
        try:
            await call.settle(
                self.target,
                verdict,
                charge,
                status=200 if self.started or not live.gone else 0,
                finish_reason=meter.finish_reason,
                error_code=failure.code if failure else None,
                answer=Kept(self.headers, self._replay(tail)) if complete else None,
            )
            if complete and call.cache is not None and self.collector is not None:
                await call.cache.keep_stream(call, self.target, verdict, self.collector, meter.finish_reason)
        except FaucetError as error:
            tail = self._fail(error)
            await call.release_key()
        if not live.gone:
            if not self.started:
                await call.send({"type": "http.response.start", "status": 200, "headers": self.headers})
            await call.send({"type": "http.response.body", "body": tail, "more_body": False})
        if complete and not self.response.ended:
            await self._drain()

    def _note_health(self, complete: bool) -> None:
        """Count a success at the end: a provider that breaks off every stream must not look well with each one."""
        begun = self.call.first_byte
        if complete or begun is not None:
            seconds = None if begun is None else begun - self.call.sent
            self.call.runtime.health.success(self.target.health_key, seconds)

    async def _drain(self) -> None:
        """Read past the end marker to the end of the body, so that the connection can be kept."""
        try:
            async with asyncio.timeout(DRAIN_AFTER_END):
                async for _ in self.response.chunks():
                    pass
        except (TimeoutError, UpstreamError):
            pass

    def _replay(self, tail: bytes) -> bytes | None:
        return None if self.kept is None or self.kept_bytes > MAX_KEPT_BYTES else b"".join(self.kept) + tail

    def _fail(self, error: FaucetError) -> bytes:
        if self.encoder is not None:
            return self.encoder.fail(error)
        return self.format.error_event(error, self.call.request_id)


def stream_tail(encoder: StreamEncoder | None, note: Mapping[str, object], usage: Tokens) -> bytes:
    """Return what ends a stream that is settled, in the client's format."""
    if encoder is not None:
        return encoder.finish(note, usage=usage)
    return b": modelfaucet " + _encode(note) + b"\n\ndata: [DONE]\n\n"
