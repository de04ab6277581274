"""What a call has used, read from the answer as it passes. Pure: no input, no output, nothing kept of the text."""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from modelfaucet_bridge.money import Tokens

_EVENT_END = re.compile(rb"\r?\n\r?\n")
_BYTES_PER_TOKEN = 3.5  # between English prose (about four) and Chinese (about three), a little on the dear side
EVENT_LIMIT = 8_000_000


def read_usage(usage: Any) -> Tokens | None:
    """Read the member `usage` of a chat completion, of embeddings or of a response; None where there is none."""
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    if prompt is None:
        return None
    output = _count(usage, "completion_tokens", "output_tokens")
    if output is None:
        output = max(0, (_count(usage, "total_tokens") or prompt) - prompt)
    read = _details(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    if read is None:
        read = _count(usage, "prompt_cache_hit_tokens") or 0
    reasoning = _details(usage, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens") or 0
    return Tokens(prompt, output, cache_read=min(read, prompt), reasoning=min(reasoning, output))


def _count(usage: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _details(usage: dict[str, Any], groups: Iterable[str], name: str) -> int | None:
    for group in groups:
        details = usage.get(group)
        if isinstance(details, dict) and (found := _count(details, name)) is not None:
            return found
    return None


def estimate(size: int) -> int:
    """Return about how many tokens a text of this many bytes is."""
    return math.ceil(size / _BYTES_PER_TOKEN)


def text_size(value: Any) -> int:
    """Return how many bytes of text a request's messages, input or tools hold; a picture counts as a short text."""
    if isinstance(value, str):
        return 3_000 if value.startswith("data:") else len(value.encode("utf-8", "replace"))
    if isinstance(value, dict):
        return sum(text_size(item) for item in value.values())
    if isinstance(value, list):
        return sum(text_size(item) for item in value)
    return 1


def request_tokens(body: dict[str, Any]) -> int:
    """Estimate the tokens of a request's input."""
    return estimate(
        sum(text_size(body[name]) for name in ("messages", "input", "instructions", "tools") if name in body)
    )


class BodyMeter:
    """Reads the usage of an answer that comes as one JSON document."""

    streams = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def feed(self, data: bytes) -> bytes:
        self._parts.append(data)
        self.size += len(data)
        return data

    def finish(self) -> bytes:
        return b""

    def tokens(self) -> Tokens | None:
        try:
            content = json.loads(b"".join(self._parts))
        except ValueError:
            return None
        return read_usage(content.get("usage")) if isinstance(content, dict) else None

    def output_estimate(self) -> int:
        return estimate(self.size)

    def error_code(self) -> str | None:
        try:
            content = json.loads(b"".join(self._parts))
        except ValueError:
            return None
        error = content.get("error") if isinstance(content, dict) else None
        code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
        return code if isinstance(code, str) else None


class StreamMeter:
    """Reads the usage of a stream of server-sent events, and lets whole events through.

    Where the bridge itself has asked for usage, the last chunk, which holds nothing else, is kept from the client.
    """

    streams = True

    def __init__(self, *, hide_usage: bool) -> None:
        self._hide = hide_usage
        self._rest = b""
        self._tokens: Tokens | None = None
        self._text = 0
        self.failed: str | None = None
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Take what came and return what goes on."""
        self._rest += data
        out, start = [], 0
        for match in _EVENT_END.finditer(self._rest):
            event = self._rest[start : match.end()]
            start = match.end()
            if self._read(event):
                out.append(event)
        self._rest = self._rest[start:]
        if len(self._rest) > EVENT_LIMIT:
            out.append(self._rest)
            self._rest = b""
        return b"".join(out)

    def finish(self) -> bytes:
        """Return what is left of a stream that ended without an empty line."""
        rest, self._rest = self._rest, b""
        return rest if rest and self._read(rest) else b""

    def tokens(self) -> Tokens | None:
        return self._tokens

    def output_estimate(self) -> int:
        return estimate(self._text)

    def error_code(self) -> str | None:
        return self.failed

    def _read(self, event: bytes) -> bool:
        """Read one event; tell whether the client is to have it."""
        lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
        payload = b"\n".join(lines)
        if payload == b"[DONE]":
            self.complete = True
            return True
        try:
            chunk = json.loads(payload) if payload else None
        except ValueError:
            return True
        if not isinstance(chunk, dict):
            return True
        response = chunk.get("response")
        if isinstance(response, dict):  # the Responses API: usage is in the event that ends it
            self._tokens = read_usage(response.get("usage")) or self._tokens
            self.complete = self.complete or chunk.get("type") in ("response.completed", "response.incomplete")
        if isinstance(chunk.get("error"), dict):
            code = chunk["error"].get("code") or chunk["error"].get("type")
            self.failed = code if isinstance(code, str) else "channel_error"
        self._text += _text_of(chunk)
        found = read_usage(chunk.get("usage"))
        self._tokens = found or self._tokens
        return not (self._hide and found is not None and chunk.get("choices") == [])


def _text_of(chunk: dict[str, Any]) -> int:
    choices = chunk.get("choices")
    size = 0
    for choice in choices if isinstance(choices, list) else []:
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict):
            size += sum(text_size(delta.get(name, "")) for name in ("content", "reasoning_content", "tool_calls"))
    delta = chunk.get("delta")
    return size + (len(delta.encode("utf-8", "replace")) if isinstance(delta, str) else 0)
