"""Reading usage, finish reasons and text off a provider's answer.

Pure. `stream_meter.py` follows streams with what is here.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from apps.usage.rate import Tokens

# An event longer than this is not one: the provider is broken.
MAX_EVENT_BYTES = 8_000_000
# Usage beyond this is nonsense, and what it costs would not fit the ledger's columns.
MAX_TOKENS = 100_000_000

_decode = msgspec.json.decode


class BrokenAnswer(Exception):
    """The provider's answer is not what its status promised."""


def read_usage(usage: Any) -> Tokens | None:
    """Return reported usage in disjoint kinds, or None where it is missing or makes no sense.

    OpenAI counts cached tokens inside prompt_tokens; DeepSeek names them prompt_cache_hit_tokens; xAI reports
    reasoning beside completion_tokens, which its total gives away. A reported zero is a value.
    """
    if not isinstance(usage, dict):
        return None
    prompt = _whole(usage.get("prompt_tokens"))
    output = _whole(usage.get("completion_tokens"))
    if prompt is None or output is None:
        return None
    prompt_details = usage.get("prompt_tokens_details")
    details = prompt_details if isinstance(prompt_details, dict) else {}
    read = _whole(details.get("cached_tokens")) or _whole(usage.get("prompt_cache_hit_tokens")) or 0
    write = _whole(details.get("cache_write_tokens")) or _whole(usage.get("cache_creation_input_tokens")) or 0
    read = min(read, prompt)
    write = min(write, prompt - read)
    output_details = usage.get("completion_tokens_details")
    reasoning = _whole(output_details.get("reasoning_tokens")) if isinstance(output_details, dict) else None
    reasoning = reasoning or 0
    if reasoning and _whole(usage.get("total_tokens")) == prompt + output + reasoning:
        output += reasoning
    return Tokens(
        input=prompt - read - write,
        cache_read=read,
        cache_write=write,
        output=output,
        reasoning=min(reasoning, output),
    )


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS:
        return None
    return int(value)


def message_text(message: Any) -> Iterator[str]:
    """Yield whatever of a message or delta the model wrote: content, reasoning, refusal, tool calls."""
    if not isinstance(message, dict):
        return
    for key in ("content", "reasoning_content", "reasoning", "refusal"):
        value = message.get(key)
        if isinstance(value, str) and value:
            yield value
        elif isinstance(value, list):
            yield from (part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    calls = message.get("tool_calls") or ()
    made = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    # A custom tool's call holds free text in place of arguments.
    functions = [call.get(kind) for call in made for kind in ("function", "custom")]
    for function in [*functions, message.get("function_call")]:
        if isinstance(function, dict):
            for key in ("name", "arguments", "input"):
                if isinstance(value := function.get(key), str) and value:
                    yield value
    if message.get("audio") or message.get("images"):
        yield " "


def choices_of(answer: Any) -> list[dict[str, Any]]:
    """Return the choices of an answer or chunk, none where it has no such thing."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


class Answer(msgspec.Struct, frozen=True):
    """What a JSON answer says of itself."""

    usage: Tokens | None
    finish_reason: str | None
    text: str

    @property
    def has_content(self) -> bool:
        return bool(self.text)


def read_answer(body: bytes) -> Answer:
    """Read a JSON answer. Raises BrokenAnswer where it is no chat completion (an error under status 200, HTML)."""
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BrokenAnswer("not JSON") from error
    choices = choices_of(answer)
    if not choices and (not isinstance(answer, dict) or answer.get("error") or answer.get("choices") != []):
        raise BrokenAnswer("an error under status 200, or no answer at all")
    reasons = [reason for choice in choices if isinstance(reason := choice.get("finish_reason"), str)]
    return Answer(
        usage=read_usage(answer.get("usage")),
        finish_reason=worst_reason(reasons),
        text="".join(text for choice in choices for text in message_text(choice.get("message"))),
    )


def worst_reason(reasons: list[str]) -> str | None:
    """Return `error` if any choice ended so, else the first reason."""
    return "error" if "error" in reasons else reasons[0] if reasons else None


def text_of_events(events: bytes) -> str:
    """Return what the model wrote in whole canonical events, its choices one after the other."""
    texts: dict[Any, list[str]] = {}
    for chunk in chunks_of(events):
        for choice in choices_of(chunk):
            index = choice.get("index")
            texts.setdefault(index if isinstance(index, int) else 0, []).extend(message_text(choice.get("delta")))
    return "\n\n".join("".join(pieces) for pieces in texts.values())


def chunks_of(events: bytes) -> Iterator[Any]:
    """Yield what whole events hold, decoded; what is not JSON is passed over."""
    for event in events.split(b"\n\n"):
        payload = payload_of(event)
        if payload is None:
            continue
        try:
            yield _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            continue


def payload_of(event: bytes) -> bytes | None:
    """Return the data of an SSE event, or None where it has none (a comment)."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:].strip()
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines).strip() if lines else None
