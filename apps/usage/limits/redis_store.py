"""The limit store of many processes: one script in Redis for all dimensions of a call.

All keys have one hash tag, so that a cluster keeps them on one node; the store talks to one server.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import hiredis

from apps.core.hashing import keyed_hash
from apps.core.redis_pipeline import RedisLost, RedisPipeline, pack
from apps.usage.limits.memory import SLOTS, WINDOW
from apps.usage.limits.rules import Dimension
from apps.usage.limits.verdicts import CONCURRENCY, PASSED, RPM, TPM, Refused, Standing, Verdict

logger = logging.getLogger(__name__)

PREFIX = "mf:{limits}"
# Seconds for an answer, after which calls pass uncounted.
TIMEOUT = 0.25
# Seconds between two alarms.
ALARM_EVERY = 5.0
# Places extended by one call of the script, which nothing else in Redis runs beside.
RENEW_BATCH = 500
_KINDS = ("", RPM, TPM, CONCURRENCY)


# Callers whose commands are kept; one takes about 2 kB where all dimensions have all kinds of limits.
MAX_CALLERS = 8192


class _Script:
    """A script by its digest; Redis gets its text on each new connection."""

    __slots__ = ("digest", "load")

    def __init__(self, name: str) -> None:
        here = Path(__file__).parent
        text = (here / "window.lua").read_bytes() + b"\n" + (here / name).read_bytes()
        self.digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        self.load = pack(b"SCRIPT", b"LOAD", text)

    def call(self, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
        return pack(b"EVALSHA", self.digest, len(keys), *keys, *arguments)

    def begin(self, keys: Sequence[bytes], arguments: Sequence[bytes], *, more: int) -> bytes:
        """Return a call but for its last `more` arguments, which differ from one to the next: see `_word`."""
        return self.call(keys, [*arguments, *[b""] * more])[: -len(_word(b"")) * more]


class _Commands(NamedTuple):
    """What is sent for a set of dimensions; an empty command is not sent."""

    admit: bytes
    finish: bytes
    finish_without_tokens: bytes
    places: tuple[bytes, ...]


class RedisLimits:
    """Counts in Redis, for all processes that share it. `lease` and `window` are in seconds."""

    def __init__(
        self, url: str, *, lease: float, window: float = WINDOW, prefix: str = PREFIX, timeout: float = TIMEOUT
    ) -> None:
        self._admit, self._finish, self._renew = (_Script(f"{name}.lua") for name in ("admit", "finish", "renew"))
        scripts = (self._admit, self._finish, self._renew)
        self._greeting = [script.load for script in scripts]
        self._pipeline = RedisPipeline(url, timeout=timeout, greeting=self._greeting)
        self._commands = lru_cache(maxsize=MAX_CALLERS)(self._make_commands)
        self._prefix = prefix
        self._slot_ms = b"%d" % round(window * 1000 / SLOTS)
        self._lease_ms = b"%d" % round(lease * 1000)
        # The places that requests of this process have, for their renewal.
        self._held: dict[str, set[bytes]] = {}
        self._failing = False  # Redis answers, with errors
        self._told = False
        self._alarm_after = 0.0
        self.uncounted = 0

    @property
    def degraded(self) -> bool:
        """Tell whether calls pass uncounted at present."""
        return self._failing or not self._pipeline.connected

    async def open(self) -> None:
        """Connect; what is out of reach is tried for in the background."""
        await self._pipeline.open()
        if not self._pipeline.connected:
            self._note(RedisLost("not connected"))

    async def close(self) -> None:
        """Send what is queued and hang up."""
        await self._pipeline.close()

    async def admit(self, request_id: str, dimensions: Sequence[Dimension]) -> Verdict:
        """Count one request in all dimensions, or in none; passes it uncounted when Redis does not answer."""
        if not dimensions:
            return PASSED
        commands = self._commands(tuple(dimensions))
        command = commands.admit + _word(request_id.encode())
        try:
            reply = await self._ask(command)
            if _is_unknown_script(reply):
                self._load_scripts()
                reply = await self._ask(command)
        except asyncio.CancelledError:
            # Whether it was counted is not known; the client has gone, and its places are free again either way.
            self.finish(request_id, dimensions, 0)
            raise
        if isinstance(reply, Exception):
            self.uncounted += 1
            verdict = PASSED
        else:
            verdict = _verdict(dimensions, reply)
        self._note(reply)
        # It may have been counted although its answer was lost, or be counted by the renewal once Redis is back.
        if commands.places and verdict.refused is None:
            self._held.setdefault(request_id, set()).update(commands.places)
        return verdict

    def finish(self, request_id: str, dimensions: Sequence[Dimension], tokens: int) -> None:
        """Give back the request's places and add its tokens."""
        if not dimensions:
            return
        commands = self._commands(tuple(dimensions))
        if commands.places and (held := self._held.get(request_id)) is not None:
            held.difference_update(commands.places)
            if not held:
                del self._held[request_id]
        begun = commands.finish if tokens > 0 else commands.finish_without_tokens
        if begun:
            self._tell(begun + _word(request_id.encode()) + _word(b"%d" % tokens))

    def renew(self, request_ids: Iterable[str]) -> None:
        """Extend the leases of requests that are still running."""
        pairs = [(key, request_id.encode()) for request_id in request_ids for key in self._held.get(request_id, ())]
        for start in range(0, len(pairs), RENEW_BATCH):
            batch = pairs[start : start + RENEW_BATCH]
            requests = [request for _, request in batch]
            keys = [key for key, _ in batch]
            self._tell(self._renew.call(keys, [self._slot_ms, self._lease_ms, *requests]))

    def _make_commands(self, dimensions: tuple[Dimension, ...]) -> _Commands:
        keys, limits, counting, places = [], [], [], []
        for scope, scope_id, rpm, tpm, concurrency in dimensions:
            # Whom a key stands for cannot be read from Redis, addresses of people included.
            name = keyed_hash("limit", f"{scope}\0{scope_id}")[:32]
            window, place = f"{self._prefix}:w:{name}".encode(), f"{self._prefix}:p:{name}".encode()
            if rpm or tpm:
                keys.append(window)
            if tpm:
                counting.append(window)
            if concurrency:
                keys.append(place)
                places.append(place)
            limits += [b"%d" % (limit or 0) for limit in (rpm, tpm, concurrency)]
        return _Commands(
            self._admit.begin(keys, [self._slot_ms, self._lease_ms, *limits], more=1),
            self._begin_finish(counting, places),
            self._begin_finish([], places),
            tuple(places),
        )

    def _begin_finish(self, windows: list[bytes], places: list[bytes]) -> bytes:
        if not windows and not places:
            return b""
        return self._finish.begin(windows + places, [self._slot_ms, b"%d" % len(windows)], more=2)

    def _ask(self, command: bytes) -> "asyncio.Future[Any]":
        """Send a command; the future's result is the reply, an exception where it is an error."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(reply: Any) -> None:
            if not future.done():
                future.set_result(reply)

        self._pipeline.send(command, answered)
        return future

    def _tell(self, command: bytes) -> None:
        """Send a command and wait for nothing."""

        def answered(reply: Any) -> None:
            if _is_unknown_script(reply):
                self._load_scripts()
                self._pipeline.send(command, self._note)
            else:
                self._note(reply)

        self._pipeline.send(command, answered)

    def _load_scripts(self) -> None:
        """Give the scripts to a server that has lost them; what is sent after this finds them."""
        for load in self._greeting:
            self._pipeline.send(load, self._note)

    def _note(self, reply: Any) -> None:
        """Raise the alarm for an error, once in a while, and end it with the first answer after it."""
        if not isinstance(reply, Exception):
            self._failing = False
            if self._told:
                self._told = False
                logger.warning("limits count again", extra={"uncounted": self.uncounted})
            return
        self._failing = not isinstance(reply, RedisLost)
        now = asyncio.get_running_loop().time()
        if now >= self._alarm_after:
            self._alarm_after = now + ALARM_EVERY
            self._told = True
            extra = {"error": str(reply)[:200], "uncounted": self.uncounted}
            logger.error("limits out of reach: calls pass uncounted", extra=extra)


def _word(word: bytes) -> bytes:
    """Return an argument as it stands in a packed command."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _is_unknown_script(reply: Any) -> bool:
    return type(reply) is hiredis.ReplyError and str(reply).startswith("NOSCRIPT")


def _verdict(dimensions: Sequence[Dimension], reply: list[int]) -> Verdict:
    by, kind, wait, requests_by, requests, requests_reset, tokens_by, tokens, tokens_reset = reply
    return Verdict(
        Refused(dimensions[by - 1], _KINDS[kind], wait / 1000) if by else None,
        _standing(dimensions[requests_by - 1].rpm, requests, requests_reset) if requests_by else None,
        _standing(dimensions[tokens_by - 1].tpm, tokens, tokens_reset) if tokens_by else None,
    )


def _standing(limit: int | None, remaining: int, reset: int) -> Standing:
    assert limit is not None
    return Standing(limit, remaining, reset / 1000)
