"""What the provider double answers: the ways to behave, and the content of one answer apart from how it is sent."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rs_bpe.bpe import openai as bpe

TEXT = "Hello from the double: 你好，世界。 All is well."
_TOKENS = bpe.o200k_base()
_DIRECTIVE = re.compile(r"\[\[([^\[\]]+)\]\]")


@dataclass(frozen=True)
class Behaviour:
    """One way to answer. The defaults are a well-behaved provider."""

    status: int = 200
    retry_after: str | int | None = None
    text: str = TEXT
    chunks: int = 0  # 0: the text, word by word; else this many numbered words instead
    chunk_bytes: int = 0  # pads each of those words
    interval: float = 0.0  # seconds between chunks; 0 writes them as fast as they go
    delay: float = 0.0  # seconds before the first byte
    usage: str = "exact"  # exact missing zero last-chunk every-chunk unasked split
    prompt_tokens: int | None = None  # what usage says; None: counted
    completion_tokens: int | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    finish_reason: str | None = "stop"
    tool_call: bool = False
    reasoning: str = ""  # thoughts that are told before the text
    model: str | None = None  # the model the answer claims to come from
    line_end: str = "\n"
    comments: bool = False
    split_character: bool = False  # a write that ends within a multi-byte character
    one_byte_writes: bool = False
    fail: str = ""  # close-before reset-before stall-before close-within reset-within stall-within error-event
    # no-done (ends without [DONE]) truncate (content-length too large) html wrong-json garbage (not HTTP)
    connection_close: bool = False
    framing: str = "chunked"  # of streams: chunked or eof
    informational: bool = False  # a 103 before the answer
    raw_usage: Any = None  # reported in place of the usage
    raw: bytes = b""  # the whole body, in place of any answer
    content_type: str = "application/json"  # of `raw`


NAMED: dict[str, dict[str, Any]] = {
    "normal": {},
    "usage-missing": {"usage": "missing"},
    "usage-zero": {"usage": "zero"},
    "usage-split": {"usage": "split"},
    "usage-last-chunk": {"usage": "last-chunk"},
    "usage-every-chunk": {"usage": "every-chunk"},
    "cached": {"prompt_tokens": 1000, "cached_tokens": 600, "completion_tokens": 50, "reasoning_tokens": 20},
    "split-character": {"split_character": True},
    "crlf": {"line_end": "\r\n"},
    "comments": {"comments": True},
    "slow": {"chunks": 10, "interval": 0.05},
    "fast": {"chunks": 100},
    "enormous": {"chunks": 2000, "chunk_bytes": 10_000},
    "empty": {"text": ""},
    "length": {"finish_reason": "length"},
    "content-filter": {"finish_reason": "content_filter"},
    "finish-error": {"finish_reason": "error"},
    "reasoning": {"reasoning": "Let me think about it.", "reasoning_tokens": 7},
    "tool": {"tool_call": True, "finish_reason": "tool_calls"},
    "connection-close": {"connection_close": True},
    "rate-limited": {"status": 429, "retry_after": "7"},
    "html": {"status": 502, "fail": "html"},
    **{f"status-{status}": {"status": status} for status in (400, 401, 403, 404, 422, 429, 500, 502, 503, 529)},
    **{
        fail: {"fail": fail}
        for fail in (
            *("close-before", "reset-before", "stall-before", "close-within", "reset-within", "stall-within"),
            *("error-event", "no-done", "truncate", "wrong-json", "garbage"),
        )
    },
}


def count_tokens(text: str) -> int:
    """Return the tokens that the double counts for a text."""
    return len(_TOKENS.encode(text))


def choose(body: dict[str, Any], default: Behaviour) -> Behaviour:
    """Return the behaviour that a directive in the last user message or the model's name asks for, else `default`."""
    if match := _DIRECTIVE.search(_last_user_text(body)):
        return _read_directive(match[1], default)
    name = str(body.get("model", "")).removeprefix("double-")
    return replace(default, **NAMED.get(name, {}))


def _last_user_text(body: dict[str, Any]) -> str:
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user":
            return _text_of(message.get("content"))
    return ""


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _read_directive(text: str, default: Behaviour) -> Behaviour:
    options: dict[str, Any] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:
            options |= NAMED[key]
            continue
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return replace(default, **options)


