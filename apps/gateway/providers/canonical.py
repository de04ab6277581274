"""Reading a canonical request for the formats that are not OpenAI's: the members by name, checked where acted on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from apps.core.errors import BadRequest
from apps.gateway.formats.base import ModelRequest
from apps.gateway.providers.base import unsupported

_encode = msgspec.json.Encoder().encode
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def wrong(param: str, takes: str) -> BadRequest:
    """Return the refusal of a member that no provider could read."""
    return BadRequest(f"'{param}' takes {takes}.", code="invalid_type", param=param)


def encode_body(body: dict[str, Any]) -> bytes:
    """Return a provider's request body. Raises BadRequest where it is too deep: reading it may just have worked."""
    try:
        return _encode(body)
    except RecursionError as error:
        raise BadRequest("The request is nested too deeply.", code="invalid_json") from error


class Members:
    """The members of a request, decoded when they are asked for. What is null counts as missing."""

    __slots__ = ("_raw",)

    def __init__(self, request: ModelRequest) -> None:
        self._raw = request.members

    def value(self, name: str) -> Any:
        raw = self._raw.get(name)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"'{name}' cannot be read.", code="invalid_json", param=name) from error

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float | None:
        """Return a number; refused as unsupported where this provider's range is narrower than the caller's value."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(name, "a number")
        if not least <= value <= most:
            raise unsupported(name, f"it takes {least:g} to {most:g}")
        return value

    def whole(self, name: str) -> int | None:
        value = self.value(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise wrong(name, "a whole number")
        return value if isinstance(value, int) else None

    def flag(self, name: str) -> bool | None:
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise wrong(name, "true or false")
        return value if isinstance(value, bool) else None

    def mapping(self, name: str) -> dict[str, Any] | None:
        value = self.value(name)
        if value is not None and not isinstance(value, dict):
            raise wrong(name, "an object")
        return value if isinstance(value, dict) else None

    def stop(self) -> list[str]:
        """Return the stop sequences that are not empty."""
        value = self.value("stop")
        found = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise wrong("stop", "a string or an array of strings")
        return [each for each in found if each]

    def effort(self) -> str | None:
        value = self.value("reasoning_effort")
        if value is not None and value not in EFFORTS:
            raise wrong("reasoning_effort", "one of " + ", ".join(EFFORTS))
        return value if isinstance(value, str) else None

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON schema that the answer is to follow; `{}` for any JSON object, None for free text."""
        wanted = self.mapping("response_format")
        kind = wanted.get("type") if wanted else "text"
        if wanted is None or kind == "text":
            return None
        if kind == "json_object":
            return {}
        named = wanted.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        if kind != "json_schema" or not isinstance(schema, dict):
            raise wrong("response_format", "a type of text, json_object or json_schema with its schema")
        return schema

    def user(self) -> str | None:
        """Return what names the end user to the provider: safety_identifier, metadata.user_id or the older user."""
        metadata = self.value("metadata")
        named = metadata.get("user_id") if isinstance(metadata, dict) else None
        for value in (self.value("safety_identifier"), named, self.value("user")):
            if isinstance(value, str) and value:
                return value
        return None

    def refuse(self, names: Sequence[str]) -> None:
        """Refuse members that would change the answer and that the format has no counterpart for.

        Values that ask for nothing (false, 0, empty) pass.
        """
        for name in names:
            if self.value(name):
                raise unsupported(name, "its format has no counterpart")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `cache`: Anthropic's cache_control on it."""

    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool
    cache: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`mode`: auto, none, required or named (then `name`). `parallel`: several calls in one answer are welcome."""

    mode: str
    name: str = ""
    parallel: bool = True


def read_tools(members: Members) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Return the functions on offer and how they are to be chosen from.

    Raises BadRequest: unsupported_by_provider for tools that are no functions and for the older `functions`.
    """
    members.refuse(("functions", "function_call"))
    listed = members.value("tools")
    if not isinstance(listed, list | None):
        raise wrong("tools", "an array")
    tools = tuple(_tool(tool, f"tools[{place}]") for place, tool in enumerate(listed or ()))
    choice = members.value("tool_choice")
    parallel = members.flag("parallel_tool_calls") is not False
    if choice is None or isinstance(choice, str):
        if choice not in (None, "auto", "none", "required"):
            raise wrong("tool_choice", "auto, none, required or a named function")
        return tools, ToolChoice(choice or "auto", parallel=parallel)
    allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
    if isinstance(allowed, dict) and allowed.get("mode") in ("auto", "required"):
        names = {_name(tool) for tool in allowed.get("tools") or () if isinstance(tool, dict)}
        kept = tuple(tool for tool in tools if tool.name in names)
        return kept, ToolChoice(allowed["mode"], parallel=parallel)
    name = _name(choice) if isinstance(choice, dict) and choice.get("type") == "function" else None
    if name is None:
        raise unsupported("tool_choice", "only functions can be chosen")
    return tools, ToolChoice("named", name, parallel)


def _name(tool: dict[str, Any]) -> str | None:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _tool(tool: Any, where: str) -> Tool:
    if not isinstance(tool, dict):
        raise wrong(where, "an object")
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise unsupported(where, "only functions can be offered as tools")
    name, description, parameters = function.get("name"), function.get("description"), function.get("parameters")
    if not isinstance(name, str) or not name:
        raise wrong(f"{where}.function.name", "a name")
    if not isinstance(description, str | None) or not isinstance(parameters, dict | None):
        raise wrong(f"{where}.function", "a description that is text and parameters that are a JSON schema")
    cache = tool.get("cache_control") or function.get("cache_control")
    return Tool(
        name,
        description,
        parameters or {"type": "object", "properties": {}},
        function.get("strict") is True,
        cache if isinstance(cache, dict) else None,
    )
