"""When the demo provider calls a tool, which one, and with what: arguments that satisfy the tool's schema. Pure."""

import re
from typing import Any

_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
# Words that say nothing about what a tool is for.
_COMMON = frozenset(
    {"get", "set", "fetch", "find", "list", "search", "call", "tool", "make", "do", "run", "the", "current", "and"}
    | {"for", "with", "by", "of", "in", "to", "a"}
)
_GLAD = re.compile(
    r"(?i)\b(?:thank|thanks|great|good|glad|happy|love|loves|wonderful|excellent|perfect|recommend)\b"
    r"|太好|太棒|谢谢|感谢|喜欢|满意|推荐"
)
_SAD = re.compile(
    r"(?i)\b(?:bad|broken|broke|late|angry|disappointed|outage|fail|failed|fails|wrong|never|penalt(?:y|ies)|alternatives"
    r"|no report|refund|cancel)\b|故障|违约|抱歉|失望|退款|生气|别家|坏了|没有什么报告"
)
_DEEPEST = 8
_FORMATS = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def choose_tool(tools: list[dict[str, Any]], choice: Any, asked: str) -> dict[str, Any] | None:
    """Return the function (OpenAI's `function` object) to call, or None to answer in words.

    `choice` is `tool_choice`: "none" never calls, a named function is called, "required" calls the best match or
    the first; otherwise a function is called when the text asks for something its name speaks of.
    """
    functions = [tool["function"] for tool in tools if isinstance(tool.get("function"), dict)]
    functions = [function for function in functions if isinstance(function.get("name"), str)]
    if choice == "none" or not functions:
        return None
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return next((function for function in functions if function["name"] == name), None)
    words = {_stem(word) for word in re.findall(r"[a-z0-9]+", asked.lower())}

    def matches(function: dict[str, Any]) -> int:
        name = {_stem(word.lower()) for word in _SPLIT.split(function["name"]) if word}
        return len((name - _COMMON) & words) + (function["name"].lower() in asked.lower())

    best = max(functions, key=matches)
    return best if choice == "required" or matches(best) else None


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def mood(text: str, *, neutral: str) -> str:
    """Return "positive" or "negative" by the words of a text, `neutral` where they balance."""
    glad, sad = (len(words.findall(text)) for words in (_GLAD, _SAD))
    return neutral if glad == sad else "positive" if glad > sad else "negative"


def example(schema: Any, asked: str, *, name: str = "", root: Any = None, depth: int = 0) -> Any:
    """Return a value that satisfies a JSON schema's types, enums, bounds and required properties.

    Strings and numbers are taken from the text where it offers some. A schema nested deeper than eight levels is
    answered with null.
    """
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None

    def inner(part: Any, part_name: str = name) -> Any:
        return example(part, asked, name=part_name, root=root, depth=depth + 1)

    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        if {"positive", "negative"} <= set(map(str, schema["enum"])):
            return mood(asked, neutral="neutral" if "neutral" in schema["enum"] else "positive")
        named = (value for value in schema["enum"] if isinstance(value, str) and value.lower() in asked.lower())
        return next(named, schema["enum"][0])
    if "default" in schema:
        return schema["default"]
    if isinstance(schema.get("$ref"), str):
        return inner(_follow(root, schema["$ref"]))
    for several in ("anyOf", "oneOf"):
        if schema.get(several):
            useful = [part for part in schema[several] if part.get("type") != "null"]
            return inner((useful or schema[several])[0])
    if schema.get("allOf"):
        merged: dict[str, Any] = {"properties": {}, "required": []}
        for part in schema["allOf"]:
            part = _follow(root, part["$ref"]) if "$ref" in part else part
            merged["properties"] |= part.get("properties") or {}
            merged["required"] += part.get("required") or []
            merged |= {key: value for key, value in part.items() if key not in merged}
        return inner(merged)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        properties = schema.get("properties") or {}
        return {key: inner(properties.get(key, {"type": "string"}), key) for key in schema.get("required") or []}
    if kind == "array":
        return [inner(schema.get("items") or {"type": "string"}) for _ in range(max(1, schema.get("minItems", 1)))]
    if kind in ("integer", "number"):
        return _example_number(schema, asked, whole=kind == "integer")
    if kind == "boolean":
        return True
    return None if kind == "null" else _example_text(schema, asked, name)


def _follow(root: Any, reference: str) -> Any:
    found = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _example_number(schema: dict[str, Any], asked: str, *, whole: bool) -> int | float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and (above := schema.get("exclusiveMinimum")) is not None:
        low = above + 1
    if high is None and (below := schema.get("exclusiveMaximum")) is not None:
        high = below - 1
    for text in re.findall(r"-?\d+(?:\.\d+)?", asked):
        number = int(float(text)) if whole else float(text)
        if (low is None or number >= low) and (high is None or number <= high):
            return number
    return low if low is not None else high if high is not None else 1


def _example_text(schema: dict[str, Any], asked: str, name: str) -> str:
    if (form := schema.get("format")) in _FORMATS:
        return _FORMATS[form]
    quoted = re.search(r"[\"“](.+?)[\"”]", asked)
    place = re.search(r"\b(?:in|for|at|from|to)\s+((?:[A-Z][\w'-]+)(?:\s+[A-Z][\w'-]+)*)", asked)
    if quoted:
        text = quoted[1]
    elif place and re.search(r"(?i)city|location|place|country|town|destination|name", name):
        text = place[1]
    else:
        text = asked.strip() or name or "demo"
    text = text[: schema.get("maxLength", 200)]
    return text.ljust(schema.get("minLength", 0), ".")
