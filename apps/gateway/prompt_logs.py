"""Keeping prompts where a manifest asks for it: after the call is settled, beside the event loop, never in its way.

What cannot be kept up with, or written, is dropped and counted: no call waits for its log, and none fails by it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import connection

from apps.core.clock import now
from apps.features.queries import Principal
from apps.gateway.formats.base import ModelRequest
from apps.gateway.metering import text_of_events
from apps.gateway.redaction import Redaction, redactor_of
from apps.usage.models import PromptLogKind
from apps.usage.services.prompt_logs import PromptEntry, write_prompt_logs

logger = logging.getLogger(__name__)

MOST_QUEUED = 500
MOST_BYTES = 32_000_000
BATCH = 20
# Longer texts are cut, in characters.
MOST_TEXT = 200_000
# Of a stream, so many bytes of events are kept for its text.
MOST_EVENTS = 1_000_000
# Seconds that a process which ends waits for what is queued.
CLOSE_PATIENCE = 5.0

_OMITTED = "omitted"
_NULL = msgspec.Raw(b"null")
_decode = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Said:
    """What a call is logged from. `answer` is text, or the events of a stream; None where it is not to be kept."""

    request_id: str
    principal: Principal
    request: ModelRequest
    redaction: Redaction | None
    answer: str | bytes | None

    @property
    def size(self) -> int:
        """Return about how many bytes of memory this holds."""
        return sum(memoryview(raw).nbytes for raw in self.request.members.values()) + len(self.answer or b"")

    def entry(self) -> PromptEntry:
        """Return what is stored: redacted by every detector, without what is no text."""
        principal = self.principal
        privacy = principal.manifest.privacy
        redactor = redactor_of(self.request, privacy, ())
        members = self.request.members
        redacted = redactor.redact_members({name: members[name] for name in ("messages", "input") if name in members})
        prompt = _encode(_texts_only(_decode(redacted.get("messages") or redacted.get("input") or _NULL))).decode()
        answer = text_of_events(self.answer) if isinstance(self.answer, bytes) else self.answer
        if answer is not None:
            if self.redaction is not None and (restorer := self.redaction.restorer()) is not None:
                answer = restorer.restore_text(answer)  # the placeholders of the log are its own
            answer = redactor.redact_text(answer)
        return PromptEntry(
            request_id=self.request_id,
            app_id=principal.app_id,
            developer_id=principal.developer_id,
            feature_key=principal.feature_key,
            kind=(PromptLogKind.DEBUG if privacy.debug_log else PromptLogKind.REDACTED).value,
            prompt=prompt[:MOST_TEXT],
            answer=answer if answer is None else answer[:MOST_TEXT],
            truncated=len(prompt) > MOST_TEXT or len(answer or "") > MOST_TEXT,
            retention_days=privacy.retention_days,
        )


class PromptLogs:
    """A process's queue of prompts to keep. `dropped` counts those that were not."""

    def __init__(self) -> None:
        self.dropped = 0
        self._queue: deque[Said] = deque()
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None

    def submit(self, said: Said) -> None:
        """Queue what is to be kept; drop it where too much is queued already."""
        if len(self._queue) >= MOST_QUEUED or self._bytes + said.size > MOST_BYTES:
            self._drop(1, "queue full")
            return
        self._queue.append(said)
        self._bytes += said.size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="prompt-logs")

    async def close(self) -> None:
        """Write what is queued, for a few seconds."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=CLOSE_PATIENCE)

    async def _write(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            entries: list[PromptEntry] = []
            try:
                for said in batch:
                    try:
                        entries.append(await asyncio.to_thread(said.entry))
                    except Exception as error:
                        # Its message may quote what was to be stored.
                        self._drop(1, type(error).__name__)
                await asyncio.to_thread(_store, entries)
            except Exception as error:
                self._drop(len(entries), type(error).__name__)
            self._bytes -= sum(said.size for said in batch)

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        logger.warning("prompt logs dropped", extra={"count": count, "reason": reason, "dropped": self.dropped})


def _store(entries: Sequence[PromptEntry]) -> None:
    try:
        write_prompt_logs(entries, now=now())
    finally:
        connection.close()  # of this thread


def _texts_only(value: Any) -> Any:
    """Return messages or an input without images, files, audio and tokens."""
    if not isinstance(value, list):
        return value
    return [_message(item) if isinstance(item, dict) else item if isinstance(item, str) else _OMITTED for item in value]


def _message(message: dict[str, Any]) -> dict[str, Any]:
    kept = {name: _OMITTED if name in ("audio", "images") else value for name, value in message.items()}
    if isinstance(content := message.get("content"), list):
        kept["content"] = [part if isinstance(part, str) or _is_text(part) else _OMITTED for part in content]
    return kept


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in (None, "text", "refusal")
