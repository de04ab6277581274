"""One call, from whoever asks, over HTTP or the relay: policies, a channel, metering, the ledger, the report."""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx

from modelfaucet_bridge.config import Channel
from modelfaucet_bridge.fleet import Clients, Fleet
from modelfaucet_bridge.keychain import Keychain, SecretError
from modelfaucet_bridge.ledger import Entry, Ledger, safe
from modelfaucet_bridge.metering import BodyMeter, StreamMeter, request_tokens
from modelfaucet_bridge.money import Tokens
from modelfaucet_bridge.policies import Call, Outcome, Policy, Refused
from modelfaucet_bridge.reports import Spool, report_of

log = logging.getLogger(__name__)
PATHS = {"chat": "/chat/completions", "responses": "/responses", "embeddings": "/embeddings"}
EVENT_STREAM = "text/event-stream"
CLIENT_LEFT = 499


@dataclass(frozen=True)
class Ask:
    """What somebody wants. `session` is a gateway's session token, if this bridge is to report the call."""

    operation: str
    body: dict[str, Any]
    source: str = "http"
    origin: str | None = None
    shared_only: bool = False
    session: str = ""


class Answer:
    """The answer of a channel. Take `chunks()` once, or leave it: it is closed, metered and written down either way."""

    def __init__(
        self, call: Call, response: httpx.Response, meter: BodyMeter | StreamMeter, settle: "Settle", reported: bool
    ) -> None:
        self.call, self._response, self._meter, self._settle = call, response, meter, settle
        self.status, self.reported = response.status_code, reported
        self.content_type = response.headers.get("content-type", "application/json")
        self._failed: tuple[int, str] | None = None
        self._ended = self._settled = False

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that the client is to have."""
        headers = {"x-faucet-channel": self.call.channel.name, "x-faucet-request-id": self.call.request_id}
        if "retry-after" in self._response.headers:
            headers["retry-after"] = self._response.headers["retry-after"]
        return headers | ({"x-faucet-reported": "bridge"} if self.reported else {})

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the answer as it comes; its usage is in the ledger before its last bytes are out.

        Raises Refused if the channel breaks off.
        """
        held = b""
        try:
            async for data in self._response.aiter_bytes():
                passed = self._meter.feed(data)
                if isinstance(self._meter, BodyMeter):
                    held += passed
                    continue
                if self._meter.complete and not self._settled:
                    self._ended = True
                    await self.settle()
                if passed:
                    yield passed
            held += self._meter.finish()
            self._ended = True
        except httpx.HTTPError as error:
            log.warning("%s broke off (%s)", self.call.channel.name, type(error).__name__)
            lost = Refused(502, "channel_lost", f"The channel {self.call.channel.name} broke off.")
            self._failed = (lost.status, lost.code)
            await self.settle()
            raise lost from None
        await self.settle()
        if held:
            yield held

    async def settle(self) -> None:
        """Close the connection to the channel and write down how the call ended, once."""
        if self._settled:
            return
        self._settled = True
        with anyio.CancelScope(shield=True):
            if not self._ended or self._failed:
                await self._response.aclose()
            await self._settle(self._outcome())
            if self._ended:
                await self._response.aclose()

    def _outcome(self) -> Outcome:
        call, tokens = self.call, self._meter.tokens()
        status, code = self._failed or (self._response.status_code, None)
        if status >= 400:
            code = code or self._meter.error_code()
        elif isinstance(self._meter, StreamMeter) and self._meter.failed:
            status, code = 502, self._meter.failed
        elif not self._ended:
            status, code = CLIENT_LEFT, "client_left"
        if tokens is None and self._response.status_code < 400:
            # The channel has worked, but its answer lacks usage or was not read to its end.
            guess = 0 if call.operation == "embeddings" else self._meter.output_estimate()
            tokens = Tokens(call.input_estimate, guess, estimated=True)
        return _outcome(call, status, code, tokens)


