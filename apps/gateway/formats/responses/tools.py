"""The tools of a Responses request as those of a chat completion."""

from collections.abc import Mapping
from typing import Any

from apps.gateway.formats.reading import as_array, as_object, kind_of, member_text, unsupported
from apps.gateway.wire import unpriced, wrong

# Run by the provider and billed per call, per hour or per image.
_HOSTED = ("web_search", "file_search", "code_interpreter", "image_generation", "mcp", "computer", "shell")
# A custom tool takes free text. As a function of one string it is known to every model.
_FREE_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as it is."}},
    "required": ["input"],
    "additionalProperties": False,
}
_MODES = ("auto", "required", "none")


def read_tools(given: Any) -> tuple[list[dict[str, Any]], frozenset[str]]:
    """Return canonical tools, and the names of those that take free text."""
    tools: list[dict[str, Any]] = []
    custom: set[str] = set()
    for position, tool in enumerate(as_array(given, "tools")):
        where = f"tools[{position}]"
        found, kind = kind_of(tool, where)
        if kind == "function":
            tools.append(_function(found, where))
        elif kind == "custom":
            custom.add(member_text(found, "name", where))
            tools.append(_custom(found, where))
        elif kind.startswith(_HOSTED):
            raise unpriced(where, "tools that the provider runs are not offered")
        else:
            raise unsupported(where, "only function and custom tools are known to every model")
    return tools, frozenset(custom)


def read_choice(given: Any, tools: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """Return the canonical tool_choice, None for the usual one, and the tools that may be called."""
    if isinstance(given, str):
        if given not in _MODES:
            raise wrong("tool_choice", "'auto', 'required', 'none' or an object")
        return given, tools
    found, kind = kind_of(given, "tool_choice")
    if kind in ("function", "custom"):
        return {"type": "function", "function": {"name": member_text(found, "name", "tool_choice")}}, tools
    if kind == "allowed_tools":
        mode = member_text(found, "mode", "tool_choice")
        if mode not in _MODES:
            raise wrong("tool_choice.mode", "'auto' or 'required'")
        allowed = as_array(found.get("tools"), "tool_choice.tools")
        names = {as_object(each, f"tool_choice.tools[{n}]").get("name") for n, each in enumerate(allowed)}
        return mode, [tool for tool in tools if tool["function"]["name"] in names]
    raise unsupported("tool_choice", "only function and custom tools are known to every model")


def _function(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    _refuse_programs(tool, where)
    function: dict[str, Any] = {"name": member_text(tool, "name", where)}
    if tool.get("description") is not None:
        function["description"] = member_text(tool, "description", where)
    if tool.get("parameters") is not None:
        function["parameters"] = as_object(tool["parameters"], f"{where}.parameters")
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _custom(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    _refuse_programs(tool, where)
    said = [member_text(tool, "description", where)] if tool.get("description") is not None else []
    if tool.get("format") is not None:
        form, kind = kind_of(tool["format"], f"{where}.format")
        if kind == "grammar":
            syntax = member_text(form, "syntax", f"{where}.format")
            definition = member_text(form, "definition", f"{where}.format")
            said.append(f"The input must match this {syntax} grammar:\n{definition}")
    function = {"name": tool["name"], "description": "\n\n".join(said), "parameters": _FREE_TEXT}
    return {"type": "function", "function": function}


def _refuse_programs(tool: Mapping[str, Any], where: str) -> None:
    callers = tool.get("allowed_callers")
    if callers is not None and callers != ["direct"]:
        raise unsupported(f"{where}.allowed_callers", "tools that the provider runs are not offered")
    if tool.get("defer_loading") is True:
        raise unsupported(f"{where}.defer_loading", "tools that the provider runs are not offered")
