"""The input of a Responses request, items of many kinds, as canonical messages."""

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.gateway.formats.reading import (
    Conversation,
    as_array,
    as_object,
    flat,
    kind_of,
    member_text,
    signed_call,
    unsupported,
)
from apps.gateway.formats.responses.reasoning import CALL_SIGNATURE, unpack
from apps.gateway.wire import unpriced, wrong

_encode = msgspec.json.Encoder().encode
_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
_ROLES = ("user", "assistant", "system", "developer")


def read_input(given: Any, conversation: Conversation) -> None:
    """Add the input: a text, or items."""
    if isinstance(given, str):
        conversation.add({"role": "user", "content": given}, "input")
        return
    if not isinstance(given, list):
        raise wrong("input", "a string or an array of items")
    items = _Items(conversation)
    for position, item in enumerate(given):
        items.take(as_object(item, f"input[{position}]"), f"input[{position}]")
    items.end_turn()


class _Items:
    """Items on their way into messages: what the model said in one turn becomes one message."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.turn: dict[str, Any] | None = None  # the model's turn that goes on
        self.origin = ""
        self.signatures: dict[str, str] = {}  # Gemini's, by call
        self.shown: list[dict[str, Any]] = []  # what tools returned beside text

    def take(self, item: dict[str, Any], where: str) -> None:
        kind = member_text(item, "type", where) if item.get("type") is not None or "role" not in item else "message"
        if kind == "message":
            self._message(item, where)
        elif kind == "function_call":
            self._call(item, member_text(item, "arguments", where), where)
        elif kind == "custom_tool_call":
            self._call(item, _encode({"input": member_text(item, "input", where)}).decode(), where)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._output(item, where)
        elif kind == "reasoning":
            self._reasoning(item, where)
        elif kind == "item_reference":
            raise unsupported(where, "nothing is stored; send the item itself")
        else:
            raise unsupported(where, "it is no message, function call, output or reasoning")

    def end_turn(self) -> None:
        """Add the turn that went on, and then what tools showed: chat completions take no image from a tool."""
        turn, self.turn = self.turn, None
        if turn is not None and (turn.get("content") or turn.get("tool_calls")):
            turn.setdefault("content", None)
            self.conversation.add(turn, self.origin)
        if self.shown:
            self.conversation.add({"role": "user", "content": self.shown}, self.origin)
            self.shown = []

    def _begin(self, where: str) -> dict[str, Any]:
        if self.turn is None or self.shown:
            self.end_turn()
            self.turn, self.origin = {"role": "assistant"}, where
        return self.turn

    def _message(self, item: dict[str, Any], where: str) -> None:
        role = member_text(item, "role", where)
        if role not in _ROLES:
            raise wrong(f"{where}.role", "'user', 'assistant', 'system' or 'developer'")
        content = item.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else _parts(content, f"{where}.content")
        if role != "assistant":
            self.end_turn()
            # Most providers know a developer by the older name only.
            role = "system" if role == "developer" else role
            self.conversation.add({"role": role, "content": flat(parts) if parts else ""}, where)
            return
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        if self.turn is not None and self.turn.get("content") and not self.turn.get("tool_calls"):
            self.end_turn()
        turn = self._begin(where)
        turn["content"] = "\n".join(filter(None, (turn.get("content"), text)))

    def _call(self, item: Mapping[str, Any], arguments: str, where: str) -> None:
        function = {"name": member_text(item, "name", where), "arguments": arguments}
        call: dict[str, Any] = {"id": member_text(item, "call_id", where), "type": "function", "function": function}
        if signature := self.signatures.get(call["id"]):
            call = signed_call(call, signature)
        self._begin(where).setdefault("tool_calls", []).append(call)

    def _output(self, item: Mapping[str, Any], where: str) -> None:
        call = member_text(item, "call_id", where)
        shown, self.shown = self.shown, []  # outputs of one turn stay together
        self.end_turn()
        self.shown, self.origin = shown, where
        output = item.get("output")
        parts = [{"type": "text", "text": output}] if isinstance(output, str) else _parts(output, f"{where}.output")
        texts = [part["text"] for part in parts if part["type"] == "text"]
        others = [part for part in parts if part["type"] != "text"]
        if others:
            texts.append(f"(What tool call {call} returned beside this follows.)")
            self.shown += [{"type": "text", "text": f"Returned by tool call {call}:"}, *others]
        self.conversation.add({"role": "tool", "tool_call_id": call, "content": "\n".join(texts)}, where)

    def _reasoning(self, item: Mapping[str, Any], where: str) -> None:
        blocks = []
        for block in unpack(item.get("encrypted_content")):
            if block["type"] != CALL_SIGNATURE:
                blocks.append(block)
            elif isinstance(call := block.get("call_id"), str) and isinstance(signed := block.get("signature"), str):
                self.signatures[call] = signed
        if blocks:
            self._begin(where).setdefault("thinking_blocks", []).extend(blocks)
            return
        parts = _parts(item.get("content") or item.get("summary") or [], f"{where}.summary")
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        if text:
            turn = self._begin(where)
            turn["reasoning_content"] = "\n".join(filter(None, (turn.get("reasoning_content"), text)))


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    return [_part(*kind_of(part, f"{where}[{n}]"), f"{where}[{n}]") for n, part in enumerate(as_array(content, where))]


def _part(part: dict[str, Any], kind: str, where: str) -> dict[str, Any]:
    """Return one content part in canonical form."""
    if kind in _TEXTS:
        return {"type": "text", "text": member_text(part, "text", where)}
    if kind == "refusal":
        return {"type": "text", "text": member_text(part, "refusal", where)}
    if kind == "input_image":
        if part.get("file_id") is not None:
            raise unsupported(f"{where}.file_id", "no files are kept; send the image as a data URL")
        image = {"url": member_text(part, "image_url", where)}
        if isinstance(part.get("detail"), str):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        if part.get("file_id") is not None:
            raise unsupported(f"{where}.file_id", "no files are kept; send file_data")
        if part.get("file_url") is not None:
            raise unpriced(f"{where}.file_url", "how long something is that is only referenced is not known")
        file = {"file_data": member_text(part, "file_data", where)}
        file["filename"] = part["filename"] if isinstance(part.get("filename"), str) else "file"
        return {"type": "file", "file": file}
    if kind == "input_audio":
        raise unpriced(where, "audio has its own prices")
    raise wrong(f"{where}.type", "a type of content part that is known here")