Settle = Callable[[Outcome], Awaitable[None]]


class Engine:
    """Makes calls."""

    def __init__(
        self, fleet: Fleet, clients: Clients, ledger: Ledger, spool: Spool, keychain: Keychain, policies: list[Policy]
    ) -> None:
        self._fleet, self._clients, self._ledger, self._spool = fleet, clients, ledger, spool
        self._keychain, self.policies = keychain, policies
        self.in_flight = 0

    @asynccontextmanager
    async def call(self, ask: Ask) -> AsyncIterator[Answer]:
        """Make a call and give its answer. Raises Refused; whatever happens is in the ledger afterwards."""
        self.in_flight += 1
        try:
            answer = await self._open(ask)
            try:
                yield answer
            finally:
                await answer.settle()
        finally:
            self.in_flight -= 1

    async def _open(self, ask: Ask) -> Answer:
        request_id, started = f"req_{secrets.token_hex(12)}", time.time()
        model = ask.body.get("model")
        model = model if isinstance(model, str) else ""
        try:
            candidates = self._fleet.candidates(model, ask.operation, shared_only=ask.shared_only)
        except Refused as refused:
            self._refuse(ask, request_id, model, started, refused)
            raise
        for position, (channel, name) in enumerate(candidates):
            call = Call(
                request_id=request_id,
                operation=ask.operation,
                model=name,
                channel=channel,
                # What a gateway is asked beside the call is no part of it for a model server.
                body={key: value for key, value in ask.body.items() if key != "modelfaucet"} | {"model": name},
                stream=ask.body.get("stream") is True,
                started_at=started,
                source=ask.source,
                origin=ask.origin,
                input_estimate=request_tokens(ask.body),
            )
            answer = await self._try(ask, call, last=position == len(candidates) - 1)
            if answer is not None:
                return answer
        raise AssertionError("the last candidate answers or raises")

    async def _try(self, ask: Ask, call: Call, *, last: bool) -> Answer | None:
        """Ask one channel. Returns None if it cannot be reached and another one is left."""
        passed: list[Policy] = []
        reported = bool(ask.session and self._spool.gateway)

        async def settle(outcome: Outcome, *, report: bool = True) -> None:
            await self._settle(call, outcome, passed, ask.session if reported and report else "")

        try:
            for policy in self.policies:
                await policy.before_call(call)
                passed.append(policy)
            key = await self._key(call.channel)
            response = await self._send(call, key)
            return await self._read_head(call, response, settle, reported)
        except httpx.TransportError as error:
            self._fleet.mark_down(call.channel, type(error).__name__)
            code = "channel_unavailable" if _never_arrived(error) else "channel_lost"
            final = last or code == "channel_lost"  # what may have arrived is not asked twice
            await settle(_outcome(call, 503, code, None), report=final)
            if not final:
                return None
            message = f"The channel {call.channel.name} cannot be reached."
            raise Refused(503, code, message, retry_after=5) from None
        except Refused as refused:
            with anyio.CancelScope(shield=True):
                await settle(_outcome(call, refused.status, refused.code, None), report=refused.status >= 500)
            raise
        except BaseException as error:  # cancelled: the client left before there was an answer
            left = not isinstance(error, Exception)
            status, code = (CLIENT_LEFT, "client_left") if left else (500, "internal_error")
            with anyio.CancelScope(shield=True):
                await settle(_outcome(call, status, code, None))
            raise

    async def _key(self, channel: Channel) -> str:
        try:
            return await self._fleet.key(channel)
        except SecretError as error:
            raise Refused(503, "channel_key_missing", f"The channel {channel.name} has no key: {error}") from None

    async def _send(self, call: Call, key: str) -> httpx.Response:
        channel, client = call.channel, self._clients.of(call.channel)
        body = call.body
        if call.stream and call.operation == "chat" and channel.stream_usage:
            options = body.get("stream_options")
            body = {**body, "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True}}
        headers = {"accept": EVENT_STREAM if call.stream else "application/json", "accept-encoding": "identity"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        request = client.build_request("POST", channel.base_url + PATHS[call.operation], json=body, headers=headers)
        return await client.send(request, stream=True, follow_redirects=False)

    async def _read_head(self, call: Call, response: httpx.Response, settle: Settle, reported: bool) -> Answer:
        """Take the head of an answer. Raises Refused for what a client would take for an answer of the bridge."""
        content_type = response.headers.get("content-type", "")
        is_json = "json" in content_type
        problem = None
        if response.status_code in (401, 403) and (call.channel.secret_ref or not call.channel.local):
            self._keychain.forget()
            problem = ("channel_key_refused", f"The provider of {call.channel.name} refuses its key.")
        elif response.status_code in (404, 405, 501) and not is_json:
            problem = ("unsupported_operation", f"The channel {call.channel.name} has no {PATHS[call.operation]}.")
        elif 300 <= response.status_code < 400 or (response.status_code >= 400 and not is_json):
            problem = ("channel_error", f"The channel {call.channel.name} answered {response.status_code}.")
        if problem is not None:
            await response.aclose()
            raise Refused(404 if problem[0] == "unsupported_operation" else 502, *problem)
        meter: BodyMeter | StreamMeter = BodyMeter()
        if content_type.startswith(EVENT_STREAM):
            options = call.body.get("stream_options")
            asked = isinstance(options, dict) and options.get("include_usage") is True
            meter = StreamMeter(hide_usage=not asked)
        return Answer(call, response, meter, settle, reported)

    async def _settle(self, call: Call, outcome: Outcome, passed: list[Policy], session: str) -> None:
        tokens = outcome.tokens
        self._ledger.record(
            Entry(
                at=call.started_at,
                request_id=call.request_id,
                channel=call.channel.name,
                model=safe(call.model),
                operation=call.operation,
                status=outcome.status,
                latency_ms=outcome.latency_ms,
                input_tokens=tokens.input if tokens else None,
                output_tokens=tokens.output if tokens else None,
                cache_read_tokens=tokens.cache_read if tokens else 0,
                reasoning_tokens=tokens.reasoning if tokens else 0,
                estimated=bool(tokens and tokens.estimated),
                cost_nano_usd=outcome.cost,
                error_code=safe(outcome.error_code),
                source=call.source,
                stream=call.stream,
            )
        )
        log.info(
            "%s %s %s %d %d ms", call.request_id, call.channel.name, call.operation, outcome.status, outcome.latency_ms
        )
        for policy in reversed(passed):
            try:
                await policy.after_call(call, outcome)
            except Exception as error:
                log.error("the policy %s failed: %s", type(policy).__name__, type(error).__name__)
        if session:
            try:
                await self._spool.add(session, report_of(call, outcome))
            except (OSError, SecretError) as error:
                log.error("the usage of %s cannot be kept: %s", call.request_id, type(error).__name__)

    def _refuse(self, ask: Ask, request_id: str, model: str, started: float, refused: Refused) -> None:
        spent = int((time.time() - started) * 1000)
        entry = Entry(started, request_id, None, safe(model or None), ask.operation, refused.status, spent)
        self._ledger.record(Entry(**{**vars(entry), "error_code": refused.code, "source": ask.source}))


def _never_arrived(error: httpx.TransportError) -> bool:
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError))


def _outcome(call: Call, status: int, code: str | None, tokens: Tokens | None) -> Outcome:
    """Rate a call. What was refused before a channel worked costs nothing; without a price the cost is unknown."""
    price = call.channel.price(call.model)
    cost = 0 if tokens is None and status >= 400 else None
    if tokens is not None and price is not None:
        cost = price.cost(tokens)
    return Outcome(status, code, tokens, cost, int((time.time() - call.started_at) * 1000))
