"""Whatever a client sends, the answer is a request or a BadRequest: never a fault of ours."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.core.errors import BadRequest
from apps.gateway.formats.base import ClientFormat
from apps.gateway.formats.embeddings import EMBEDDINGS
from apps.gateway.formats.messages import MESSAGES
from apps.gateway.formats.responses import RESPONSES

# Words that both formats know, so that what is made of them gets past the first check.
WORDS = st.sampled_from(
    [
        *("type", "role", "content", "text", "source", "data", "media_type", "url", "id", "name", "input", "call_id"),
        *("arguments", "output", "summary", "encrypted_content", "image_url", "file_data", "tool_use_id", "thinking"),
        *("signature", "cache_control", "ttl", "format", "schema", "mode", "tools", "effort", "budget_tokens"),
        *("user", "assistant", "system", "message", "input_text", "output_text", "input_image", "input_file"),
        *("function_call", "function_call_output", "custom_tool_call", "reasoning", "refusal", "image", "document"),
        *("tool_use", "tool_result", "redacted_thinking", "search_result", "base64", "enabled", "function", "custom"),
        *("auto", "any", "tool", "json_schema", "allowed_tools", "grammar", "input_schema", "parameters", "5m", "1h"),
        "mf1.W10=",
        "mf1.W3sidHlwZSI6InRoaW5raW5nIn1d",
    ]
)
ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | WORDS
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=3), inner),
    max_leaves=25,
)
MEMBERS = st.sampled_from(
    [
        *("model", "messages", "input", "system", "instructions", "max_tokens", "max_output_tokens", "tools", "stream"),
        *("tool_choice", "thinking", "reasoning", "text", "output_config", "metadata", "stop_sequences", "include"),
        *("cache_control", "service_tier", "dimensions", "encoding_format", "user", "store", "background"),
    ]
)


def items(kinds: list[str]) -> st.SearchStrategy[Any]:
    """Return lists of objects whose type is known, so that each reader is reached."""
    known = st.fixed_dictionaries({"type": st.sampled_from(kinds)})
    more = st.dictionaries(WORDS, VALUES, max_size=6)
    return st.lists(st.builds(lambda a, b: b | a, known, more), max_size=4)


BLOCKS = items(
    ["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result"]
)
ITEMS = items(
    ["message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning"]
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": BLOCKS})
TOOLS = items(["function", "custom"]) | VALUES


def survives(format: Any, body: bytes) -> None:
    try:
        request = format.parse(body)
    except BadRequest as refused:
        assert refused.message
        return
    assert all(name.isascii() and name.isprintable() and len(name) <= 80 for name in request.ignored)
    assert request.prompt.count("o200k_base", 1_600) > 0
    if format is not EMBEDDINGS:
        for client in (request.client, {}):
            request.client = client
            assert json.loads(request.render(model="up", output_cap=5, cap_name="max_tokens"))["max_tokens"] == 5


@pytest.mark.parametrize("format", [MESSAGES, RESPONSES, EMBEDDINGS], ids=lambda format: format.endpoint)
@settings(max_examples=150, deadline=None)
@given(members=st.dictionaries(MEMBERS | st.text(max_size=4), VALUES, max_size=6))
def test_any_object(format: ClientFormat, members: dict[str, Any]) -> None:
    survives(format, json.dumps({"max_tokens": 5} | members).encode())


@settings(max_examples=200, deadline=None)
@given(messages=st.lists(MESSAGE, min_size=1, max_size=4), tools=TOOLS, system=VALUES)
def test_any_blocks(messages: Any, tools: Any, system: Any) -> None:
    survives(MESSAGES, json.dumps({"max_tokens": 5, "messages": messages, "system": system}).encode())
    survives(MESSAGES, json.dumps({"max_tokens": 5, "messages": messages, "tools": tools}).encode())


@settings(max_examples=200, deadline=None)
@given(asked=ITEMS, tools=TOOLS, choice=VALUES)
def test_any_items(asked: Any, tools: Any, choice: Any) -> None:
    survives(RESPONSES, json.dumps({"input": asked, "instructions": "Be."}).encode())
    survives(RESPONSES, json.dumps({"input": "x", "tools": tools, "tool_choice": choice}).encode())


@pytest.mark.parametrize("format", [MESSAGES, RESPONSES, EMBEDDINGS], ids=lambda format: format.endpoint)
@given(body=st.binary(max_size=60))
def test_any_bytes(format: ClientFormat, body: bytes) -> None:
    survives(format, body)


DEEP = "[" * 100_000
NESTED = '{"a":' * 400 + "1" + "}" * 400
SURROGATE = '"\\ud800"'
HUGE = "9" * 400


@pytest.mark.parametrize(
    "value", [DEEP, NESTED, SURROGATE, HUGE, "1e999", "-0", '{"a":' + HUGE + "}", "[" + SURROGATE + "]"]
)
@pytest.mark.parametrize(
    ("format", "body"),
    [
        (MESSAGES, '{"max_tokens": 5, "messages": %s}'),
        (MESSAGES, '{"max_tokens": %s, "messages": [{"role": "user", "content": "x"}]}'),
        (MESSAGES, '{"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "system": %s}'),
        (MESSAGES, '{"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "thinking": %s}'),
        (MESSAGES, '{"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "temperature": %s}'),
        (
            MESSAGES,
            '{"max_tokens": 5, "messages": [{"role": "assistant", "content": '
            '[{"type": "tool_use", "id": "x", "name": "f", "input": {"a": %s}}]}]}',
        ),
        (
            MESSAGES,
            '{"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], '
            '"tools": [{"name": "f", "input_schema": {"a": %s}}]}',
        ),
        (RESPONSES, '{"input": %s}'),
        (RESPONSES, '{"input": "x", "metadata": %s}'),
        (RESPONSES, '{"input": "x", "tools": [{"type": "function", "name": "f", "parameters": {"a": %s}}]}'),
        (RESPONSES, '{"input": "x", "text": {"format": {"type": "json_schema", "name": "x", "schema": {"a": %s}}}}'),
        (EMBEDDINGS, '{"input": %s}'),
        (EMBEDDINGS, '{"input": "x", "dimensions": %s}'),
    ],
)
def test_values_that_break_readers(format: ClientFormat, body: str, value: str) -> None:
    survives(format, (body % value).encode())


@pytest.mark.parametrize("format", [MESSAGES, RESPONSES], ids=lambda format: format.endpoint)
def test_names_that_a_caller_made_up_are_told_only_where_a_header_can(format: ClientFormat) -> None:
    members = {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "input": "x"}
    odd = {"a\r\nset-cookie: b": 1, "é": 1, "x" * 100: 1, "": 1, "good_name": 1}
    many = {f"name_{number}": 1 for number in range(100)}
    told = format.parse(json.dumps(members | odd).encode()).ignored
    assert "good_name" in told
    assert not set(odd) & set(told) - {"good_name"}
    assert len(format.parse(json.dumps(members | many).encode()).ignored) == 20
