"""One call on its way through the gateway: what is known of it, and the usage event it ends in."""

from typing import Any

import msgspec
from django.conf import settings

from apps.core.errors import Unavailable
from apps.core.money import usd
from apps.gateway.admission import Admission
from apps.gateway.cache.use import CacheUse, Hit
from apps.gateway.formats.base import Format, ModelRequest
from apps.gateway.http import Headers, Scope, Send
from apps.gateway.outcomes import Verdict
from apps.gateway.privacy import Restorer
from apps.gateway.prompt_logs import Said
from apps.gateway.redaction import Redaction
from apps.gateway.routing import Decision, Target
from apps.gateway.runtime import Live, Runtime
from apps.gateway.snapshots import Caller
from apps.usage.budgets.refs import Budgets
from apps.usage.limits.rules import Dimension, LimitRules
from apps.usage.models import Outcome
from apps.usage.rate import LOCAL, Charge, Overheads, Tokens, rate
from apps.usage.services.idempotency import MAX_KEPT_BYTES, IdempotencyKey, seal
from apps.usage.services.settle import ABANDONED, HoldMemo, Replayable, Settlement, UsageRecord


class Kept(msgspec.Struct, frozen=True):
    """What an Idempotency-Key is answered with again; `body` is None where it was not kept whole."""

    headers: Headers
    body: bytes | None


