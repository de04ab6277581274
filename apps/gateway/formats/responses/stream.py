"""Canonical events as those of OpenAI's Responses: numbered events about numbered output items."""

from collections.abc import Mapping
from typing import Any

from apps.core.errors import FaucetError
from apps.gateway.formats.events import (
    first_choice,
    function_of,
    objects_of,
    read_chunks,
    reasoning_of,
    text_or,
    texts_of,
    write_event,
    write_note,
)
from apps.gateway.formats.responses.answer import (
    call_item,
    ending,
    free_text,
    item_id,
    message_item,
    output_text,
    reasoning_item,
    response,
    status_of,
)
from apps.gateway.formats.responses.reasoning import signatures
from apps.gateway.metering import BrokenAnswer
from apps.usage.rate import Tokens

# The last event repeats the whole answer, so it is kept: no more of it than of an answer in one piece (bytes).
MAX_KEPT = 64_000_000
MAX_ITEMS = 1_000


class _Item:
    """An output item in the making. `kind`: reasoning, message or call."""

    __slots__ = ("blocks", "call_id", "done", "identity", "index", "kind", "name", "part", "parts", "text")

    def __init__(self, kind: str, index: int) -> None:
        self.kind, self.index = kind, index
        self.identity = self.call_id = self.name = ""
        self.text: list[str] = []  # of the open part; a call's arguments; the reasoning
        self.part = ""  # kind of the open part of a message
        self.parts: list[dict[str, Any]] = []  # those that are over
        self.blocks: list[dict[str, Any]] = []
        self.done: dict[str, Any] | None = None


