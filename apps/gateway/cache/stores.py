"""Where answers are kept: in this process, or in Redis for all processes. What goes wrong here is a miss."""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import hiredis
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.core.hashing import keyed_hash
from apps.core.redis_pipeline import RedisLost, RedisPipeline, pack

logger = logging.getLogger(__name__)

PREFIX = "mf:{answers}"
# Seconds for an answer of Redis; a provider takes longer, so waiting for the cache is not worth more.
TIMEOUT = 0.5
# Seconds between two alarms.
ALARM_EVERY = 30.0
# Bytes of answers in the memory of one process.
MEMORY_BYTES = 64_000_000
_NONCE = 12
_SCAN = 500


class AnswerStore(Protocol):
    """Keeps bytes by app and key for some seconds. Nothing here raises: what cannot be had is not there."""

    async def open(self) -> None:
        """Connect; does not fail when there is nothing to connect to yet."""

    async def close(self) -> None:
        """Hang up."""

    async def get(self, app_id: str, key: str) -> bytes | None:
        """Return what was put there and is not too old."""

    async def put(self, app_id: str, key: str, value: bytes, *, ttl: float) -> None:
        """Keep `value` for `ttl` seconds, in place of what was there."""

    async def clear(self, app_id: str) -> int:
        """Forget all of an app's, and return how much that was."""

    def forget_local(self) -> None:
        """Forget what only this process knows: the policy has changed, or an operator has cleared the cache."""


class MemoryAnswers:
    """Answers in the memory of the only process; the least recently used are forgotten first.

    `clock` is in seconds and never goes back; `most` is in bytes.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most: int = MEMORY_BYTES) -> None:
        self._clock = clock
        self._most = most
        self._size = 0
        self._kept: OrderedDict[tuple[str, str], tuple[float, bytes]] = OrderedDict()

    async def open(self) -> None:
        return

    async def close(self) -> None:
        self.forget_local()

    async def get(self, app_id: str, key: str) -> bytes | None:
        found = self._kept.get((app_id, key))
        if found is None:
            return None
        expires, value = found
        if expires <= self._clock():
            self._drop((app_id, key))
            return None
        self._kept.move_to_end((app_id, key))
        return value

    async def put(self, app_id: str, key: str, value: bytes, *, ttl: float) -> None:
        self._drop((app_id, key))
        self._kept[app_id, key] = self._clock() + ttl, value
        self._size += len(value)
        while self._size > self._most:
            self._drop(next(iter(self._kept)))

    async def clear(self, app_id: str) -> int:
        keys = [key for key in self._kept if key[0] == app_id]
        for key in keys:
            self._drop(key)
        return len(keys)

    def forget_local(self) -> None:
        self._kept.clear()
        self._size = 0

    def _drop(self, key: tuple[str, str]) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._size -= len(found[1])


class RedisAnswers:
    """Answers in Redis, encrypted: who reads Redis learns neither what was answered nor to whose app."""

    def __init__(self, url: str, *, prefix: str = PREFIX, timeout: float = TIMEOUT) -> None:
        # A connection of its own, so that large values delay no limits.
        self._pipeline = RedisPipeline(url, timeout=timeout)
        self._prefix = prefix
        self._box = AESGCM(bytes.fromhex(keyed_hash("cached answers", "box")))
        self._alarm_after = 0.0

    async def open(self) -> None:
        await self._pipeline.open()

    async def close(self) -> None:
        await self._pipeline.close()

    async def get(self, app_id: str, key: str) -> bytes | None:
        name = self._name(app_id, key)
        sealed = await self._ask(pack(b"GET", name))
        if not isinstance(sealed, bytes):
            return None
        try:
            return self._box.decrypt(sealed[:_NONCE], sealed[_NONCE:], name)
        except (InvalidTag, ValueError):
            self._alarm("an answer was altered, or TOKEN_PEPPER has changed")
            return None

    async def put(self, app_id: str, key: str, value: bytes, *, ttl: float) -> None:
        name, nonce = self._name(app_id, key), secrets.token_bytes(_NONCE)
        sealed = nonce + self._box.encrypt(nonce, value, name)
        # Not waited for: a question that follows is asked over the same connection.
        self._pipeline.send(pack(b"SET", name, sealed, b"PX", max(round(ttl * 1000), 1)), self._note)

    async def clear(self, app_id: str) -> int:
        count, cursor = 0, b"0"
        while True:
            pattern = self._name(app_id, "").replace(b"{", b"[{]").replace(b"}", b"[}]") + b"*"
            page = await self._ask(pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCAN))
            if not isinstance(page, list):
                return count
            cursor, names = page
            if names:
                dropped = await self._ask(pack(b"UNLINK", *names))
                count += dropped if isinstance(dropped, int) else 0
            if cursor == b"0":
                return count

    def forget_local(self) -> None:
        return

    def _name(self, app_id: str, key: str) -> bytes:
        return f"{self._prefix}:{keyed_hash('cached app', app_id)[:32]}:{key}".encode()

    def _ask(self, command: bytes) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(reply: Any) -> None:
            self._note(reply)
            if not future.done():
                future.set_result(reply)

        self._pipeline.send(command, answered)
        return future

    def _note(self, reply: Any) -> None:
        if isinstance(reply, RedisLost | hiredis.ReplyError):
            self._alarm(str(reply)[:200])

    def _alarm(self, problem: str) -> None:
        now = time.monotonic()
        if now >= self._alarm_after:
            self._alarm_after = now + ALARM_EVERY
            logger.warning("answers are not cached", extra={"error": problem})


def open_answers(redis_url: str | None) -> AnswerStore:
    """Return the store that `redis_url` names, or one in this process where there is none; `open` it before use."""
    return RedisAnswers(redis_url) if redis_url else MemoryAnswers()
