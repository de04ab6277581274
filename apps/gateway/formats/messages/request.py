"""A request to Anthropic's Messages as a canonical one."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.gateway.formats.messages.content import add_message, marked, read_system
from apps.gateway.formats.reading import (
    NOTHING,
    NULL,
    Conversation,
    as_array,
    as_object,
    canonical,
    given,
    kind_of,
    member_text,
    missing,
    unsupported,
)
from apps.gateway.wire import MAX_TOKENS, ChatRequest, read_member, read_whole_number, unpriced, wrong

# Handed on as they came: the canonical form has them by the same name.
_SAME = ("model", "stream", "temperature", "top_p", "top_k", "modelfaucet")
_READ = frozenset(
    {*_SAME, "max_tokens", "messages", "system", "tools", "tool_choice", "stop_sequences", "metadata", "thinking"}
    | {"output_config", "cache_control", "service_tier", "speed", "inference_geo", "container", "mcp_servers"}
)
_NAMES = {"stop": "stop_sequences", "user": "metadata.user_id", "response_format": "output_config.format"} | {
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use"
}
# Without a price of their own they would be charged as if they were free.
_BILLED = {
    "container": "containers are billed by the hour",
    "mcp_servers": "tools that the provider runs are not offered",
}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
# Up to this many tokens of thinking an effort is called so by those who are told no number.
_EFFORTS = ((4_096, "low"), (16_384, "medium"))


def read_request(members: dict[str, msgspec.Raw], *, count_only: bool = False) -> ChatRequest:
    """Translate a request; one that only counts tokens needs no max_tokens. Raises BadRequest."""
    max_tokens = read_whole_number(members, "max_tokens", least=0, most=MAX_TOKENS)
    if max_tokens is None and not count_only:
        raise missing("max_tokens")
    _refuse_unpriced(members)
    out: dict[str, Any] = {name: members[name] for name in _SAME if members.get(name, NULL) != NULL}
    conversation = Conversation()
    read_system(given(members, "system"), conversation)
    messages = given(members, "messages")
    if messages is None:
        raise missing("messages")
    if not as_array(messages, "messages"):
        raise wrong("messages", "an array with at least one message")
    for position, message in enumerate(messages):
        add_message(message, f"messages[{position}]", conversation)
    out["messages"] = conversation.messages
    stop = read_member(members, "stop_sequences", list[str], "an array of strings") or []
    if stop:
        out["stop"] = stop
    metadata = given(members, "metadata")
    if metadata is not None and (user := as_object(metadata, "metadata").get("user_id")) is not None:
        out["user"] = user
    ignored = [name for name, raw in members.items() if name not in _READ and raw not in NOTHING]
    out |= _tools(members, ignored)
    out |= _thinking(members)
    if members.get("cache_control", NULL) != NULL:
        marked(out, {"cache_control": given(members, "cache_control")}, "")
    return canonical(
        out,
        origins=conversation.origins,
        names=_NAMES | _effort_name(members),
        client={"format": "messages", "stop": stop, "thinking": "thinking" in out},
        max_output=max_tokens if max_tokens is None else max(max_tokens, 1),
        ignored=ignored,
    )


def _refuse_unpriced(members: dict[str, msgspec.Raw]) -> None:
    tier = read_member(members, "service_tier", str, "a string")
    if tier not in (None, "auto", "standard_only"):
        raise unpriced("service_tier", f"service_tier '{tier}' has its own prices")
    if (speed := read_member(members, "speed", str, "a string")) not in (None, "standard"):
        raise unpriced("speed", f"speed '{speed}' has its own prices")
    if (geo := read_member(members, "inference_geo", str, "a string")) not in (None, "global"):
        raise unpriced("inference_geo", f"inference_geo '{geo}' has its own prices")
    for name, reason in _BILLED.items():
        if members.get(name, NULL) not in NOTHING:
            raise unpriced(name, reason)


def _tools(members: dict[str, msgspec.Raw], ignored: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    tools = given(members, "tools")
    if tools is not None and as_array(tools, "tools"):
        out["tools"] = [_tool(tool, f"tools[{position}]", ignored) for position, tool in enumerate(tools)]
    choice = given(members, "tool_choice")
    if choice is None:
        return out
    found, kind = kind_of(choice, "tool_choice")
    if kind == "tool":
        name = member_text(found, "name", "tool_choice")
        out["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif kind in _CHOICES:
        if "tools" in out:  # OpenAI takes no choice among none
            out["tool_choice"] = _CHOICES[kind]
    else:
        raise wrong("tool_choice.type", "'auto', 'any', 'tool' or 'none'")
    if found.get("disable_parallel_tool_use") is True and "tools" in out:
        out["parallel_tool_calls"] = False
    return out


def _tool(tool: Any, where: str, ignored: list[str]) -> dict[str, Any]:
    found = as_object(tool, where)
    kind = found.get("type")
    if kind not in (None, "custom"):
        if isinstance(kind, str) and kind.startswith(("web_", "code_execution", "tool_search")):
            raise unpriced(where, "tools that the provider runs are not offered")
        raise unsupported(where, "only tools with an input_schema of their own are known to every model")
    if found.get("defer_loading") is True:
        raise unsupported(f"{where}.defer_loading", "tools that the provider runs are not offered")
    if found.get("allowed_callers") not in (None, ["direct"]):
        raise unsupported(f"{where}.allowed_callers", "tools that the provider runs are not offered")
    function: dict[str, Any] = {"name": member_text(found, "name", where)}
    if found.get("description") is not None:
        function["description"] = member_text(found, "description", where)
    if found.get("input_schema") is None:
        raise missing(f"{where}.input_schema")
    function["parameters"] = as_object(found["input_schema"], f"{where}.input_schema")
    if isinstance(found.get("strict"), bool):
        function["strict"] = found["strict"]
    ignored += [f"{where}.{name}" for name in ("input_examples",) if found.get(name)]
    return marked({"type": "function", "function": function}, found, where)


def _thinking(members: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """Return what is said of thinking and of the answer's form, in Anthropic's words and in everybody else's."""
    out: dict[str, Any] = {}
    thinking = given(members, "thinking")
    if thinking is not None:
        found, kind = kind_of(thinking, "thinking")
        if kind != "disabled":
            out["thinking"] = members["thinking"]
        if kind == "enabled":
            budget = found.get("budget_tokens")
            if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
                raise wrong("thinking.budget_tokens", "a whole number from 1")
            out["reasoning_effort"] = next((name for most, name in _EFFORTS if budget <= most), "high")
    config = given(members, "output_config")
    if config is not None:
        out |= _output_config(as_object(config, "output_config"))
    return out


def _effort_name(members: Mapping[str, msgspec.Raw]) -> dict[str, str]:
    """Return which of the client's members the effort of reasoning was read from."""
    config = given(members, "output_config") or {}
    return {"reasoning_effort": "output_config.effort" if config.get("effort") is not None else "thinking"}


def _output_config(config: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if config.get("effort") is not None:
        out["reasoning_effort"] = member_text(config, "effort", "output_config")
    if config.get("format") is not None:
        found, kind = kind_of(config["format"], "output_config.format")
        if kind != "json_schema":
            raise wrong("output_config.format.type", "'json_schema'")
        schema = as_object(found.get("schema"), "output_config.format.schema")
        out["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    return out
