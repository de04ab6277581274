"""Placeholders: what stands in a prompt in place of a value, and how it is told from what people write."""

import re
from collections import Counter

# Kinds of placeholders: one for each detector, FIELD for a sensitive field, TEXT for a text that looked like one.
FIELD = "field"
TEXT = "text"
_NAMES = {
    "key": "KEY",
    "email": "EMAIL",
    "iban": "IBAN",
    "chinese_id": "ID_CARD",
    "card": "CARD",
    "ip": "IP",
    "phone": "PHONE",
    "address": "ADDRESS",
    FIELD: "FIELD",
    TEXT: "TEXT",
}
# The numbers are short, so that no telephone number in brackets reads like a placeholder.
FORM = re.compile(r"\[(?:KEY|EMAIL|IBAN|ID_CARD|CARD|IP|PHONE|ADDRESS|FIELD|TEXT)_[0-9]{1,9}\]")


class Placeholders:
    """The placeholders of one request. The same value of the same kind has the same one."""

    __slots__ = ("_by_value", "_last", "_reserved", "counts", "originals", "written")

    def __init__(self) -> None:
        self._by_value: dict[tuple[str, str], str] = {}
        self._last: Counter[str] = Counter()
        self._reserved: set[str] = set()
        self.originals: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.written = 0  # characters, the quotation marks of what was no string included

    def reserve(self, text: str) -> None:
        """Keep off the placeholders that already stand in a text: they are not assigned from here on."""
        self._reserved.update(FORM.findall(text))

    def is_assigned(self, form: str) -> bool:
        return form in self.originals

    def of(self, kind: str, value: str) -> str:
        """Return the placeholder of a value, and count that it was replaced."""
        if kind != TEXT:
            self.counts[kind] += 1
        known = self._by_value.get((kind, value))
        if known is not None:
            self.written += len(known) + 2
            return known
        name = _NAMES[kind]
        while True:
            self._last[name] += 1
            placeholder = f"[{name}_{self._last[name]}]"
            if placeholder not in self._reserved:
                break
        self.written += len(placeholder) + 2
        self._by_value[kind, value] = placeholder
        self.originals[placeholder] = value
        return placeholder
