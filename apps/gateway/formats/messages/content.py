"""Anthropic's content blocks as canonical messages."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.gateway.formats.reading import (
    Conversation,
    as_array,
    as_object,
    as_text,
    flat,
    kind_of,
    member_text,
    signed_call,
    unsupported,
)
from apps.gateway.wire import unpriced, wrong

_encode = msgspec.json.Encoder().encode
# What a call of a tool that Anthropic runs leaves in a conversation.
_OF_SERVER_TOOLS = ("server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "container_upload")


def add_message(message: Any, where: str, conversation: Conversation) -> None:
    """Add one of Anthropic's messages; tool results become messages of their own, ahead of what else it says."""
    found = as_object(message, where)
    role = member_text(found, "role", where)
    content = found.get("content")
    if role not in ("user", "assistant", "system"):
        raise wrong(f"{where}.role", "'user', 'assistant' or 'system'")
    if isinstance(content, str):
        conversation.add({"role": role, "content": content}, where)
        return
    blocks = as_array(content, f"{where}.content")
    if role == "assistant":
        _add_assistant(blocks, f"{where}.content", where, conversation)
    else:
        _add_user(role, blocks, f"{where}.content", where, conversation)


def read_system(system: Any, conversation: Conversation) -> None:
    """Add the system prompt: a string, or text blocks."""
    if isinstance(system, str):
        if system:
            conversation.add({"role": "system", "content": system}, "system")
    elif system is not None:
        parts = []
        for position, block in enumerate(as_array(system, "system")):
            where = f"system[{position}]"
            found, kind = kind_of(block, where)
            if kind != "text":
                raise wrong(f"{where}.type", "'text'")
            parts.append(_text(found, where))
        if parts:
            conversation.add({"role": "system", "content": flat(parts)}, "system")