class Call(msgspec.Struct):
    """A model call from its first byte to its settlement.

    `headers` go with every answer. `rules` are the limits in force, `dimensions` those that the call is counted in;
    `tokens` is what it used. `redaction` is what targets that are not local get in place of `request`; `hit`
    is what the call is answered with from the `cache`.
    """

    runtime: Runtime
    scope: Scope
    send: Send
    request_id: str
    started: float  # loop time
    started_at: float  # POSIX time
    headers: Headers
    caller: Caller
    format: Format
    request: ModelRequest
    decision: Decision
    rules: LimitRules
    budgets: Budgets
    live: Live
    key: IdempotencyKey | None = None
    admission: Admission | None = None
    attempts: list[dict[str, Any]] = msgspec.field(default_factory=list)
    sent: float = 0.0  # loop time at which the present attempt began
    first_byte: float | None = None  # loop time
    dimensions: tuple[Dimension, ...] = ()
    tokens: int = 0
    redaction: Redaction | None = None
    prompt_hash: str | None = None
    said: str | bytes | None = None
    cache: CacheUse | None = None
    hit: Hit | None = None

    @property
    def keeps_answer(self) -> bool:
        """Tell whether what the provider says is kept for debugging, in `said`: text, or the events of a stream."""
        return self.caller.principal.manifest.privacy.debug_log

    def outgoing(self, target: Target) -> ModelRequest:
        """Return the request as this target may see it."""
        redaction = self._redaction_for(target)
        return self.request if redaction is None else redaction.request

    def restorer(self, target: Target) -> Restorer | None:
        """Return what puts values back into one answer of this target, None where it saw them or there are none."""
        redaction = self._redaction_for(target)
        return None if redaction is None else redaction.restorer()

    def _redaction_for(self, target: Target) -> Redaction | None:
        return None if target.mode == LOCAL else self.redaction

    def memo(self, decision: Decision, prompt_tokens: int, output_tokens: int) -> HoldMemo:
        """Return what the sweeper needs to write the event of this call if the process dies.

        `settle` names the same facts again, of the target that served: sharing them costs a microsecond a call.
        """
        principal = self.caller.principal
        target = decision.targets[0]
        price = target.offer.price
        return {
            "app_id": principal.app_id,
            "developer_id": principal.developer_id,
            "end_user_id": principal.end_user_id,
            "feature_key": principal.feature_key,
            "principal_id": principal.id,
            "endpoint": self.format.endpoint,
            "stream": self.request.stream,
            "route_mode": target.mode,
            "provider": target.offer.provider,
            "credential_id": target.credential.id,
            "requested_model": decision.requested,
            "served_model": target.offer.upstream_model,
            "price_version_id": price.version_id if price else None,
            "terms_id": principal.terms.id,
            "infra_nano": settings.INFRA_COST_NANO_USD,
            "payment_bps": settings.PAYMENT_COST_BPS,
            "started_at": self.started_at,
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
        }

    def answer_headers(self, target: Target) -> Headers:
        """Return the headers of an answer served by `target`."""
        headers: Headers = [
            (b"x-request-id", self.request_id.encode()),
            (b"x-modelfaucet-route-mode", target.mode.encode()),
            (b"x-modelfaucet-served-model", target.offer.upstream_model.encode()),
            *self.headers,
        ]
        if not target.offer.white_label_allowed:
            headers.append((b"x-modelfaucet-provider", target.offer.provider.encode()))  # a slug
        if target.degraded:
            headers.append((b"x-modelfaucet-degraded", b"true"))
        if self.request.ignored:
            headers.append((b"x-modelfaucet-ignored", ", ".join(self.request.ignored).encode()))
        if self.admission is not None and self.admission.capped:
            headers.append((b"x-modelfaucet-output-cap", str(self.admission.output_cap).encode()))
        return headers

    def record_attempt(self, target: Target, code: str, status: int) -> None:
        """Note a target that failed."""
        self.attempts.append(
            {
                "provider": target.offer.provider,
                "credential_id": target.credential.id,
                "model": target.offer.upstream_model,
                "code": code,
                "status": status,
                "ms": self._since(self.runtime.loop.time()),
            }
        )

    def price(self, target: Target, verdict: Verdict) -> Charge:
        """Return the split of this call: what the client is told, and what settling and rating will say."""
        return rate(
            verdict.tokens,
            target.offer.price,
            self.caller.principal.terms,
            mode=target.mode,
            overheads=_overheads(),
            charged=verdict.charged,
            cache_price_bps=self._cache_price_bps,
        )

    @property
    def _cache_price_bps(self) -> int | None:
        return None if self.hit is None else self.caller.principal.manifest.cache.hit_price_bps

    async def settle(
        self,
        target: Target,
        verdict: Verdict,
        charge: Charge,
        *,
        status: int,
        finish_reason: str | None = None,
        error_code: str | None = None,
        answer: Kept | None = None,
    ) -> None:
        """Store the usage event durably.

        `answer` is kept for the Idempotency-Key; without one, the key of a call that is charged says so and the key
        of a call that is free may be used again. Raises Unavailable when the event could not be stored in time, or
        when the sweeper has taken this call for dead; the caller then must not complete the answer.
        """
        principal = self.caller.principal
        price = target.offer.price
        # What comes from the cache was not made again.
        self.tokens = verdict.tokens.prompt + verdict.tokens.output if self.hit is None else 0
        decision = self.decision
        redaction = self._redaction_for(target)
        overheads = _overheads()
        loop_now = self.runtime.loop.time()
        duration = self._since(loop_now)
        admission = self.admission
        record = UsageRecord(
            request_id=self.request_id,
            app_id=principal.app_id,
            developer_id=principal.developer_id,
            end_user_id=principal.end_user_id,
            feature_key=principal.feature_key,
            principal_id=principal.id,
            account_id=self.caller.account_id,
            endpoint=self.format.endpoint,
            stream=self.request.stream,
            route_mode=target.mode,
            provider=target.offer.provider,
            credential_id=target.credential.id if self.hit is None else "",
            requested_model=self.decision.requested,
            served_model=target.offer.upstream_model,
            outcome=verdict.outcome.value,
            charged=verdict.charged,
            finish_reason=_storable(finish_reason),
            error_code=error_code,
            status=status,
            input_tokens=verdict.tokens.input,
            cache_read_tokens=verdict.tokens.cache_read,
            cache_write_tokens=verdict.tokens.cache_write,
            output_tokens=verdict.tokens.output,
            reasoning_tokens=verdict.tokens.reasoning,
            estimated=verdict.estimated,
            output_cap=admission.output_cap if admission and admission.shortened else None,
            price_version_id=price.version_id if price else None,
            terms_id=principal.terms.id,
            infra_nano=overheads.infra,
            payment_bps=overheads.payment_bps,
            price_nano=charge.price,
            cost_nano=charge.cost,
            attempts=self.attempts,
            started_at=self.started_at,
            first_byte_ms=self._since(self.first_byte) if self.first_byte is not None else None,
            duration_ms=duration,
            effective_at=self.started_at + duration / 1000,
            provider_bill_nano=charge.provider_bill,
            policy=decision.policy,
            task_class=decision.task_class,
            routing=decision.note(),
            degraded=target.degraded,
            cache=None if self.hit is None else self.hit.kind.value,
            cache_price_bps=self._cache_price_bps,
            redactions=0 if redaction is None else redaction.count,
            prompt_hash=self.prompt_hash,
            manifest_id=principal.manifest_id,
        )
        if answer is None and verdict.charged:
            answer = Kept([], None)
        replayable = self._seal(status, answer) if answer is not None and self.key is not None else None
        try:
            outcome = await self.runtime.settlements.submit(Settlement(record, replayable))
        except Unavailable as error:
            # Its acknowledgement may be what was lost: then it is charged, and a repeat with its key is answered.
            raise Unavailable(
                "The usage of this call could not be confirmed as stored; it is charged only if it was.",
                code="settlement_unknown",
                retry_after=error.retry_after,
            ) from error
        if outcome == ABANDONED:
            raise Unavailable(
                "This request was given up before its answer was complete; nothing was charged.",
                code="request_abandoned",
                retry_after=1,
            )
        if answer is None:
            await self.release_key()
        privacy = principal.manifest.privacy
        if privacy.redacted_prompt or privacy.debug_log:
            said = self.said if privacy.debug_log else None
            self.runtime.prompt_logs.submit(Said(self.request_id, principal, self.request, redaction, said))

    async def settle_unserved(self, target: Target, *, status: int, error_code: str) -> None:
        """Store the event of a call that no provider answered, which gives its hold back."""
        verdict = Verdict(Outcome.NOT_SERVED, False, Tokens(), False)
        await self.settle(target, verdict, self.price(target, verdict), status=status, error_code=error_code)

    async def release_key(self) -> None:
        """Free the Idempotency-Key of a call that cost nothing; a stored outcome is left alone."""
        if self.key is not None:
            await self.runtime.release_key(self.request_id)

    def _seal(self, status: int, answer: Kept) -> Replayable:
        assert self.key is not None
        body = answer.body
        kept = "" if body is None or len(body) > MAX_KEPT_BYTES else seal(self.key, self.request_id, body).decode()
        names = (b"content-type", b"x-request-id")
        texts = {
            name.decode(): value.decode()
            for name, value in answer.headers
            if name in names or name.startswith(b"x-modelfaucet-")
        }
        return Replayable(request_id=self.request_id, status=status, headers=texts, body=kept)

    def _since(self, loop_time: float) -> int:
        return max(int((loop_time - self.started) * 1000), 0)


def _overheads() -> Overheads:
    return Overheads(settings.INFRA_COST_NANO_USD, settings.PAYMENT_COST_BPS)


def _storable(finish_reason: str | None) -> str | None:
    """Return a provider's word as a column takes it: PostgreSQL refuses NUL, and the text is short."""
    return finish_reason if finish_reason is None else finish_reason.replace("\0", "")[:32]


def price_note(call: Call, charge: Charge, verdict: Verdict) -> dict[str, object]:
    """Return what the end of a stream tells about money; JSON answers carry it as headers."""
    return {
        "request_id": call.request_id,
        "price_usd": usd(charge.price),
        "estimated": verdict.estimated,
        "outcome": verdict.outcome.value,
    }
