"""Replacing personal data in a request by placeholders, reversibly."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from apps.gateway.privacy.detect import DETECTORS, SHORTEST, Match, detect, may_hold, merge
from apps.gateway.privacy.jsontext import find_fields, is_json, mask_json
from apps.gateway.privacy.literals import Literals, TooMany
from apps.gateway.privacy.placeholders import FIELD, FORM, TEXT, Placeholders
from apps.gateway.privacy.restore import Restorer

# JSON in a string of JSON in a string: beyond this it is searched as text.
_MOST_NESTED = 3

_Members = dict[str, msgspec.Raw]
_decode_string = msgspec.json.Decoder(str).decode
_decode_object = msgspec.json.Decoder(_Members).decode
_decode_objects = msgspec.json.Decoder(list[_Members]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

# Members of a request that hold nothing of a user: settings, and what the app's author wrote.
_SETTINGS = frozenset(
    ["model", "tools", "functions", "tool_choice", "function_call", "response_format", "stream", "stream_options",
     "logit_bias", "modalities", "audio", "service_tier", "reasoning", "reasoning_effort", "thinking", "verbosity",
     "cache_control", "encoding_format"]
)  # fmt: skip
# Members of a message, part or call by which the conversation hangs together.
_FIXED = frozenset(("role", "type", "id", "tool_call_id", "cache_control", "index", "signature"))
_TEXT_PARTS = frozenset(("text", "input_text", "output_text", "refusal", None))


class Redactor:
    """Redact one request: the same value has the same placeholder wherever it stands in it.

    `detectors` are names of DETECTORS, none for all; `sensitive_fields` are names of JSON fields, in any case, whose
    values are masked wholly; `values` are texts that are masked wherever they stand, in any case. Raises ValueError for
    a detector that does not exist.

    Numbers are given in the order in which values appear, so a conversation that grows keeps its placeholders. A
    text that reads like a placeholder of ours survives: its number is not used, or it gets a placeholder itself.
    """

    __slots__ = ("_detectors", "_literals", "_placeholders", "_sensitive", "_sensitive_names", "unredactable")

    def __init__(
        self, detectors: Iterable[str] = (), sensitive_fields: Iterable[str] = (), values: Iterable[str] = ()
    ) -> None:
        self._detectors = tuple(detectors) or DETECTORS
        unknown = set(self._detectors).difference(DETECTORS)
        if unknown:
            raise ValueError(f"no detector: {', '.join(sorted(unknown))}")
        self._sensitive_names = tuple(sorted(sensitive_fields))
        self._sensitive = frozenset(name.casefold() for name in self._sensitive_names)
        self._placeholders = Placeholders()
        self._literals = Literals(values)
        # Whether something was met that cannot be redacted: an image, a file, audio, tokens, too many known values.
        self.unredactable = False

    @property
    def counts(self) -> dict[str, int]:
        """Return how many values were replaced, by detector; `field` counts sensitive fields."""
        return dict(self._placeholders.counts)

    @property
    def growth(self) -> int:
        """Return bytes by which the request is longer at most than it was: all that was written in place of values."""
        return self._placeholders.written

    @property
    def originals(self) -> Mapping[str, str]:
        """Return the values by placeholder, empty where nothing was replaced. They are what must not be logged."""
        return self._placeholders.originals

    def restorer(self, *, choices: int = 1) -> Restorer:
        """Return what puts the values back into the answer to a request for so many choices."""
        return Restorer(self._placeholders.originals, choices=choices)

    def redact_text(self, text: str) -> str:
        """Return a text without what was found in it. JSON stays valid JSON, and only its values change."""
        return self._redact(text, 0)

    def redact_value(self, value: Any) -> Any:
        """Return a JSON value, such as a feature's input, without what was found in it."""
        return msgspec.json.decode(self._redact_raw(msgspec.Raw(_encode(value))))

    def redact_members(self, members: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        """Return a request's members, redacted. What needs no change is the object that was given.

        Tools, response formats and settings are left alone: they are the app's, not its user's. Parts that are no
        text are left too, and `unredactable` is set.
        """
        result = dict(members)
        for name in _SETTINGS.intersection(members):
            # They go to the model as they are, so a placeholder of ours must not read like something in them.
            self._placeholders.reserve(bytes(members[name]).decode(errors="replace"))
        for name, raw in members.items():
            if name in _SETTINGS:
                continue
            if name == "messages":
                result[name] = self._each(raw, self._redact_message)
            elif name in ("input", "prompt"):
                result[name] = self._redact_input(raw)
            elif name == "prediction" and _first(raw) == b"{":
                result[name] = self._object(raw, self._redact_message)
            else:
                result[name] = self._redact_raw(raw)
        return result

    def _redact_message(self, name: str, raw: msgspec.Raw) -> msgspec.Raw:
        if name == "content" and _first(raw) == b"[":
            return self._array(raw, self._redact_part)
        if name == "tool_calls" and _first(raw) == b"[":
            return self._each(raw, self._redact_call)
        if name == "function_call" and _first(raw) == b"{":
            return self._object(raw, self._redact_call)
        if name == "thinking_blocks" and _first(raw) == b"[":
            return self._each(raw, self._redact_thinking)
        if name in ("audio", "images") and bytes(raw) != b"null":
            self.unredactable = True
            return raw
        return self._redact_raw(raw)

    def _redact_call(self, name: str, raw: msgspec.Raw) -> msgspec.Raw:
        if name in ("function", "custom") and _first(raw) == b"{":
            return self._object(raw, self._redact_call)
        return raw if name == "name" else self._redact_raw(raw)

    def _redact_thinking(self, name: str, raw: msgspec.Raw) -> msgspec.Raw:
        # The text is signed. It is what the model wrote, with our placeholders in it, or with the values put back:
        # then the numbering, which does not change as a conversation grows, leads back to what was signed.
        if name != "thinking" or _first(raw) != b'"':
            return raw
        text = _decode_string(raw)
        redacted = self._replace(text, self._detect(text))
        return raw if redacted == text else msgspec.Raw(_encode(redacted))

    def _redact_part(self, raw: msgspec.Raw) -> msgspec.Raw:
        if _first(raw) != b"{":
            return self._redact_raw(raw)
        part = _decode_object(raw)
        kind = msgspec.json.decode(part["type"]) if "type" in part else None
        if kind in ("thinking", "redacted_thinking"):
            return self._object(raw, self._redact_thinking)
        if not isinstance(kind, str | None) or kind not in _TEXT_PARTS:
            self.unredactable = True
            return raw
        return self._object(raw, lambda _, member: self._redact_raw(member))

    def _redact_input(self, raw: msgspec.Raw) -> msgspec.Raw:
        """Redact a text or several; anything else (tokens, images) cannot be."""
        if _first(raw) == b"[" and any(_first(element) != b'"' for element in _decode_array(raw)):
            self.unredactable = True
        return self._redact_raw(raw)

    def _redact_raw(self, raw: msgspec.Raw) -> msgspec.Raw:
        """Redact any JSON: a string, or the strings in an object or array."""
        first = _first(raw)
        if first == b'"':
            text = _decode_string(raw)
            redacted = self._redact(text, 0)
            return raw if redacted == text else msgspec.Raw(_encode(redacted))
        if first in (b"{", b"["):
            text = bytes(raw).decode()
            redacted = self._mask_json(text, 0)
            return raw if redacted == text else msgspec.Raw(redacted.encode())
        return raw

    def _object(self, raw: msgspec.Raw, redact: Callable[[str, msgspec.Raw], msgspec.Raw]) -> msgspec.Raw:
        members = _decode_object(raw)
        return msgspec.Raw(_encode(members)) if _redact_each(members, redact) else raw

    def _each(self, raw: msgspec.Raw, redact: Callable[[str, msgspec.Raw], msgspec.Raw]) -> msgspec.Raw:
        """Redact an array of objects, member by member."""
        objects = _decode_objects(raw)
        changed = [_redact_each(members, redact) for members in objects]
        return msgspec.Raw(_encode(objects)) if any(changed) else raw

    def _array(self, raw: msgspec.Raw, redact: Callable[[msgspec.Raw], msgspec.Raw]) -> msgspec.Raw:
        elements = _decode_array(raw)
        redacted = [redact(element) for element in elements]
        changed = any(new is not old for new, old in zip(redacted, elements, strict=True))
        return msgspec.Raw(_encode(redacted)) if changed else raw

    def _redact(self, text: str, depth: int) -> str:
        if len(text) < SHORTEST and not self._sensitive and not self._literals:
            return text
        if depth < _MOST_NESTED and is_json(text):
            return self._mask_json(text, depth)
        found = self._detect(text)
        if self._sensitive and '"' in text:
            fields = find_fields(text, self._sensitive_names)
            found = merge([*found, *(Match(start, end, FIELD) for start, end in fields)])
        if "[" in text:
            found = self._keep_literals(text, found)
        return self._replace(text, found)

    def _detect(self, text: str) -> list[Match]:
        found = detect(text, self._detectors)
        if self._literals:
            try:
                found = merge([*found, *self._literals.find(text)])
            except TooMany:
                self.unredactable = True
        return found

    def _mask_json(self, text: str, depth: int) -> str:
        if not self._sensitive and not self._literals and not may_hold(text):
            return text
        mask = partial(self._placeholders.of, FIELD)
        return mask_json(
            text, sensitive=self._sensitive, redact=lambda value: self._redact(value, depth + 1), mask=mask
        )

    def _keep_literals(self, text: str, found: list[Match]) -> list[Match]:
        """Add what reads like a placeholder and is not one of ours: with a number that is taken it gets its own."""
        taken = []
        for match in FORM.finditer(text):
            if self._placeholders.is_assigned(match[0]):
                taken.append(Match(match.start(), match.end(), TEXT))
            else:
                self._placeholders.reserve(match[0])
        return merge([*found, *taken]) if taken else found

    def _replace(self, text: str, found: list[Match]) -> str:
        if not found:
            return text
        out: list[str] = []
        done = 0
        for start, end, kind in found:
            out += text[done:start], self._placeholders.of(kind, text[start:end])
            done = end
        out.append(text[done:])
        return "".join(out)


def _first(raw: msgspec.Raw) -> bytes:
    """Return the first byte of a JSON value, which tells its kind."""
    return bytes(memoryview(raw)[:1])


def _redact_each(members: _Members, redact: Callable[[str, msgspec.Raw], msgspec.Raw]) -> bool:
    """Redact the members of an object in place and tell whether any changed."""
    changed = False
    for name, raw in members.items():
        if name not in _FIXED:
            redacted = redact(name, raw)
            if redacted is not raw:
                members[name] = redacted
                changed = True
    return changed
