"""A canonical request as a body for generateContent.

Sources: https://ai.google.dev/api/generate-content, …/gemini-api/docs/thinking, …/docs/thought-signatures.
"""

import re
from typing import Any

import msgspec

from apps.gateway.providers.base import unsupported
from apps.gateway.providers.canonical import Members, ToolChoice, encode_body, read_tools
from apps.gateway.providers.conversation import (
    Data,
    Item,
    Link,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
    read_conversation,
)
from apps.gateway.wire import ChatRequest

# Budgets in tokens for models that take one, and levels for those since Gemini 3: Google's own mapping of efforts.
_BUDGETS = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_NAMED = re.compile(r"gemini-(\d+)")
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
# Google's word for calls whose signature is not known, those of another provider for example.
NO_SIGNATURE = "skip_thought_signature_validator"
_FILES = re.compile(r"gs://|https://generativelanguage\.googleapis\.com/v1[a-z0-9]*/files/")


def render_content(request: ChatRequest, *, model: str, output_cap: int) -> bytes:
    """Return the body. Raises BadRequest, with unsupported_by_provider for what the format cannot say."""
    members = Members(request)
    members.refuse(("logit_bias",))
    conversation = read_conversation(members)
    body: dict[str, Any] = {"contents": [_content(turn, model) for turn in conversation.turns]}
    if conversation.system:
        body["systemInstruction"] = {"parts": [{"text": part.text} for part in conversation.system]}
    tools, choice = read_tools(members)
    if tools:
        if not choice.parallel:
            raise unsupported("parallel_tool_calls", "it cannot be held to one call")
        body["tools"] = [
            {
                "functionDeclarations": [
                    {
                        "name": tool.name,
                        **({"description": tool.description} if tool.description else {}),
                        "parametersJsonSchema": tool.parameters,
                    }
                    for tool in tools
                ]
            }
        ]
        if choice != ToolChoice("auto"):
            body["toolConfig"] = {"functionCallingConfig": _choice(choice)}
    body["generationConfig"] = _config(request, members, model, output_cap)
    return encode_body(body)


def _config(request: ChatRequest, members: Members, model: str, output_cap: int) -> dict[str, Any]:
    config: dict[str, Any] = {"maxOutputTokens": output_cap}
    if request.choices > 1:
        config["candidateCount"] = request.choices
    given = {
        "temperature": members.number("temperature", 0, 2),
        "topP": members.number("top_p", 0, 1),
        "topK": members.whole("top_k"),
        "seed": members.whole("seed"),
        "presencePenalty": members.number("presence_penalty", -2, 2),
        "frequencyPenalty": members.number("frequency_penalty", -2, 2),
        "stopSequences": members.stop() or None,
    }
    config |= {name: value for name, value in given.items() if value is not None}
    if members.flag("logprobs"):
        config["responseLogprobs"] = True
        if (top := members.whole("top_logprobs")) is not None:
            config["logprobs"] = top
    schema = members.schema()
    if schema is not None:
        config["responseMimeType"] = "application/json"
        if schema:
            config["responseJsonSchema"] = schema
    if thinking := _thinking(members, model, output_cap):
        config["thinkingConfig"] = thinking
    return config


def _thinking(members: Members, model: str, output_cap: int) -> dict[str, Any] | None:
    given, effort = members.mapping("thinking"), members.effort()
    if effort is None:
        if given is None:
            return None
        budget = given.get("budget_tokens")
        if given.get("type") == "enabled" and isinstance(budget, int):
            # Thinking counts towards the output limit: leave half of it for the answer.
            return {"includeThoughts": True, "thinkingBudget": min(budget, output_cap // 2)}
        return {"thinkingBudget": 0} if given.get("type") == "disabled" else {"includeThoughts": True}
    if not _has_levels(model):
        return {"thinkingBudget": _BUDGETS[effort], "includeThoughts": effort != "none"}
    if effort == "none":
        raise unsupported("reasoning_effort", "this model always thinks")
    # The larger models have no level below `low`.
    level = "low" if effort == "minimal" and "flash" not in model else _LEVELS[effort]
    return {"thinkingLevel": level, "includeThoughts": True}


def _has_levels(model: str) -> bool:
    named = _NAMED.search(model)
    return named is not None and int(named[1]) >= 3


def _choice(choice: ToolChoice) -> dict[str, Any]:
    made: dict[str, Any] = {"mode": _MODES[choice.mode]}
    if choice.mode == "named":
        made["allowedFunctionNames"] = [choice.name]
    return made


def _content(turn: Turn, model: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    calls = 0
    for item in turn.items:
        if isinstance(item, ToolCall):
            call: dict[str, Any] = {
                "functionCall": {"id": item.id, "name": item.name, "args": item.arguments},
            }
            # The first call of a turn carries the signature; these models refuse a turn without one.
            signature = item.signature or (NO_SIGNATURE if calls == 0 and _has_levels(model) else None)
            if signature:
                call["thoughtSignature"] = signature
            calls += 1
            parts.append(call)
        elif isinstance(item, ToolResult):
            parts.append(_result(item))
            images += [_part(part) for part in item.parts if not isinstance(part, Text)]
        elif not isinstance(item, Thinking):
            parts.append(_part(item))
    return {"role": "model" if turn.role == "assistant" else "user", "parts": [*parts, *images]}


def _result(item: ToolResult) -> dict[str, Any]:
    text = "".join(part.text for part in item.parts if isinstance(part, Text))
    response: Any = None
    if text.lstrip().startswith("{") and not item.failed:
        try:
            response = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            response = None
    if not isinstance(response, dict):
        response = {"error" if item.failed else "output": text}
    return {"functionResponse": {"id": item.id, "name": item.name, "response": response}}


def _part(item: Item) -> dict[str, Any]:
    if isinstance(item, Data):
        return {"inlineData": {"mimeType": item.media_type, "data": item.data}}
    if isinstance(item, Link):
        if _FILES.match(item.url):
            return {"fileData": {"fileUri": item.url}}
        raise unsupported(item.where, "it fetches no images; send them as data URLs")
    assert isinstance(item, Text)
    return {"text": item.text}
