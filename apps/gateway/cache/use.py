"""What the cache is to one call: where it looks, what it found, what it keeps."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

import psycopg
from django.conf import settings

from apps.features.manifest import HASHED_NGRAMS, Cache
from apps.gateway.cache.entries import PRIVATE_MODES, Entry, decode, entry_of
from apps.gateway.cache.keys import Likeness, answer_key, is_small, likeness
from apps.gateway.cache.process import AnswerCache
from apps.gateway.cache.similar import find_vectors, keep_vector
from apps.gateway.cache.streams import Collector
from apps.gateway.cache.vectors import Vector, hashed_ngrams, nearest
from apps.gateway.http import Scope
from apps.gateway.outcomes import Verdict
from apps.gateway.privacy.detect import detect, may_hold
from apps.gateway.routing import Target
from apps.usage.models import CacheHit

if TYPE_CHECKING:  # a call knows its use of the cache
    from apps.gateway.call import Call

logger = logging.getLogger(__name__)

HEADER = b"x-modelfaucet-cache"
# Seconds for which a call waits for another one that asks the same just now.
FLIGHT_PATIENCE = 5.0
# Answers that are looked up for a prompt that is like several; those that have gone meanwhile are passed over.
_MOST_LOOKED_UP = 3
# A longer stream, in bytes of events, is put together beside the event loop.
_INLINE = 100_000
_OFF = (b"off", b"false", b"0")

Embed = Callable[[str, str], Awaitable[Vector | None]]


@dataclass(frozen=True, slots=True)
class Hit:
    """A kept answer that a call may have, and the target of the call that stands for what made it."""

    kind: CacheHit
    entry: Entry
    target: Target


@dataclass(slots=True)
class CacheUse:
    """One call's use of the cache. `look`: it may be answered from it."""

    cache: AnswerCache
    policy: Cache
    key: str
    look: bool
    likeness: Likeness | None = None
    vector: Vector | None = None
    _flight: asyncio.Event | None = field(default=None, repr=False)

    async def find(self, call: "Call", embed: Embed) -> Hit | None:
        """Return the answer that this call gets, None where a provider is to be asked."""
        if not self.look:
            return None
        if self.policy.exact:
            hit = await self._equal(call) or await self._equal_in_flight(call)
            if hit is not None:
                return hit
        return await self._alike(call, embed) if self.policy.semantic else None

    def done(self) -> None:
        """Let those go on who wait for what this call was asking."""
        if self._flight is not None:
            self._flight.set()
            if self.cache.flights.get(self.key) is self._flight:
                del self.cache.flights[self.key]

    async def keep(
        self, call: "Call", target: Target, verdict: Verdict, body: bytes, finish_reason: str | None
    ) -> None:
        """Keep a canonical answer that was settled, if it is fit for others."""
        shortened = call.admission is not None and call.admission.shortened
        entry = entry_of(body, target, verdict, finish_reason, shortened=shortened)
        if entry is None:
            return
        app_id, ttl = call.caller.principal.app_id, self.policy.ttl_seconds
        await self.cache.store.put(app_id, self.key, entry.encode(), ttl=ttl)
        if self.vector is not None and self.likeness is not None:
            call.runtime.spawn(self._keep_vector(call))

    async def keep_stream(
        self, call: "Call", target: Target, verdict: Verdict, collector: Collector, finish_reason: str | None
    ) -> None:
        """Keep a stream that was settled, as the JSON that it tells."""
        usage = None if verdict.estimated else verdict.tokens
        inline = collector.size <= _INLINE
        body = collector.answer(usage) if inline else await asyncio.to_thread(collector.answer, usage)
        if body is not None:
            await self.keep(call, target, verdict, body, finish_reason)

    async def _get(self, call: "Call", key: str, kind: CacheHit) -> Hit | None:
        stored = await self.cache.store.get(call.caller.principal.app_id, key)
        entry = decode(stored) if stored is not None else None
        target = entry.target_among(call.decision.targets) if entry is not None else None
        return Hit(kind, entry, target) if entry is not None and target is not None else None

    async def _equal(self, call: "Call") -> Hit | None:
        return await self._get(call, self.key, CacheHit.EXACT)

    async def _equal_in_flight(self, call: "Call") -> Hit | None:
        """Wait for a call that asks the same just now; where there is none, be the one that others wait for.

        A stream does not wait: its first word may come sooner than the other's last one.
        """
        flights = self.cache.flights
        flight = flights.get(self.key)
        if flight is None:
            self._flight = flights[self.key] = asyncio.Event()
            return None
        if call.request.stream:
            return None
        try:
            async with asyncio.timeout(FLIGHT_PATIENCE):
                await flight.wait()
        except TimeoutError:
            return None
        return await self._equal(call)

    async def _alike(self, call: "Call", embed: Embed) -> Hit | None:
        principal = call.caller.principal
        model = self.policy.embedding_model or settings.CACHE_EMBEDDING_MODEL
        found = likeness(call.request, principal, call.decision, model=model)
        # Who asks about a person by name, number or address gets no answer that was made for somebody else.
        if found is None or (may_hold(found.text) and detect(found.text)):
            return None
        if "numpy" not in sys.modules:
            await asyncio.to_thread(import_module, "numpy")  # a tenth of a second, once
        vector = hashed_ngrams(found.text) if model == HASHED_NGRAMS else await embed(model, found.text)
        if vector is None:
            return None
        self.likeness, self.vector = found, vector
        try:
            stored = await find_vectors(call.runtime, principal, found, model=model)
        except (psycopg.Error, OSError) as error:
            logger.warning("similar prompts out of reach", extra={"error": type(error).__name__})
            return None
        for key in nearest(vector, stored, threshold=self.policy.threshold)[:_MOST_LOOKED_UP]:
            hit = await self._get(call, key, CacheHit.SEMANTIC)
            if hit is not None:
                return hit
        return None

    async def _keep_vector(self, call: "Call") -> None:
        assert self.vector is not None and self.likeness is not None
        try:
            await keep_vector(
                call.runtime,
                call.caller.principal,
                self.likeness,
                model=self.policy.embedding_model or settings.CACHE_EMBEDDING_MODEL,
                vector=self.vector.astype("<f4").tobytes(),
                answer_key=self.key,
                ttl=self.policy.ttl_seconds,
            )
        except (psycopg.Error, OSError) as error:
            logger.warning("prompt not kept for comparison", extra={"error": type(error).__name__})


def use_of(call: "Call") -> CacheUse | None:
    """Return a call's use of the cache, None where it has none: the manifest, the request or its route is against it.

    A request in which something was redacted has none: neither may its placeholders meet another's, nor its values.
    """
    policy = call.caller.principal.manifest.cache
    if not policy.on:
        return None
    stores, look = _wish(call.scope)
    if not stores or (call.redaction is not None and call.redaction.count):
        return None
    # What the payer's own key or machine would answer is not looked for elsewhere.
    if call.decision.targets[0].mode in PRIVATE_MODES or not is_small(call.request):
        return None
    key = answer_key(call.request, call.caller.principal, call.decision)
    return CacheUse(call.runtime.answers, policy, key, look) if key is not None else None


def _wish(scope: Scope) -> tuple[bool, bool]:
    """Return whether a request lets its answer be kept, and whether it may be answered with a kept one."""
    stores = look = True
    for name, value in scope["headers"]:
        if name == HEADER and value.strip().lower() in _OFF:
            return False, False
        if name == b"cache-control":
            directives = {part.strip().lower() for part in value.split(b",")}
            stores = stores and b"no-store" not in directives
            look = look and b"no-cache" not in directives
    return stores, look and stores
