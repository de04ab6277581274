"""A request to OpenAI's Responses as a canonical one."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.gateway.formats.reading import (
    ANY_TOOL,
    NOTHING,
    NULL,
    Conversation,
    as_object,
    as_text,
    canonical,
    given,
    kind_of,
    member_text,
    missing,
    unsupported,
)
from apps.gateway.formats.responses.items import read_input
from apps.gateway.formats.responses.tools import read_choice, read_tools
from apps.gateway.wire import MAX_TOKENS, ChatRequest, read_member, read_whole_number, unpriced, wrong

# Handed on as they came: the canonical form has them by the same name.
_SAME = (
    *("model", "stream", "temperature", "top_p", "user", "safety_identifier", "prompt_cache_key", "service_tier"),
    "modelfaucet",
)
# What the answer says again, as the client sent it.
_ECHOED = (
    *("instructions", "max_output_tokens", "metadata", "temperature", "tool_choice", "tools", "top_p", "text"),
    *("reasoning", "truncation", "user", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"),
)
# Read here, or of no consequence where nothing is stored and no tool is run by the provider.
_KNOWN = frozenset(
    {*_SAME, *_ECHOED, "input", "include", "store", "stream_options", "max_tool_calls", "background"}
    | {"previous_response_id", "conversation", "prompt"}
)
_STORED = {
    "previous_response_id": "nothing is stored; send the whole conversation as input",
    "conversation": "nothing is stored; send the whole conversation as input",
    "prompt": "no prompts are stored",
}
_NAMES = {"response_format": "text.format", "reasoning_effort": "reasoning.effort", "verbosity": "text.verbosity"}
_NO = msgspec.Raw(b"false")
_ENCRYPTED = "reasoning.encrypted_content"


def read_request(members: dict[str, msgspec.Raw]) -> ChatRequest:
    """Translate a request. Raises BadRequest."""
    _refuse_stored(members)
    most = read_whole_number(members, "max_output_tokens", least=0, most=MAX_TOKENS)
    out: dict[str, Any] = {name: members[name] for name in _SAME if members.get(name, NULL) != NULL}
    conversation = Conversation()
    instructions = given(members, "instructions")
    if instructions is not None and as_text(instructions, "instructions"):
        conversation.add({"role": "system", "content": instructions}, "instructions")
    asked = given(members, "input")
    if asked is not None:
        read_input(asked, conversation)
    if not conversation.messages:
        raise missing("input") if asked is None else wrong("input", "at least one item")
    out["messages"] = conversation.messages
    custom, narrowed = _read_tools(members, out)
    ignored = [name for name, raw in members.items() if name not in _KNOWN and raw not in NOTHING]
    out |= _read_form(members, ignored)
    include = read_member(members, "include", list[str], "an array of strings") or []
    ignored += [f"include: {each}" for each in include if each != _ENCRYPTED]
    read_member(members, "metadata", dict[str, str], "an object of strings")
    read_member(members, "store", bool, "true or false")
    return canonical(
        out,
        origins=conversation.origins,
        names={**_NAMES, ANY_TOOL: "tools"} if narrowed else _NAMES,
        client={
            "format": "responses",
            "echo": {name: members[name] for name in _ECHOED if members.get(name, NULL) != NULL},
            "custom": custom,
            "encrypted": _ENCRYPTED in include,
        },
        max_output=most if most is None else max(most, 1),
        ignored=ignored,
    )


def _refuse_stored(members: Mapping[str, msgspec.Raw]) -> None:
    for name, reason in _STORED.items():
        if members.get(name, NULL) != NULL:
            raise unsupported(name, reason)
    if members.get("background", NULL) not in (NULL, _NO):
        raise unsupported("background", "answers are given at once, or as a stream")


def _read_tools(members: dict[str, msgspec.Raw], out: dict[str, Any]) -> tuple[frozenset[str], bool]:
    """Add tools and how they are chosen; return which take free text, and whether only some may be called."""
    tools = given(members, "tools")
    custom: frozenset[str] = frozenset()
    found: list[dict[str, Any]] = []
    if tools is not None:
        found, custom = read_tools(tools)
    offered = len(found)
    choice = given(members, "tool_choice")
    if choice is not None:
        choice, found = read_choice(choice, found)
    parallel = read_member(members, "parallel_tool_calls", bool, "true or false")
    if found:  # OpenAI takes neither choice nor count among none
        out["tools"] = found
        if choice is not None:
            out["tool_choice"] = choice
        if parallel is not None:
            out["parallel_tool_calls"] = parallel
    return custom, len(found) < offered


def _read_form(members: dict[str, msgspec.Raw], ignored: list[str]) -> dict[str, Any]:
    """Return what is said of the answer's form and of reasoning."""
    out: dict[str, Any] = {}
    text = given(members, "text")
    if text is not None:
        if as_object(text, "text").get("verbosity") is not None:
            out["verbosity"] = member_text(text, "verbosity", "text")
        if text.get("format") is not None:
            out |= _read_format(*kind_of(text["format"], "text.format"))
    reasoning = given(members, "reasoning")
    if reasoning is not None:
        if as_object(reasoning, "reasoning").get("effort") is not None:
            out["reasoning_effort"] = member_text(reasoning, "effort", "reasoning")
        if reasoning.get("mode") not in (None, "standard"):
            raise unpriced("reasoning.mode", "only the standard mode is priced")
        if reasoning.get("context") not in (None, "auto"):
            ignored.append("reasoning.context")
    return out


def _read_format(found: dict[str, Any], kind: str) -> dict[str, Any]:
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if kind != "json_schema":
        raise wrong("text.format.type", "'text', 'json_object' or 'json_schema'")
    schema: dict[str, Any] = {
        "name": member_text(found, "name", "text.format"),
        "schema": as_object(found.get("schema"), "text.format.schema"),
    }
    schema |= {name: found[name] for name in ("description", "strict") if found.get(name) is not None}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