def marked(part: dict[str, Any], block: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return `part` with the block's cache_control. Raises BadRequest for a lifetime that has no price."""
    control = block.get("cache_control")
    if control is not None:
        name = f"{where}.cache_control".lstrip(".")
        if as_object(control, name).get("ttl") not in (None, "5m"):
            raise unpriced(f"{name}.ttl", "only a cache_control ttl of 5m is priced")
        part["cache_control"] = {"type": "ephemeral"}
    return part


def _text(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    return marked({"type": "text", "text": member_text(block, "text", where)}, block, where)


def _add_user(role: str, blocks: list[Any], where: str, origin: str, conversation: Conversation) -> None:
    parts: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for position, block in enumerate(blocks):
        at = f"{where}[{position}]"
        found, kind = kind_of(block, at)
        if kind == "tool_result" and role == "user":
            conversation.add(_tool_result(found, at, shown), at)
        else:
            parts += _parts(found, kind, at)
    # Chat completions take no image from a tool: it is shown by the user, right after.
    if shown or parts or not blocks:
        conversation.add({"role": role, "content": flat([*shown, *parts]) if shown or parts else ""}, origin)


def _tool_result(block: dict[str, Any], where: str, shown: list[dict[str, Any]]) -> dict[str, Any]:
    call = member_text(block, "tool_use_id", where)
    content = block.get("content")
    parts: list[dict[str, Any]] = []
    if isinstance(content, str):
        parts = [{"type": "text", "text": content}]
    elif content is not None:
        for position, inner in enumerate(as_array(content, f"{where}.content")):
            at = f"{where}.content[{position}]"
            parts += _parts(*kind_of(inner, at), at)
    if block.get("is_error") is True:
        parts.insert(0, {"type": "text", "text": "Error:"})
    texts = [part for part in parts if part["type"] == "text"]
    others = [part for part in parts if part["type"] != "text"]
    if others:
        texts.append({"type": "text", "text": f"(What tool call {call} returned beside this follows.)"})
        shown += [{"type": "text", "text": f"Returned by tool call {call}:"}, *others]
    if texts:
        marked(texts[-1], block, where)
    result = flat(texts) if any("cache_control" in text for text in texts) else "\n".join(t["text"] for t in texts)
    return {"role": "tool", "tool_call_id": call, "content": result}


def _parts(block: dict[str, Any], kind: str, where: str) -> list[dict[str, Any]]:
    """Return a block that a user or a tool may say as canonical content parts."""
    if kind == "text":
        return [_text(block, where)]
    if kind == "image":
        return [marked(_image(block, where), block, where)]
    if kind == "document":
        return _document(block, where)
    if kind == "search_result":
        return _search_result(block, where)
    if kind == "tool_result":
        raise wrong(f"{where}.type", "a block that this role can say; a tool_result is the user's")
    raise _foreign(kind, where)


def _foreign(kind: str, where: str) -> Exception:
    if kind in _OF_SERVER_TOOLS or kind.endswith("_tool_result"):
        return unsupported(where, "tools that the provider runs are not offered")
    return wrong(f"{where}.type", "a type of content block that is known here")


def _image(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    source, kind = kind_of(block.get("source"), f"{where}.source")
    if kind == "base64":
        media = member_text(source, "media_type", f"{where}.source")
        url = f"data:{media};base64,{member_text(source, 'data', f'{where}.source')}"
    elif kind == "url":
        url = member_text(source, "url", f"{where}.source")
    else:
        raise unsupported(f"{where}.source", "no files are kept; send the image as base64 or as a url")
    return {"type": "image_url", "image_url": {"url": url}}


def _document(block: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    source, kind = kind_of(block.get("source"), f"{where}.source")
    title = block.get("title")
    name = as_text(title, f"{where}.title") if title is not None else None
    if kind == "base64":
        media = member_text(source, "media_type", f"{where}.source")
        data = f"data:{media};base64,{member_text(source, 'data', f'{where}.source')}"
        parts = [{"type": "file", "file": {"filename": name or "document.pdf", "file_data": data}}]
    elif kind == "text":
        parts = [{"type": "text", "text": member_text(source, "data", f"{where}.source")}]
    elif kind == "content":
        parts = _nested(source.get("content"), f"{where}.source.content")
    elif kind == "url":
        raise unpriced(f"{where}.source", "how long something is that is only referenced is not known")
    else:
        raise unsupported(f"{where}.source", "no files are kept; send the document as base64 or as text")
    said = [text for text in (name, block.get("context")) if isinstance(text, str) and text]
    if said and kind != "base64":
        parts.insert(0, {"type": "text", "text": "\n".join(said)})
    if parts:
        marked(parts[-1], block, where)
    return parts


def _nested(content: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts = []
    for position, block in enumerate(as_array(content, where)):
        found, kind = kind_of(block, f"{where}[{position}]")
        if kind not in ("text", "image"):
            raise wrong(f"{where}[{position}].type", "'text' or 'image'")
        parts += _parts(found, kind, f"{where}[{position}]")
    return parts


def _search_result(block: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    head = f"{member_text(block, 'title', where)}\n{member_text(block, 'source', where)}"
    parts = [{"type": "text", "text": head}, *_nested(block.get("content"), f"{where}.content")]
    marked(parts[-1], block, where)
    return parts


def _add_assistant(blocks: list[Any], where: str, origin: str, conversation: Conversation) -> None:
    """Add what the model said before: text, calls, and its thinking, which goes back to who can verify it."""
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    signed: list[dict[str, Any]] = []
    unsigned: list[str] = []
    for position, block in enumerate(blocks):
        at = f"{where}[{position}]"
        found, kind = kind_of(block, at)
        if kind == "text":
            parts.append(_text(found, at))
        elif kind == "tool_use":
            calls.append(_tool_use(found, at))
        elif kind == "thinking":
            text = member_text(found, "thinking", at)
            if signature := found.get("signature"):
                known = {"type": kind, "thinking": text, "signature": as_text(signature, f"{at}.signature")}
                signed.append(known)
            else:
                unsigned.append(text)
        elif kind == "redacted_thinking":
            signed.append({"type": kind, "data": member_text(found, "data", at)})
        else:
            raise _foreign(kind, at)
    message: dict[str, Any] = {"role": "assistant"}
    if any("cache_control" in part for part in parts):
        message["content"] = flat(parts)
    else:
        message["content"] = "".join(part["text"] for part in parts) or (None if calls else "")
    if calls:
        message["tool_calls"] = calls
    if signed:
        message["thinking_blocks"] = signed
    if unsigned:
        message["reasoning_content"] = "".join(unsigned)
    conversation.add(message, origin)


def _tool_use(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    arguments = as_object(block.get("input") if block.get("input") is not None else {}, f"{where}.input")
    function = {"name": member_text(block, "name", where), "arguments": _encode(arguments).decode()}
    call = {"id": member_text(block, "id", where), "type": "function", "function": function}
    if signature := block.get("signature"):
        call = signed_call(call, as_text(signature, f"{where}.signature"))
    return marked(call, block, where)
