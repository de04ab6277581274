"""Canonical server-sent events read, and a client's own written."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from apps.gateway.metering import BrokenAnswer

_decode = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


def read_chunks(events: bytes) -> Iterator[dict[str, Any] | None]:
    """Yield the chunks of whole canonical events, None for a comment. Raises BrokenAnswer for anything else."""
    for event in events.split(b"\n\n"):
        if not event.strip():
            continue
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        if not lines:
            yield None
            continue
        try:
            chunk = _decode(b"\n".join(lines))
        except (msgspec.DecodeError, RecursionError) as error:
            raise BrokenAnswer("an event that is not JSON") from error
        if not isinstance(chunk, dict):
            raise BrokenAnswer("an event that is no chunk")
        yield chunk


def first_choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one choice that these formats have, {} where a chunk has none (the usage chunk)."""
    choices = answer.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("index", 0) == 0:
                return choice
    return {}


def read_answer(canonical: bytes) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a whole answer, its choice and its message. Raises BrokenAnswer where it is no chat completion."""
    try:
        answer = _decode(canonical)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BrokenAnswer("not JSON") from error
    if not isinstance(answer, dict):
        raise BrokenAnswer("no chat completion")
    choice = first_choice(answer)
    message = choice.get("message")
    return answer, choice, message if isinstance(message, dict) else {}


def texts_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message or delta: a string, or the texts of its parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return what a message or delta says of the model's reasoning; providers name it in two ways."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := message.get(name), str):
            return text
    return ""


def objects_of(message: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of a member that is a list, [] where it is none."""
    found = message.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def function_of(call: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name and arguments of a tool call or of a part of one, "" for what it does not have."""
    function = call.get("function")
    if not isinstance(function, dict):
        return "", ""
    name, arguments = function.get("name"), function.get("arguments")
    if isinstance(arguments, dict):  # some providers decode what should be a string
        arguments = _encode(arguments).decode()
    return name if isinstance(name, str) else "", arguments if isinstance(arguments, str) else ""


def signature_of(call: Mapping[str, Any]) -> str:
    """Return Gemini's thought signature of a tool call, "" without one."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return text_or(google.get("thought_signature"), "") if isinstance(google, dict) else ""


def text_or(value: Any, otherwise: str) -> str:
    """Return a string that is not empty."""
    return value if isinstance(value, str) and value else otherwise


def write_event(kind: str, data: Mapping[str, Any]) -> bytes:
    """Return a named event whose data begins with its type."""
    return b"event: " + kind.encode() + b"\ndata: " + _encode({"type": kind, **data}) + b"\n\n"


def write_note(note: Mapping[str, object]) -> bytes:
    """Return what the end of a stream tells about money: a comment, which every client skips."""
    return b": modelfaucet " + _encode(note) + b"\n\n"


def own_id(prefix: str, request_id: str) -> str:
    """Return the id of an answer in the client's format, from the request's."""
    return f"{prefix}_{request_id.removeprefix('req_')}"
