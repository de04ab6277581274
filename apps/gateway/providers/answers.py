"""Writing canonical answers: the whole chat completion, its chunks, usage and error events."""

from typing import Any

import msgspec

from apps.gateway.metering import BrokenAnswer

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def encode(value: Any) -> bytes:
    """Return a part of an answer as JSON. Raises BrokenAnswer where it is too deep: reading it may just have worked."""
    try:
        return _encode(value)
    except RecursionError as error:
        raise BrokenAnswer("nested too deeply") from error


def usage(*, prompt: int, cached: int, written: int, completion: int, reasoning: int) -> dict[str, Any]:
    """Return canonical usage: cached and written tokens are inside `prompt`, reasoning inside `completion`."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def count(value: Any) -> int:
    """Return a provider's token count; 0 where it gives none or nonsense."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def is_count(value: Any) -> bool:
    """Tell whether a provider reported a count, zero included."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def text_of(value: Any) -> str:
    """Return a member that is to be text; empty where it is missing or something else."""
    return value if isinstance(value, str) else ""


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a member that is to be an array of them."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def tool_call(identity: str, name: str, arguments: str, signature: str | None = None) -> dict[str, Any]:
    """Return a canonical tool call. `signature`: Gemini's, kept where its OpenAI-compatible endpoint keeps it."""
    call: dict[str, Any] = {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
    if signature:
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


class Message:
    """What one choice of a whole answer says, gathered from the provider's parts."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.thinking_blocks: list[dict[str, Any]] = []
        self.tool_calls: list[dict[str, Any]] = []

    def as_choice(self, index: int, finish_reason: str | None, logprobs: Any = None) -> dict[str, Any]:
        content = "".join(self.text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self.tool_calls and not content else content,
            "refusal": None,
        }
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.thinking_blocks:
            message["thinking_blocks"] = self.thinking_blocks
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}


def completion(
    identity: str, created: int, model: str, choices: list[dict[str, Any]], used: dict[str, Any] | None
) -> bytes:
    """Return a whole chat completion; usage is left out where the provider reported none."""
    answer: dict[str, Any] = {
        "id": identity,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": choices,
    }
    if used is not None:
        answer["usage"] = used
    return encode(answer)


class Chunks:
    """Writes the chunks of one stream. `identity` and `model` are set when the provider tells them."""

    __slots__ = ("_created", "identity", "model")

    def __init__(self, identity: str, created: int) -> None:
        self.identity = identity
        self.model = ""
        self._created = created

    def delta(
        self, index: int, delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None, **more: Any
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason, **more}
        return self._event([choice], None)

    def usage(self, used: dict[str, Any]) -> bytes:
        return self._event([], used)

    def _event(self, choices: list[dict[str, Any]], used: dict[str, Any] | None) -> bytes:
        chunk: dict[str, Any] = {
            "id": self.identity,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self.model,
            "choices": choices,
        }
        if used is not None:
            chunk["usage"] = used
        return b"data: " + encode(chunk) + b"\n\n"


def error_event(message: str, kind: str) -> bytes:
    """Return the event for an error that the provider reported in mid-stream."""
    return b"data: " + encode({"error": {"message": message, "type": kind, "param": None, "code": kind}}) + b"\n\n"
