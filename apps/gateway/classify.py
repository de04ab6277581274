"""What a request asks for, by deterministic rules over its words: no model, no I/O, below 30 µs for 2 kB.

Only the beginning and the end of the last user message are read, where people say what they want, and the head of the
system message. The labelled samples are in tests/gateway/classify_samples.tsv; docs/reference/routing.md says how well
the rules do on them.
"""

import re
from typing import Any

import msgspec

from apps.gateway.task_words import ASKING, CHINESE, CLASSES, QUESTION, SYMBOLS, WORDS
from apps.gateway.wire import ChatRequest

__all__ = ["QUESTION", "classify", "classify_request"]

# More characters than this in all messages are a class of their own, whatever is asked about them.
LONG_CONTEXT = 50_000
HEAD, TAIL, SYSTEM = 320, 120, 160
# Words this near to the beginning, and the last ones, say what is wanted; those between are mostly material.
NEAR_BEGINNING, NEAR_END = 24, 14

# Bytes that words are made of; the others separate them.
_WORD_BYTES = bytes(byte if chr(byte) in "abcdefghijklmnopqrstuvwxyz+#'-" else 32 for byte in range(256))
_NO_DIGITS = bytes(byte for byte in range(256) if not 48 <= byte <= 57)
_NO_SIGNS = bytes(byte for byte in range(256) if chr(byte) not in "`(){}<>=_:")
_SUM = re.compile(r"\d\s*[-+*/×÷^=]\s*\d|[0-9a-z]\s*[²³^]\s*\d?|\d%|\d+x\b").search
_SECOND_NUMBER = re.compile(r"\d\D+\d").search
_QUANTITY = re.compile(r"\bhow (?:much|many|long)|when do|几|多少|各|如何").search
_THIS_OR = re.compile(r"\bis th(?:is|e)\b[^?.]{0,60}\bor\b").search


class _Message(msgspec.Struct):
    role: str
    content: Any = None


_decode = msgspec.json.Decoder(list[_Message]).decode


def classify_request(request: ChatRequest) -> str:
    """Return the class of a request's task: one of the catalogue's TaskClass values."""
    size = len(request.prompt.text)
    if size > LONG_CONTEXT:
        return "long_context"
    try:
        messages = _decode(request.members["messages"])
    except (KeyError, msgspec.DecodeError):
        return classify(request.prompt.text)
    system = next((_text(each.content) for each in messages if each.role in ("system", "developer")), "")
    user = next((_text(each.content) for each in reversed(messages) if each.role == "user"), "")
    return classify(user, system)


def classify(user: str, system: str = "") -> str:
    """Return the class of what a user's message asks for; the system message counts where that leaves it open."""
    if len(user) > LONG_CONTEXT:
        return "long_context"
    scores = _score(user)
    if system and max(scores) < 6:
        for index, score in enumerate(_score(system[:SYSTEM])):
            scores[index] += score / 2
    best = max(scores)
    return CLASSES[scores.index(best)] if best > 0 else QUESTION


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _score(message: str) -> list[float]:
    scores = [0.0] * len(CLASSES)
    text = (message if len(message) <= HEAD + TAIL else f"{message[:HEAD]} {message[-TAIL:]}").lower()
    plain = text.encode("ascii", "replace")
    words = plain.translate(_WORD_BYTES).split()
    end = len(words) - NEAR_END
    begun: set[bytes] = set()
    for place, word in enumerate(words):
        found = WORDS.get(word)
        if found is not None:
            near = 1.0 if place < NEAR_BEGINNING or place >= end else 0.4
            for index, weight in found[0]:
                scores[index] += weight * (near + 0.4 if place < 4 else near)
            if found[1] and word not in begun:
                begun.add(word)
                for phrase, index, weight in found[1]:
                    if phrase in text:
                        scores[index] += weight
    if plain.translate(None, _NO_SIGNS):
        for phrase, index, weight in SYMBOLS:
            if phrase in text:
                scores[index] += weight
    if not text.isascii():
        for phrase, index, weight in CHINESE:
            if phrase in text:
                scores[index] += weight
    asks = "?" in text or "？" in text
    if plain.translate(None, _NO_DIGITS):
        if _SUM(text):
            scores[1] += 5
        if _SECOND_NUMBER(text):
            scores[1] += (6 if _QUANTITY(text) else 0) + (3 if asks else 0)
    if asks and _THIS_OR(text):
        scores[2] += 6
    if words and words[0] in ASKING:
        scores[5] += 4 if asks else 3
    elif asks:
        scores[5] += 2
    return scores
