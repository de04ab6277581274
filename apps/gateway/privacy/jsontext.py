"""Masking inside JSON that is written in a text: only the values that change are rewritten, in one pass.

Everything else stays byte for byte: spaces, the spelling of numbers, names that occur twice.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec

_STRING = r'"(?:[^"\\]++|\\.)*+"'
_TOKEN = re.compile(rf"{_STRING}|[{{}}\[\],:]|[^\s{{}}\[\],:\"]++", re.DOTALL)
_OPENING, _CLOSING = frozenset("{["), frozenset("}]")
_NUMBER = re.compile(r"-?[0-9]{7,}+")
_decode_string = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def is_json(text: str) -> bool:
    """Tell whether a text is a JSON object or array."""
    if text.lstrip(" \t\r\n")[:1] not in _OPENING:
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return True


def quote(text: str) -> str:
    """Return a JSON string."""
    return _encode(text).decode()


def mask_json(
    text: str,
    *,
    sensitive: frozenset[str],
    redact: Callable[[str], str],
    mask: Callable[[str], str],
) -> str:
    """Return valid JSON with its strings redacted and the whole values of sensitive names masked.

    `redact` takes the text of a string, a name or a long number; `mask` takes a sensitive value: the text of a string,
    else its JSON. Both return text that becomes a JSON string. `sensitive` holds names in folded case.
    """
    out: list[str] = []
    done = 0  # how far `text` is in `out`
    depth = 0
    objects: list[bool] = []  # for each open bracket, whether it is an object's
    names_next = False
    masked_from = -1  # where the value that is masked begins
    masked_depth = 0
    is_sensitive = False

    def put(start: int, end: int, value: str) -> None:
        nonlocal done
        out.append(text[done:start])
        out.append(quote(value))
        done = end

    for token in _TOKEN.finditer(text):
        sign = token[0]
        first = sign[0]
        if first == ":":
            names_next = False
            continue
        if first == ",":
            names_next = bool(objects) and objects[-1]
            continue
        if first in _OPENING:
            if is_sensitive and masked_from < 0:
                masked_from, masked_depth = token.start(), depth
                is_sensitive = False
            objects.append(first == "{")
            depth += 1
            names_next = first == "{"
            continue
        if first in _CLOSING:
            objects.pop()
            depth -= 1
            names_next = False
            if masked_from >= 0 and depth == masked_depth:
                put(masked_from, token.end(), mask(text[masked_from : token.end()]))
                masked_from = -1
            continue
        if masked_from >= 0:
            continue
        if names_next:
            name = _decode_string(sign)
            is_sensitive = name.casefold() in sensitive
            if (changed := redact(name)) != name:
                put(token.start(), token.end(), changed)
        elif is_sensitive:
            is_sensitive = False
            if sign not in ("null", '""'):
                put(token.start(), token.end(), mask(_decode_string(sign) if first == '"' else sign))
        elif first == '"':
            value = _decode_string(sign)
            if (changed := redact(value)) != value:
                put(token.start(), token.end(), changed)
        elif _NUMBER.fullmatch(sign) and (changed := redact(sign)) != sign:
            put(token.start(), token.end(), changed)
    out.append(text[done:])
    return "".join(out)


@lru_cache(maxsize=256)
def _fields_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Compile a search for named JSON fields with a plain value."""
    listed = "|".join(re.escape(name) for name in names)
    return re.compile(
        rf'"(?:{listed})"\s*+:\s*+(?P<value>{_STRING}|-?[0-9][0-9.eE+\-]*+|true|false)', re.IGNORECASE | re.DOTALL
    )


def find_fields(text: str, names: Iterable[str]) -> list[tuple[int, int]]:
    """Return where the plain values of named fields stand in a text that has JSON somewhere in it.

    The range of a string is what is between its quotes; that of a number or boolean is the whole of it.
    """
    found = []
    for match in _fields_pattern(tuple(names)).finditer(text):
        start, end = match.span("value")
        if text[start] == '"':
            start, end = start + 1, end - 1
        if start < end:
            found.append((start, end))
    return found
