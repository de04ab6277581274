"""A canonical request as a body for /v1/messages.

Source: https://platform.claude.com/docs/en/api/messages.
"""

import re
from typing import Any

from apps.gateway.providers.anthropic.models import follows_schemas, knows_all_efforts, thinks_adaptively
from apps.gateway.providers.base import unsupported
from apps.gateway.providers.canonical import Members, Tool, ToolChoice, encode_body, read_tools, wrong
from apps.gateway.providers.conversation import (
    Cache,
    Conversation,
    Data,
    Item,
    Link,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    read_conversation,
)
from apps.gateway.wire import ChatRequest

LEAST_BUDGET = 1_024
# The share of the output limit that thinking may take where the model wants a budget, as OpenRouter reckons it.
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
_REFUSED = ("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}


def render_messages(request: ChatRequest, *, model: str, output_cap: int) -> bytes:
    """Return the body. Raises BadRequest, with unsupported_by_provider for what the format cannot say."""
    members = Members(request)
    if request.choices > 1:
        raise unsupported("n", "it gives one answer a call")
    members.refuse(_REFUSED)
    conversation = read_conversation(members)
    body: dict[str, Any] = {"model": model, "max_tokens": output_cap}
    body["messages"] = [
        {"role": turn.role, "content": [_block(item) for item in turn.items]} for turn in conversation.turns
    ]
    _trim_prefill(body["messages"][-1])
    if conversation.system:
        body["system"] = [_text(part) for part in conversation.system]
    if request.stream:
        body["stream"] = True
    tools, choice = read_tools(members)
    if tools:
        body["tools"] = [_tool(tool, model) for tool in tools]
        if choice != ToolChoice("auto"):
            body["tool_choice"] = _choice(choice)
    _add_output(body, members, model)
    _add_thinking(body, members, conversation, model, output_cap)
    _add_sampling(body, members)
    if stop := members.stop():
        body["stop_sequences"] = stop
    if user := members.user():
        body["metadata"] = {"user_id": user}
    if cache := members.mapping("cache_control"):
        body["cache_control"] = cache
    return encode_body(body)


def _add_output(body: dict[str, Any], members: Members, model: str) -> None:
    schema = members.schema()
    if schema is None:
        return
    if not schema:
        raise unsupported("response_format", "JSON is only promised for a schema, with type json_schema")
    if not follows_schemas(model):
        raise unsupported("response_format", "this model follows no JSON schema")
    body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}


def _add_thinking(
    body: dict[str, Any], members: Members, conversation: Conversation, model: str, output_cap: int
) -> None:
    """Add thinking: as the caller configured it for Anthropic (`thinking`), else by reasoning_effort."""
    given, effort = members.mapping("thinking"), members.effort()
    kind = given.get("type") if given else None
    if given and kind == ("adaptive" if thinks_adaptively(model) else "enabled"):
        thinking: dict[str, Any] | None = _fitted(given, output_cap)
    elif kind == "disabled" or (given is None and effort == "none"):
        thinking = {"type": "disabled"}
    elif given is None and effort is None:
        return
    elif thinks_adaptively(model):
        thinking = {"type": "adaptive"}
        if knows_all_efforts(model):
            thinking["display"] = "summarized"
    else:
        thinking = _budget(effort or "high", output_cap)
    if thinking is not None and not (thinking["type"] == "enabled" and _goes_on_unsigned(conversation)):
        body["thinking"] = thinking
    if effort not in (None, "none") and thinks_adaptively(model):
        level = {"minimal": "low", "xhigh": "xhigh" if knows_all_efforts(model) else "max"}.get(effort, effort)
        body.setdefault("output_config", {})["effort"] = level


def _budget(effort: str, output_cap: int) -> dict[str, Any] | None:
    """Return thinking with the share of our output cap that goes with an effort; None where there is no room."""
    if effort == "none" or output_cap < 2 * LEAST_BUDGET:
        return None
    return {"type": "enabled", "budget_tokens": max(LEAST_BUDGET, int(output_cap * _SHARES[effort]))}


