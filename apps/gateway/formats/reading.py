"""Reading what a client sent, by shape, and naming what is wrong by the client's own names."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from apps.core.errors import BadRequest, FaucetError
from apps.gateway.wire import ChatRequest, parse_chat, parse_object, wrong

NULL = msgspec.Raw(b"null")
# Members that ask for nothing.
NOTHING = (NULL, msgspec.Raw(b"[]"), msgspec.Raw(b"{}"))
MAX_TOLD = 20
# What the client's request calls its tools, where they are not the canonical ones, one for one.
ANY_TOOL = "tools[]"
# What a translated request remembers in order to name what is refused: where messages came from, names of members.
_ORIGINS, _NAMES = "origins", "names"
_MESSAGE = re.compile(r"messages\.?\[([0-9]{1,9})\]")  # OpenAI writes messages.[0], too
_TOOL = re.compile(r"tools\[[0-9]+\]")
_NAME = re.compile(r"[A-Za-z0-9_.: \[\]-]{1,80}", re.ASCII)
_encode = msgspec.json.Encoder().encode


def translate(body: bytes, read: Callable[[dict[str, msgspec.Raw]], ChatRequest]) -> ChatRequest:
    """Read a body by `read`, which gets its members undecoded. Raises BadRequest, whatever the body holds."""
    try:
        return read(parse_object(body))
    except RecursionError as error:
        raise BadRequest("The request body is nested too deeply.", code="invalid_json") from error
    except (msgspec.MsgspecError, OverflowError) as error:
        raise BadRequest(f"The request body cannot be read: {error}", code="invalid_json") from error


def canonical(
    members: Mapping[str, Any],
    *,
    origins: Sequence[str],
    names: Mapping[str, str],
    client: Mapping[str, Any],
    max_output: int | None,
    ignored: Sequence[str],
) -> ChatRequest:
    """Return the canonical request of these members, checked as any chat completion is.

    `origins` says where each message comes from and `names` what a member is called in the client's format: a refusal
    names that. `max_output` stays out of the members, so that every provider gets its own name for it.
    """
    try:
        request = parse_chat(_encode(members))
    except BadRequest as error:
        raise _renamed(error, origins, names) from error
    return replace(
        request,
        wants_usage=True,
        max_output=max_output,
        client={**client, _ORIGINS: tuple(origins), _NAMES: names},
        ignored=(*request.ignored, *_told(ignored)),
    )


def in_clients_words(error: FaucetError, client: Mapping[str, Any]) -> FaucetError:
    """Return a later refusal of a request by the client's own names; `client` is the request's."""
    if not isinstance(error, BadRequest) or _ORIGINS not in client:
        return error
    return _renamed(error, client[_ORIGINS], client[_NAMES])


def _told(ignored: Sequence[str]) -> list[str]:
    """Return what a header can tell of parameters whose names the caller made up."""
    return [name for name in ignored if _NAME.fullmatch(name)][:MAX_TOLD]


def _renamed(error: BadRequest, origins: Sequence[str], names: Mapping[str, str]) -> BadRequest:
    param = error.param or ""
    message, tool = _MESSAGE.match(param), _TOOL.match(param)
    if message is not None and int(message[1]) < len(origins):
        name = origins[int(message[1])]
    elif tool is not None:
        name = names.get(ANY_TOOL, tool[0])  # what is within it is called otherwise in each format
    else:
        name = names.get(param, param)
    text = error.message.replace(f"'{param}'", f"'{name}'")
    return BadRequest(text, code=error.code, param=name or None, details=error.details)


def unsupported(where: str, reason: str) -> BadRequest:
    """Return the refusal of something that cannot be had here."""
    return BadRequest(f"'{where}' is not supported here: {reason}.", code="unsupported_parameter", param=where)


def missing(where: str) -> BadRequest:
    return BadRequest(f"'{where}' is required.", code="missing_parameter", param=where)


def given(members: Mapping[str, msgspec.Raw], name: str) -> Any:
    """Return a decoded member, None where it is null or missing."""
    raw = members.get(name, NULL)
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise BadRequest(f"'{name}' cannot be read: {error}", code="invalid_json", param=name) from error


def as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(where, "an object")
    return value


def as_array(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(where, "an array")
    return value


def as_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, "a string")
    return value


def member_text(value: Mapping[str, Any], name: str, where: str) -> str:
    """Return a string that must be there."""
    if value.get(name) is None:
        raise missing(f"{where}.{name}")
    return as_text(value[name], f"{where}.{name}")


def kind_of(value: Any, where: str) -> tuple[dict[str, Any], str]:
    """Return an object and its type. Raises BadRequest where it is none or has none."""
    found = as_object(value, where)
    return found, member_text(found, "type", where)


def signed_call(call: dict[str, Any], signature: str) -> dict[str, Any]:
    """Return a tool call with Gemini's thought signature, which goes back to Gemini only."""
    return call | {"extra_content": {"google": {"thought_signature": signature}}}


class Conversation:
    """Canonical messages in the making; `origins` says which part of the client's request each comes from."""

    __slots__ = ("messages", "origins")

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.origins: list[str] = []

    def add(self, message: dict[str, Any], origin: str) -> None:
        self.messages.append(message)
        self.origins.append(origin)


def flat(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return one plain text part as a string, which every provider takes; anything else as parts."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    return parts
