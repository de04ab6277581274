"""Where the texts of an answer stand: in a message, or in the delta of a stream."""

from collections.abc import Iterator
from typing import Any, NamedTuple

Place = str | tuple[str, int]

# In the order in which a model writes them.
REASONING, SPEECH, CALLS = range(3)
_RANKS = {"reasoning_content": REASONING, "reasoning": REASONING, "content": SPEECH, "refusal": SPEECH}


class Slot(NamedTuple):
    """A text: `holder[key]`. `is_json` tells whether values put into it are escaped, None if its beginning tells."""

    place: Place
    holder: dict[str, Any]
    key: str
    is_json: bool | None

    @property
    def text(self) -> str:
        return str(self.holder[self.key])


def rank_of(place: Place) -> int:
    """Return REASONING, SPEECH or CALLS."""
    return _RANKS.get(place, CALLS) if isinstance(place, str) else CALLS


def slots_of(message: Any) -> Iterator[Slot]:
    """Yield the texts of a message or delta; signed thinking blocks are none."""
    if not isinstance(message, dict):
        return
    for name in _RANKS:
        value = message.get(name)
        is_json = None if name == "content" else False
        if isinstance(value, str):
            yield Slot(name, message, name, is_json)
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    yield Slot(name, part, "text", is_json)
    for position, call in enumerate(objects(message, "tool_calls")):
        index = call.get("index")
        number = index if isinstance(index, int) else position
        for holder, key, is_json in ((call.get("function"), "arguments", True), (call.get("custom"), "input", False)):
            if isinstance(holder, dict) and isinstance(holder.get(key), str):
                yield Slot((key, number), holder, key, is_json)
    old = message.get("function_call")
    if isinstance(old, dict) and isinstance(old.get("arguments"), str):
        yield Slot("function_call", old, "arguments", True)


def delta_with(texts: dict[Place, str]) -> dict[str, Any]:
    """Return a delta that adds to texts by their places."""
    delta: dict[str, Any] = {}
    for place, text in texts.items():
        if isinstance(place, tuple):
            key, index = place
            kind = "function" if key == "arguments" else "custom"
            delta.setdefault("tool_calls", []).append({"index": index, kind: {key: text}})
        elif place == "function_call":
            delta[place] = {"arguments": text}
        else:
            delta[place] = text
    return delta


def furthest(delta: Any) -> int:
    """Return the rank of the last thing that a delta adds to: what ranks lower has ended."""
    if not isinstance(delta, dict):
        return REASONING
    if delta.get("tool_calls") or delta.get("function_call"):
        return CALLS
    return SPEECH if delta.get("content") or delta.get("refusal") or delta.get("thinking_blocks") else REASONING


def is_silent(choice: dict[str, Any]) -> bool:
    """Tell whether a choice of a chunk adds nothing to the answer."""
    delta = choice.get("delta")
    if choice.get("logprobs") or not isinstance(delta, dict):
        return False
    return all(map(_is_empty, delta.items()))


def _is_empty(member: tuple[str, Any]) -> bool:
    name, value = member
    if not value:
        return True
    if name == "tool_calls":
        bare = ({"index"}, {"index", "function"}, {"index", "custom"})
        return all(set(call) in bare and not any(_values(call)) for call in value)
    return bool(name == "function_call" and value == {"arguments": ""})


def _values(call: dict[str, Any]) -> Iterator[Any]:
    for kind in ("function", "custom"):
        yield from call.get(kind, {}).values()


def objects(holder: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects in a member that should be an array of them."""
    found = holder.get(name) if isinstance(holder, dict) else None
    return [element for element in found if isinstance(element, dict)] if isinstance(found, list) else []


def begins_json(text: str) -> bool | None:
    """Tell from its beginning whether a text is JSON, None where that is too short; `[EMAIL_1]` is none."""
    start = text.lstrip()[:2]
    if start in ("", "["):
        return None
    return start[0] == "{" or (start[0] == "[" and not start[1].isupper())