def _goes_on_unsigned(conversation: Conversation) -> bool:
    """Tell whether the model is to go on after tool calls whose thinking is lost, another provider's for example.

    Models that think within a budget refuse that, so they go on without.
    """
    turns = conversation.turns
    if not any(isinstance(item, ToolResult) for item in turns[-1].items) or len(turns) < 2:
        return False
    return not any(isinstance(item, Thinking) for item in turns[-2].items)


def _fitted(thinking: dict[str, Any], output_cap: int) -> dict[str, Any]:
    """Return the caller's thinking with a budget that leaves room for an answer within our output cap."""
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < output_cap:
        return thinking
    if output_cap < 2 * LEAST_BUDGET:
        raise unsupported("thinking", f"it takes an output limit of at least {2 * LEAST_BUDGET} tokens")
    return {**thinking, "budget_tokens": output_cap // 2}


def _add_sampling(body: dict[str, Any], members: Members) -> None:
    temperature = members.number("temperature", 0, 1)
    top_p, top_k = members.number("top_p", 0, 1), members.whole("top_k")
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        # Thinking goes with the default temperature only; another would be refused by the provider.
        if temperature not in (None, 1):
            raise unsupported("temperature", "it cannot be set together with reasoning")
        if body.get("tool_choice", {}).get("type") in ("any", "tool"):
            raise unsupported("tool_choice", "a tool cannot be forced together with reasoning")
        temperature = None
    for name, value in (("temperature", temperature), ("top_p", top_p), ("top_k", top_k)):
        if value is not None:
            body[name] = value


def _tool(tool: Tool, model: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if "type" not in tool.parameters:
        made["input_schema"] = {"type": "object", **tool.parameters}
    if tool.description:
        made["description"] = tool.description
    if tool.strict and follows_schemas(model):
        made["strict"] = True
    return _cached(made, tool.cache)


def _choice(choice: ToolChoice) -> dict[str, Any]:
    made: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "named":
        made["name"] = choice.name
    if not choice.parallel and choice.mode != "none":
        made["disable_parallel_tool_use"] = True
    return made


def _block(item: Item) -> dict[str, Any]:
    if isinstance(item, Text):
        return _text(item)
    if isinstance(item, Thinking):
        return item.block
    if isinstance(item, ToolCall):
        call = {"type": "tool_use", "id": _id(item.id), "name": item.name, "input": item.arguments}
        return _cached(call, item.cache)
    if isinstance(item, ToolResult):
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(item.id)}
        if item.parts:
            result["content"] = [_block(part) for part in item.parts]
        if item.failed:
            result["is_error"] = True
        return _cached(result, item.cache)
    if isinstance(item, Link):
        if not item.url.startswith("https://"):
            raise wrong(item.where, "an image as an https or a data URL")
        return _cached({"type": "image", "source": {"type": "url", "url": item.url}}, item.cache)
    return _data(item)


def _data(item: Data) -> dict[str, Any]:
    source = {"type": "base64", "media_type": item.media_type, "data": item.data}
    if item.kind == "image":
        return _cached({"type": "image", "source": source}, item.cache)
    if item.media_type != "application/pdf":
        raise unsupported("messages", f"it takes no file of type '{item.media_type}'")
    document: dict[str, Any] = {"type": "document", "source": source}
    if item.name:
        document["title"] = item.name
    return _cached(document, item.cache)


def _text(part: Text) -> dict[str, Any]:
    return _cached({"type": "text", "text": part.text}, part.cache)


def _cached(block: dict[str, Any], cache: Cache) -> dict[str, Any]:
    if cache is not None:
        block["cache_control"] = cache
    return block


def _id(identity: str) -> str:
    # Other providers' ids hold characters that are refused here; call and result are changed alike.
    return _NOT_IN_IDS.sub("_", identity) or "_"


def _trim_prefill(message: dict[str, Any]) -> None:
    """Take trailing blanks off an answer that is to be continued: they are refused."""
    last = message["content"][-1] if message["content"] else None
    if message["role"] == "assistant" and last is not None and last["type"] == "text":
        last["text"] = last["text"].rstrip()
        if not last["text"]:
            message["content"].pop()