class Answer:
    """The content of one answer, apart from how it is sent."""

    def __init__(self, body: dict[str, Any], behaviour: Behaviour) -> None:
        self.body, self.behaviour = body, behaviour
        count = behaviour.chunks
        self.pieces = (
            [f"word{place} ".ljust(behaviour.chunk_bytes, "x") for place in range(count)]
            if count
            else re.findall(r"\S+\s*", behaviour.text)
        )
        if behaviour.tool_call:
            self.pieces = []
        self.text = "".join(self.pieces)
        self.choices = int(body.get("n") or 1)
        self.asked = bool((body.get("stream_options") or {}).get("include_usage"))
        self.usage = self._usage()
        self.reported = self.usage if behaviour.raw_usage is None else behaviour.raw_usage

    def _usage(self) -> dict[str, Any]:
        behaviour = self.behaviour
        prompt, completion = behaviour.prompt_tokens, behaviour.completion_tokens
        if prompt is None:
            texts = [_text_of(message.get("content")) for message in self.body.get("messages") or []]
            prompt = 3 + sum(4 + count_tokens(text) for text in texts)
        if completion is None:
            said = json.dumps(self.tool_call()) if behaviour.tool_call else self.text[:10_000]
            completion = count_tokens(said) * self.choices + behaviour.reasoning_tokens
        if behaviour.usage == "zero":
            prompt = completion = 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": behaviour.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": behaviour.reasoning_tokens, "audio_tokens": 0},
        }

    def tool_call(self) -> dict[str, Any]:
        tools = self.body.get("tools") or [{"function": {"name": "look_up"}}]
        arguments = '{"city": "Paris", "unit": "celsius"}'
        function = {"name": tools[0]["function"]["name"], "arguments": arguments}
        return {"id": "call_double_1", "type": "function", "function": function}

    def _envelope(self, kind: str) -> dict[str, Any]:
        model = self.behaviour.model or self.body.get("model")
        return {"id": "chatcmpl-double", "object": kind, "created": 1_700_000_000, "model": model}

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        if self.behaviour.reasoning:
            message["reasoning_content"] = self.behaviour.reasoning
        if self.behaviour.tool_call:
            message |= {"content": None, "tool_calls": [self.tool_call()]}
        finish = self.behaviour.finish_reason
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
            for index in range(self.choices)
        ]
        answer = self._envelope("chat.completion") | {"choices": choices}
        return answer if self.behaviour.usage == "missing" else answer | {"usage": self.reported}

    def events(self) -> Iterator[bytes]:
        usage = self.behaviour.usage
        envelope = self._envelope("chat.completion.chunk")
        if self.asked:
            envelope["usage"] = None

        def event(index: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            if usage == "every-chunk":
                more = {"usage": self.reported}
            return json.dumps(envelope | {"choices": [choice]} | more, ensure_ascii=False).encode()

        for index in range(self.choices):
            yield event(index, {"role": "assistant", "content": "", "refusal": None})
        for word in re.findall(r"\S+\s*", self.behaviour.reasoning):
            for index in range(self.choices):
                yield event(index, {"reasoning_content": word})
        if self.behaviour.tool_call:
            yield from self._tool_events(event)
        for piece in self.pieces:
            for index in range(self.choices):
                yield event(index, {"content": piece})
        for index in range(self.choices):
            last = usage == "last-chunk" and index == self.choices - 1
            yield event(index, {}, self.behaviour.finish_reason, **({"usage": self.reported} if last else {}))
        if usage in {"unasked"} or (self.asked and usage in {"exact", "zero", "split"}):
            yield json.dumps(envelope | {"choices": [], "usage": self.reported}).encode()

    def _tool_events(self, event: Callable[..., bytes]) -> Iterator[bytes]:
        call = self.tool_call()
        arguments = call["function"]["arguments"]
        first = call | {"index": 0, "function": call["function"] | {"arguments": ""}}
        yield event(0, {"tool_calls": [first]})
        for start in range(0, len(arguments), 8):
            yield event(0, {"tool_calls": [{"index": 0, "function": {"arguments": arguments[start : start + 8]}}]})
