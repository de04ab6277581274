"""Putting the values back into an answer: a whole one, or a stream in which a placeholder may be in pieces."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from apps.gateway.privacy.answers import (
    CALLS,
    Place,
    begins_json,
    delta_with,
    furthest,
    is_silent,
    objects,
    rank_of,
    slots_of,
)
from apps.gateway.privacy.jsontext import quote
from apps.gateway.privacy.placeholders import FORM

# A model may be asked to repeat the placeholder of a long text: an answer grows by no more than so many characters.
MOST_GROWTH = 4_000_000
# An event longer than this is not one; it is forwarded as it came.
MOST_EVENT = 8_000_000

_decode = msgspec.json.decode
_encode = msgspec.json.Encoder().encode
# The brackets of a chunk with nothing but texts; one with more is decoded.
_FRAME = (b'"choices":[', b'"choices": [', b"[DONE]")
# An encoder may spell ASCII as escapes. None is known to, but a value that stays away is a wrong answer.
_ESCAPED = re.compile(rb"\\u00[2-7]")


class Restorer:
    """Restore the values of one request in its answer: one body, or one stream.

    `originals` are the values by placeholder, `choices` is how many the request asked for. Placeholders that are not
    among them stay as they are, and so do signed thinking blocks, which must come back as the model wrote them.
    """

    __slots__ = ("_base", "_choices", "_held", "_json", "_openings", "_originals", "_pending", "_prefixes", "_room")

    def __init__(self, originals: Mapping[str, str], *, choices: int = 1) -> None:
        self._originals = originals
        self._prefixes = frozenset(name[:length] for name in originals for length in range(1, len(name)))
        self._choices = choices
        self._room = MOST_GROWTH
        self._pending = b""
        self._held: dict[int, dict[Place, str]] = {}  # by choice: the beginnings of what may be placeholders
        self._json: dict[int, bool] = {}  # by choice: whether its content is JSON
        self._openings: dict[int, str] = {}  # what is known of a content that does not tell yet
        self._base: dict[str, Any] = {}  # id, model and the like, for chunks of our own

    def restore_json(self, body: bytes) -> bytes:
        """Return a chat completion with the values in it; as it came where it holds none or is no JSON."""
        if not self._originals or not ((b"[" in body and b"_" in body) or _ESCAPED.search(body)):
            return body
        try:
            answer = _decode(body)
        except (msgspec.DecodeError, RecursionError):
            return body
        changed = False
        for choice in objects(answer, "choices"):
            for slot in slots_of(choice.get("message")):
                is_json = bool(begins_json(slot.text)) if slot.is_json is None else slot.is_json
                restored = self._restore(slot.text, is_json)
                changed = changed or restored != slot.text
                slot.holder[slot.key] = restored
        return _encode(answer) if changed else body

    def restore_text(self, text: str) -> str:
        """Return a plain text with the values in it."""
        return self._restore(text, False)

    def feed(self, events: bytes) -> bytes:
        """Take bytes of a canonical stream and return whole events with the values in them.

        A placeholder is put together from the pieces of one text of one choice: its content, its reasoning, the
        arguments of one call. What may be the beginning of one is held until that is known; what a model writes
        before (reasoning, then content, then calls) is let go when something later begins, all of it with the finish
        reason. Events that need no change are returned as they came.
        """
        if self._pending:
            events = self._pending + events
            self._pending = b""
        if not events.endswith(b"\n\n"):
            cut = events.rfind(b"\n\n") + 2
            if cut == 1:
                if len(events) > MOST_EVENT:
                    return events
                cut = 0
            self._pending = events[cut:]
            events = events[:cut]
        if not events or not self._originals or self._is_plain(events):
            return events
        return b"".join(self._take_event(event + b"\n\n") for event in events[:-2].split(b"\n\n"))

    def flush(self) -> bytes:
        """Return what is held at the end of a stream: nothing, where it had a finish reason and whole events."""
        rest, self._pending = self._pending.strip(b"\r\n"), b""
        last = self.feed(rest + b"\n\n") if rest else b""
        return last + self._release(self._held)

    def _is_plain(self, events: bytes) -> bool:
        """Tell without decoding that there is no bracket in any text, and nothing else to learn."""
        if self._held or _ESCAPED.search(events) or events.count(b"[") != sum(map(events.count, _FRAME)):
            return False
        if len(self._json) >= self._choices:
            return True
        # The beginning of a content tells whether it is JSON.
        return events.count(b'"content":') == events.count(b'"content":""') + events.count(b'"content":null')

    def _take_event(self, event: bytes) -> bytes:
        payload = event.removeprefix(b"data:").strip()
        if payload == b"[DONE]":
            return self._release(self._held) + event
        try:
            chunk = _decode(payload) if event.startswith(b"data:") else None
        except (msgspec.DecodeError, RecursionError):
            return event
        choices = objects(chunk, "choices")
        if not choices or not isinstance(chunk, dict):
            return event
        self._base = {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
        before: list[bytes] = []
        kept: list[dict[str, Any]] = []
        changed = False
        for choice in choices:
            is_changed = self._take_choice(choice, before)
            changed = changed or is_changed
            if not is_changed or choice.get("finish_reason") is not None or not is_silent(choice):
                kept.append(choice)
        if not changed:
            return b"".join([*before, event])
        if kept or chunk.get("usage"):
            before.append(b"data: " + _encode({**chunk, "choices": kept}) + b"\n\n")
        return b"".join(before)

    def _take_choice(self, choice: dict[str, Any], before: list[bytes]) -> bool:
        """Restore a choice in place and tell whether it changed; what has to be sent ahead of it goes to `before`."""
        index = choice.get("index")
        number = index if isinstance(index, int) else 0
        delta = choice.get("delta")
        # What ranks below this has ended.
        rank = furthest(delta) if choice.get("finish_reason") is None else CALLS + 1
        held = self._held.pop(number, {})
        changed = False
        still: dict[Place, str] = {}
        for slot in slots_of(delta):
            text = held.pop(slot.place, "") + still.pop(slot.place, "") + slot.text
            is_json = self._learn(number, slot.text) if slot.is_json is None else slot.is_json
            if rank_of(slot.place) >= rank and (at := text.rfind("[")) >= 0 and text[at:] in self._prefixes:
                still[slot.place] = text[at:]
                text = text[:at]
            restored = self._restore(text, is_json)
            changed = changed or restored != slot.text
            slot.holder[slot.key] = restored
        ended = {place: text for place, text in held.items() if rank_of(place) < rank}
        before.append(self._release({number: ended}))
        still |= {place: text for place, text in held.items() if place not in ended}
        if still:
            self._held[number] = still
        return changed

    def _learn(self, number: int, text: str) -> bool:
        """Tell whether the content of a choice is JSON, as far as that is known."""
        known = self._json.get(number)
        if known is None:
            opening = (self._openings.pop(number, "") + text).lstrip()[:2]
            known = begins_json(opening)
            if known is None:
                self._openings[number] = opening
            else:
                self._json[number] = known
        return bool(known)

    def _release(self, held: Mapping[int, Mapping[Place, str]]) -> bytes:
        """Return events with what was held, which is then no placeholder."""
        out: Iterable[bytes] = [
            b"data: "
            + _encode(
                {**self._base, "choices": [{"index": number, "delta": delta_with(dict(texts)), "finish_reason": None}]}
            )
            + b"\n\n"
            for number, texts in held.items()
            if texts
        ]
        if held is self._held:
            self._held = {}
        return b"".join(out)

    def _restore(self, text: str, is_json: bool) -> str:
        if "[" not in text:
            return text

        def put(match: re.Match[str]) -> str:
            value = self._originals.get(match[0])
            if value is None:
                return match[0]
            if is_json:
                value = quote(value)[1:-1]
            growth = len(value) - len(match[0])
            if growth > self._room:
                return match[0]
            self._room -= max(growth, 0)
            return value

        return FORM.sub(put, text)
