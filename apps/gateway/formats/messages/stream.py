"""Canonical events as Anthropic's: a message of numbered content blocks, one after the other."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.core.errors import FaucetError
from apps.gateway.formats.events import (
    first_choice,
    function_of,
    objects_of,
    own_id,
    read_chunks,
    reasoning_of,
    signature_of,
    text_or,
    texts_of,
    write_event,
    write_note,
)
from apps.gateway.formats.messages.answer import head, stop_of, tool_use, usage_of
from apps.gateway.formats.messages.errors import envelope
from apps.gateway.metering import BrokenAnswer
from apps.usage.rate import Tokens

_encode = msgspec.json.Encoder().encode
# Calls that wait for the one before them, in bytes: a provider that interleaves calls does so in small pieces.
MAX_WAITING = 8_000_000
MAX_CALLS = 1_000
# Arguments up to this length are parsed to see whether a call is over, while others wait.
_MAX_LOOK = 65_536


class _Call:
    """A tool call: what is known of it, and its arguments, sent or waiting."""

    __slots__ = ("arguments", "identity", "name", "sent", "signature", "size")

    def __init__(self) -> None:
        self.identity = self.name = self.signature = ""
        self.arguments: list[str] = []
        self.sent = self.size = 0

    @property
    def whole(self) -> bool:
        """Tell whether the arguments are a JSON value that nothing can be added to."""
        if not self.arguments or self.size > _MAX_LOOK or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode("".join(self.arguments), type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError):
            return False
        return True


class MessagesEncoder:
    """One streamed answer. Text goes out as it comes; only a call that begins before another is over has to wait."""

    def __init__(self, client: Mapping[str, Any], request_id: str) -> None:
        self._client = client
        self._request_id = request_id
        self._out: list[bytes] = []
        self._started = False
        self._index = -1  # of the open block, or of the last one
        self._open = ""  # type of the open block
        self._by_content = False  # the open thinking came as plain text, so blocks only repeat it
        self._calls: dict[int, _Call] = {}
        self._running: list[int] = []  # calls that are not over; the first one is the open block
        self._waiting = 0
        self._choice: dict[str, Any] = {}
        self._refused = False

    def feed(self, events: bytes) -> bytes:
        for chunk in read_chunks(events):
            if chunk is None:
                if self._started:
                    self._out.append(write_event("ping", {}))
                continue
            self._start(chunk)
            choice = first_choice(chunk)
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._delta(delta)
            if isinstance(choice.get("finish_reason"), str):
                self._choice = {name: choice.get(name) for name in ("finish_reason", "stop_reason")}
        return self._take()

    def finish(self, note: Mapping[str, object], *, usage: Tokens) -> bytes:
        self._start({})
        self._close()
        reason, sequence = stop_of(self._choice, self._client["stop"], calls=bool(self._calls), refused=self._refused)
        self._emit("message_delta", delta={"stop_reason": reason, "stop_sequence": sequence}, usage=usage_of(usage))
        self._out.append(write_note(note))
        self._emit("message_stop")
        return self._take()

    def fail(self, error: FaucetError) -> bytes:
        self._out.append(b"event: error\ndata: " + _encode(envelope(error, self._request_id)) + b"\n\n")
        return self._take()

    def _take(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _emit(self, kind: str, **data: Any) -> None:
        self._out.append(write_event(kind, data))

    def _start(self, chunk: Mapping[str, Any]) -> None:
        if not self._started:
            self._started = True
            # What is settled is only known at the end, and then said in full.
            self._emit("message_start", message=head(self._request_id, chunk) | {"usage": usage_of(Tokens())})

    def _delta(self, delta: dict[str, Any]) -> None:
        if self._client["thinking"]:
            self._think(delta)
        text = texts_of(delta)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._refused = True
            text += refusal
        if text:
            if self._open != "text":
                self._begin({"type": "text", "text": ""})
            self._piece({"type": "text_delta", "text": text})
        for number, call in enumerate(objects_of(delta, "tool_calls")):
            index = call.get("index", number)
            if isinstance(index, int):
                self._call(index, call)

    def _think(self, delta: dict[str, Any]) -> None:
        if text := reasoning_of(delta):
            self._thought(text)
            self._by_content = True
        for block in objects_of(delta, "thinking_blocks"):
            if block.get("type") == "redacted_thinking":
                self._begin({"type": "redacted_thinking", "data": text_or(block.get("data"), "")})
                self._close()
                continue
            if (text := text_or(block.get("thinking"), "")) and not self._by_content:
                self._thought(text)
            if signature := text_or(block.get("signature"), ""):
                if self._open != "thinking":  # thinking that is not shown is signed all the same
                    self._begin({"type": "thinking", "thinking": "", "signature": ""})
                self._piece({"type": "signature_delta", "signature": signature})
                self._close()

    def _thought(self, text: str) -> None:
        if self._open != "thinking":
            self._begin({"type": "thinking", "thinking": "", "signature": ""})
        self._piece({"type": "thinking_delta", "thinking": text})

    def _call(self, index: int, part: dict[str, Any]) -> None:
        call = self._calls.get(index)
        if call is None:
            if len(self._calls) == MAX_CALLS:
                raise BrokenAnswer("too many tool calls")
            call = self._calls[index] = _Call()
            self._running.append(index)
        name, arguments = function_of(part)
        call.identity = call.identity or text_or(part.get("id"), "")
        call.name = call.name or name
        call.signature = call.signature or signature_of(part)
        if index not in self._running:
            if arguments.strip():
                raise BrokenAnswer("arguments of a call that was over")
            return
        if arguments:
            call.arguments.append(arguments)
            call.size += len(arguments)
        if self._running[0] != index:
            self._waiting += len(arguments)
            if self._waiting > MAX_WAITING:
                raise BrokenAnswer("too much is said of calls that have to wait")
        self._advance(finished=False)

    def _advance(self, *, finished: bool) -> None:
        """Send what is known of the first running call, and of the next ones once it is over."""
        while self._running:
            index = self._running[0]
            call = self._calls[index]
            if self._open != f"call {index}" and (call.name or finished):
                identity = call.identity or own_id("toolu", f"{self._request_id}_{index}")
                self._begin(tool_use(identity, call.name, {}, call.signature), f"call {index}")
            if self._open == f"call {index}":
                for arguments in call.arguments[call.sent :]:
                    self._piece({"type": "input_json_delta", "partial_json": arguments})
                call.sent = len(call.arguments)
            alone = len(self._running) == 1
            if not finished and (alone or not call.whole):
                if alone and call.size > _MAX_LOOK:
                    call.arguments, call.sent = call.arguments[-1:], 1  # too long to be looked at again
                return
            self._end()
            del self._running[0]
            call.arguments, call.sent = [], 0

    def _begin(self, block: dict[str, Any], name: str = "") -> None:
        """Open a block; what was open is over."""
        if not name:
            self._close()
        else:
            self._end()
        self._index += 1
        self._open = name or block["type"]
        self._emit("content_block_start", index=self._index, content_block=block)

    def _piece(self, delta: dict[str, Any]) -> None:
        self._emit("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> None:
        """End the open block, and every call with it."""
        self._advance(finished=True)
        self._end()

    def _end(self) -> None:
        if self._open:
            self._emit("content_block_stop", index=self._index)
            self._open = ""
            self._by_content = False