class ResponsesEncoder:
    """One streamed answer."""

    def __init__(self, client: Mapping[str, Any], request_id: str) -> None:
        self._client = client
        self._request_id = request_id
        self._out: list[bytes] = []
        self._number = 0
        self._base: dict[str, Any] | None = None  # the response object as it began
        self._items: list[_Item] = []
        self._said: _Item | None = None  # the open reasoning or message
        self._calls: dict[int, _Item] = {}
        self._choice: dict[str, Any] = {}
        self._kept = 0

    def feed(self, events: bytes) -> bytes:
        for chunk in read_chunks(events):
            if chunk is None:
                self._out.append(b": keep-alive\n\n")
                continue
            self._start(chunk)
            choice = first_choice(chunk)
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._delta(delta)
            if isinstance(choice.get("finish_reason"), str):
                self._choice = {"finish_reason": choice["finish_reason"]}
                self._end_all()
        return self._take()

    def finish(self, note: Mapping[str, object], *, usage: Tokens) -> bytes:
        base = self._start({})
        self._end_all()
        status, details = status_of(self._choice)
        self._out.append(write_note(note))
        self._emit(f"response.{status}", response=base | ending(status, details, self._output(), usage))
        return self._take()

    def fail(self, error: FaucetError) -> bytes:
        base = self._start({})
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"  # OpenAI's list is closed
        said = {"code": code, "message": error.message, "type": error.code, "param": error.param}
        done = {"status": "failed", "error": said, "output": self._output()}
        self._emit("response.failed", response=base | done)
        return self._take()

    def _take(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _emit(self, kind: str, **data: Any) -> None:
        self._out.append(write_event(kind, {"sequence_number": self._number, **data}))
        self._number += 1

    def _about(self, item: _Item, kind: str, **data: Any) -> None:
        self._emit(f"response.{kind}", item_id=item.identity, output_index=item.index, **data)

    def _output(self) -> list[dict[str, Any]]:
        return [item.done for item in self._items if item.done is not None]

    def _start(self, chunk: Mapping[str, Any]) -> dict[str, Any]:
        if self._base is None:
            self._base = response(chunk, self._client, self._request_id)
            self._emit("response.created", response=self._base)
            self._emit("response.in_progress", response=self._base)
        return self._base

    def _delta(self, delta: dict[str, Any]) -> None:
        if text := reasoning_of(delta):
            self._reason(text)
        if self._client["encrypted"] and (blocks := objects_of(delta, "thinking_blocks")):
            item = self._said_item("reasoning")
            item.blocks += blocks
            self._keep(sum(len(text_or(v, "")) for block in blocks for v in block.values()))
        if text := texts_of(delta):
            self._say("output_text", text)
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._say("refusal", refusal)
        for number, call in enumerate(objects_of(delta, "tool_calls")):
            index = call.get("index", number)
            if isinstance(index, int):
                self._call(index, call)

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > MAX_KEPT:
            raise BrokenAnswer("a longer answer than is kept")

    def _add(self, kind: str, prefix: str) -> _Item:
        if len(self._items) == MAX_ITEMS:
            raise BrokenAnswer("too many output items")
        item = _Item(kind, len(self._items))
        item.identity = item_id(prefix, self._request_id, item.index)
        self._items.append(item)
        return item

    def _added(self, item: _Item, value: dict[str, Any]) -> None:
        self._emit("response.output_item.added", output_index=item.index, item=value)

    def _said_item(self, kind: str) -> _Item:
        """Return the open item of this kind; another one that was open is over."""
        if self._said is None or self._said.kind != kind:
            self._end_said()
            self._said = item = self._add(kind, "rs" if kind == "reasoning" else "msg")
            empty = {"id": item.identity, "type": "reasoning", "summary": []}
            self._added(item, empty if kind == "reasoning" else message_item(item.identity, [], "in_progress"))
        return self._said

    def _reason(self, text: str) -> None:
        item = self._said_item("reasoning")
        if not item.text:
            self._about(item, "reasoning_summary_part.added", summary_index=0, part=_summary(""))
        item.text.append(text)
        self._keep(len(text))
        self._about(item, "reasoning_summary_text.delta", summary_index=0, delta=text)

    def _say(self, kind: str, text: str) -> None:
        item = self._said_item("message")
        if item.part != kind:
            self._end_part(item)
            item.part = kind
            self._about(item, "content_part.added", content_index=len(item.parts), part=_part(kind, ""))
        item.text.append(text)
        self._keep(len(text))
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        self._about(item, f"{kind}.delta", content_index=len(item.parts), delta=text, **more)

    def _call(self, index: int, part: dict[str, Any]) -> None:
        name, arguments = function_of(part)
        item = self._calls.get(index)
        if item is None:
            if not name:
                raise BrokenAnswer("a tool call that does not begin with its name")
            if self._client["encrypted"] and (blocks := signatures([part])):
                self._said_item("reasoning").blocks += blocks
                self._keep(len(blocks[0]["signature"]))
            self._end_said()
            item = self._calls[index] = self._add("call", "ctc" if name in self._client["custom"] else "fc")
            item.name = name
            item.call_id = text_or(part.get("id"), item_id("call", self._request_id, item.index))
            self._added(item, self._call_value(item, "", "in_progress"))
        elif item.done is not None:
            if arguments.strip():
                raise BrokenAnswer("arguments of a call that was over")
            return
        if arguments:
            item.text.append(arguments)
            self._keep(len(arguments))
            if item.name not in self._client["custom"]:
                self._about(item, "function_call_arguments.delta", delta=arguments)

    def _call_value(self, item: _Item, arguments: str, status: str) -> dict[str, Any]:
        return call_item(lambda _: item.identity, item.call_id, item.name, arguments, status, self._client)

    def _end_part(self, item: _Item) -> None:
        if item.part:
            kind, text, place = item.part, "".join(item.text), len(item.parts)
            value = _part(kind, text)
            if kind == "output_text":
                self._about(item, "output_text.done", content_index=place, text=text, logprobs=[])
            else:
                self._about(item, "refusal.done", content_index=place, refusal=text)
            self._about(item, "content_part.done", content_index=place, part=value)
            item.parts.append(value)
            item.part, item.text = "", []

    def _end_said(self) -> None:
        item, self._said = self._said, None
        if item is None:
            return
        if item.kind == "message":
            self._end_part(item)
            self._done(item, message_item(item.identity, item.parts, status_of(self._choice)[0]))
            return
        text = "".join(item.text)
        if text:
            self._about(item, "reasoning_summary_text.done", summary_index=0, text=text)
            self._about(item, "reasoning_summary_part.done", summary_index=0, part=_summary(text))
        value = reasoning_item(item.identity, text, item.blocks, self._client)
        self._done(item, value or {"id": item.identity, "type": "reasoning", "summary": []})

    def _end_all(self) -> None:
        self._end_said()
        for item in self._calls.values():
            if item.done is None:
                arguments = "".join(item.text)
                if item.name in self._client["custom"]:
                    text = free_text(arguments)
                    self._about(item, "custom_tool_call_input.delta", delta=text)
                    self._about(item, "custom_tool_call_input.done", input=text)
                else:
                    self._about(item, "function_call_arguments.done", arguments=arguments)
                self._done(item, self._call_value(item, arguments, status_of(self._choice)[0]))

    def _done(self, item: _Item, value: dict[str, Any]) -> None:
        item.done, item.text = value, []
        self._emit("response.output_item.done", output_index=item.index, item=value)


def _part(kind: str, text: str) -> dict[str, Any]:
    return output_text(text) if kind == "output_text" else {"type": "refusal", "refusal": text}


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}
