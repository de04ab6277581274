"""Canonical messages as turns that alternate, the form in which Anthropic and Gemini take a conversation.

System and developer messages are taken out, wherever they stand; neighbours of one role become one turn; a tool's
result finds the name of its function by the id of the call.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from apps.core.errors import BadRequest
from apps.gateway.providers.base import unsupported
from apps.gateway.providers.canonical import Members, wrong

Cache = dict[str, Any] | None

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII)


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    cache: Cache = None


@dataclass(frozen=True, slots=True)
class Data:
    """An image or a file whose bytes came along, in base64."""

    kind: str
    media_type: str
    data: str
    name: str | None = None
    cache: Cache = None


@dataclass(frozen=True, slots=True)
class Link:
    """An image that the provider is to fetch."""

    url: str
    where: str
    cache: Cache = None


Part = Text | Data | Link


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model made earlier. `signature`: Gemini's thought signature, which it wants back."""

    id: str
    name: str
    arguments: dict[str, Any]
    signature: str | None = None
    cache: Cache = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    id: str
    name: str
    parts: Sequence[Part]
    failed: bool = False
    cache: Cache = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """One of Anthropic's thinking blocks, as it came."""

    block: dict[str, Any]


Item = Text | Data | Link | ToolCall | ToolResult | Thinking


@dataclass(slots=True)
class Turn:
    """What one side (`user` or `assistant`) said in a row."""

    role: str
    items: list[Item] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Conversation:
    system: tuple[Text, ...]
    turns: tuple[Turn, ...]


def read_conversation(members: Members) -> Conversation:
    """Return the conversation of a request.

    Raises BadRequest for messages that are malformed, and with unsupported_by_provider for parts and roles that have
    no counterpart.
    """
    system: list[Text] = []
    turns: list[Turn] = []
    names: dict[str, str] = {}
    for place, message in enumerate(members.value("messages") or ()):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            raise wrong(where, "an object")
        role = message.get("role")
        if role in ("system", "developer"):
            system += _texts(message, where)
            continue
        if role == "user":
            items: list[Item] = [*_parts(message, where)]
        elif role == "assistant":
            items = _said(message, where, names)
        elif role == "tool":
            items = [_result(message, where, names)]
        else:
            raise unsupported(f"{where}.role", f"it has no role '{str(role)[:40]}'")
        side = "assistant" if role == "assistant" else "user"
        if turns and turns[-1].role == side:
            turns[-1].items += items
        elif items:
            turns.append(Turn(side, items))
    if not turns:
        # A request of system messages alone is usual with OpenAI; here somebody has to speak.
        return Conversation((), (Turn("user", [*system]),))
    return Conversation(tuple(system), tuple(turns))


def _texts(message: dict[str, Any], where: str) -> list[Text]:
    parts = _parts(message, where)
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) < len(parts):
        raise unsupported(f"{where}.content", "system messages hold text only")
    return texts


def _said(message: dict[str, Any], where: str, names: dict[str, str]) -> list[Item]:
    if message.get("function_call"):
        raise unsupported(f"{where}.function_call", "use tool_calls")
    blocks, calls = message.get("thinking_blocks") or (), message.get("tool_calls") or ()
    if not isinstance(blocks, list | tuple) or not isinstance(calls, list | tuple):
        raise wrong(where, "tool_calls and thinking_blocks that are arrays")
    items: list[Item] = [Thinking(block) for block in blocks if isinstance(block, dict)]
    items += _parts(message, where)
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        items.append(Text(refusal))
    for place, call in enumerate(calls):
        made = _call(call, f"{where}.tool_calls[{place}]")
        names[made.id] = made.name
        items.append(made)
    return items


def _call(call: Any, where: str) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise unsupported(where, "only calls of functions can be told")
    name, text = function.get("name"), function.get("arguments")
    if not isinstance(call.get("id"), str) or not isinstance(name, str):
        raise wrong(where, "an id and the name of a function")
    try:
        arguments = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError, TypeError) as error:
        raise _bad_arguments(where) from error
    if not isinstance(arguments, dict):
        raise _bad_arguments(where)
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return ToolCall(call["id"], name, arguments, signature if isinstance(signature, str) else None, _cache(call))


def _bad_arguments(where: str) -> BadRequest:
    return wrong(f"{where}.function.arguments", "a JSON object as a string")


def _result(message: dict[str, Any], where: str, names: dict[str, str]) -> ToolResult:
    made_by = message.get("tool_call_id")
    if not isinstance(made_by, str) or made_by not in names:
        raise wrong(f"{where}.tool_call_id", "the id of a tool call in an earlier message")
    return ToolResult(made_by, names[made_by], _parts(message, where), message.get("is_error") is True, _cache(message))


def _parts(message: dict[str, Any], where: str) -> list[Part]:
    """Return a message's content without empty texts, which neither format takes."""
    content = message.get("content")
    if content is None:
        return []
    if isinstance(content, str):
        cache = None if message.get("role") == "tool" else _cache(message)
        return [Text(content, cache)] if content else []
    if not isinstance(content, list):
        raise wrong(f"{where}.content", "a string or an array of content parts")
    read = [_part(part, f"{where}.content[{place}]") for place, part in enumerate(content)]
    return [part for part in read if not isinstance(part, Text) or part.text]


def _part(part: Any, where: str) -> Part:
    if not isinstance(part, dict):
        raise wrong(where, "an object")
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        if not isinstance(text, str):
            raise wrong(where, "text")
        return Text(text, _cache(part))
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str):
            raise wrong(f"{where}.image_url", "an object with a url")
        if url.startswith("data:"):
            return _data("image", url, where, None, _cache(part))
        return Link(url, where, _cache(part))
    if kind == "file":
        file = part.get("file")
        data = file.get("file_data") if isinstance(file, dict) else None
        if not isinstance(file, dict) or not isinstance(data, str):
            raise unsupported(where, "a file is taken as its data")
        name = file.get("filename")
        return _data("file", data, where, name if isinstance(name, str) else None, _cache(part))
    raise unsupported(where, f"it has no content of type '{str(kind)[:40]}'")


def _data(kind: str, url: str, where: str, name: str | None, cache: Cache) -> Data:
    match = _DATA_URL.match(url)
    if match is None:
        raise wrong(where, "data as data:<type>;base64,<data>")
    return Data(kind, match[1].lower(), url[match.end() :], name, cache)


def _cache(holder: dict[str, Any]) -> Cache:
    cache = holder.get("cache_control")
    return cache if isinstance(cache, dict) else None
