"""Canonical requests as bodies for Anthropic's Messages."""

import json
from typing import Any

import pytest

from apps.core.errors import BadRequest
from apps.gateway.providers.registry import ADAPTERS
from apps.gateway.wire import parse_chat
from tests.gateway.providers.reading import call, function, rendered, request, to_embed

PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
USER = {"role": "user", "content": "Hello"}


def body(*messages: dict[str, Any], model: str = "", cap: int = 4096, **members: Any) -> Any:
    return rendered("anthropic", request(*messages, **members), model=model, cap=cap)


def refused(*messages: dict[str, Any], model: str = "", **members: Any) -> BadRequest:
    with pytest.raises(BadRequest) as refusal:
        body(*messages, model=model, **members)
    return refusal.value


def test_smallest_request() -> None:
    assert body() == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


@pytest.mark.parametrize(
    ("base", "root"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/v1/", "https://api.anthropic.com/v1"),
        ("https://api.deepseek.com/anthropic", "https://api.deepseek.com/anthropic/v1"),
        (
            "https://gateway.ai.cloudflare.com/v1/acc/gw/anthropic",
            "https://gateway.ai.cloudflare.com/v1/acc/gw/anthropic/v1",
        ),
    ],
)
def test_addresses(base: str, root: str) -> None:
    adapter = ADAPTERS["anthropic"]
    assert adapter.chat_url(base, model="claude", stream=True) == f"{root}/messages"
    assert adapter.check_url(base) == f"{root}/models"
    assert dict(adapter.extra_headers) == {b"anthropic-version": b"2023-06-01"}


def test_system_and_developer_messages_are_split_off_wherever_they_stand() -> None:
    made = body(
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
        {"role": "user", "content": "Again"},
    )
    assert [part["text"] for part in made["system"]] == ["Be brief.", "In French."]
    (turn,) = made["messages"]
    assert [part["text"] for part in turn["content"]] == ["Hello", "Again"]


def test_system_messages_alone_are_what_the_user_says() -> None:
    made = body({"role": "system", "content": "Say hi."})
    assert "system" not in made
    assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]


def test_neighbours_are_one_turn_and_empty_texts_are_left_out() -> None:
    made = body(
        USER,
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "One"},
        {"role": "assistant", "content": [{"type": "text", "text": "Two"}, {"type": "text", "text": ""}]},
        USER,
    )
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant", "user"]
    assert [part["text"] for part in made["messages"][1]["content"]] == ["One", "Two"]


def test_an_answer_to_go_on_with_has_no_blanks_at_its_end() -> None:
    assert body(USER, {"role": "assistant", "content": "{ \n"})["messages"][1]["content"][0]["text"] == "{"


def test_tools_and_their_results() -> None:
    made = body(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call("a", "one", '{"x": 1}'), call("b:0", "two", "")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b:0", "content": [{"type": "text", "text": "2"}], "is_error": True},
        {"role": "user", "content": "and?"},
        tools=[function("one"), function("two", strict=True)],
    )
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant", "user"]
    assert made["messages"][1]["content"] == [
        {"type": "tool_use", "id": "a", "name": "one", "input": {"x": 1}},
        {"type": "tool_use", "id": "b_0", "name": "two", "input": {}},
    ]
    assert made["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}]},
        {"type": "tool_result", "tool_use_id": "b_0", "content": [{"type": "text", "text": "2"}], "is_error": True},
        {"type": "text", "text": "and?"},
    ]
    one, two = made["tools"]
    assert one == {
        "name": "one",
        "description": "d",
        "input_schema": function("one")["function"]["parameters"],
    }
    assert two["strict"] is True
    assert "tool_choice" not in made


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "one"}}}, {"type": "tool", "name": "one"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tool_choice(given: dict[str, Any], made: Any) -> None:
    assert body(tools=[function("one")], **given).get("tool_choice") == made


def test_tool_choice_without_tools_and_among_allowed_ones() -> None:
    assert "tool_choice" not in body(tool_choice="auto", parallel_tool_calls=False)
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "two"}}]}
    made = body(
        tools=[function("one"), function("two")], tool_choice={"type": "allowed_tools", "allowed_tools": allowed}
    )
    assert [tool["name"] for tool in made["tools"]] == ["two"]
    assert made["tool_choice"] == {"type": "any"}


def test_images_and_files() -> None:
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
    ]
    (turn,) = body({"role": "user", "content": parts})["messages"]
    assert turn["content"][1:] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            "title": "a.pdf",
        },
    ]


def test_settings() -> None:
    made = body(
        stop=["END", ""],
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        user="u-1",
        stream=True,
        seed=7,
        store=False,
        verbosity="low",
        frequency_penalty=0,
        logprobs=False,
        logit_bias={},
        n=1,
        max_tokens=100,
        prompt_cache_key="x",
    )
    assert {name: made[name] for name in made.keys() - {"model", "messages"}} == {
        "max_tokens": 4096,
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "metadata": {"user_id": "u-1"},
        "stream": True,
    }


def test_cache_control_is_kept_everywhere() -> None:
    mark = {"type": "ephemeral"}
    part = {"type": "text", "text": "long", "cache_control": mark}
    made = body(
        {"role": "system", "content": [part]},
        {"role": "user", "content": [part]},
        {"role": "assistant", "tool_calls": [call("a", "one") | {"cache_control": mark}]},
        {"role": "tool", "tool_call_id": "a", "content": "x", "cache_control": mark},
        tools=[function("one") | {"cache_control": mark}],
        cache_control=mark,
    )
    marked = [made["system"][0], made["tools"][0], *(turn["content"][0] for turn in made["messages"]), made]
    assert [holder["cache_control"] for holder in marked] == [mark] * 6


def test_json_schema() -> None:
    made = body(response_format=AS_SCHEMA)
    assert made["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert "output_config" not in body(response_format={"type": "text"})
    assert refused(response_format=AS_SCHEMA, model="claude-3-5-sonnet-20241022").code == "unsupported_by_provider"
    assert refused(response_format={"type": "json_object"}).code == "unsupported_by_provider"


@pytest.mark.parametrize(
    ("model", "given", "cap", "thinking", "effort"),
    [
        ("claude-sonnet-4-5-20250929", {"reasoning_effort": "low"}, 10_000, ("enabled", 2_000), None),
        ("claude-sonnet-4-5-20250929", {"reasoning_effort": "low"}, 3_000, ("enabled", 1_024), None),
        ("claude-opus-4-1", {"reasoning_effort": "xhigh"}, 10_000, ("enabled", 9_500), None),
        ("claude-opus-4-1", {"reasoning_effort": "high"}, 1_500, None, None),
        ("claude-opus-4-1", {"reasoning_effort": "none"}, 9_000, ("disabled", None), None),
        ("claude-opus-4-6", {"reasoning_effort": "minimal"}, 4_096, ("adaptive", None), "low"),
        ("claude-opus-4-6", {"reasoning_effort": "xhigh"}, 4_096, ("adaptive", None), "max"),
        ("claude-opus-4-7", {"reasoning_effort": "xhigh"}, 4_096, ("adaptive", None), "xhigh"),
        ("claude-sonnet-5", {"reasoning_effort": "high"}, 4_096, ("adaptive", None), "high"),
        (
            "claude-sonnet-4-5",
            {"thinking": {"type": "enabled", "budget_tokens": 2_000}},
            4_096,
            ("enabled", 2_000),
            None,
        ),
        (
            "claude-sonnet-4-5",
            {"thinking": {"type": "enabled", "budget_tokens": 9_000}},
            4_096,
            ("enabled", 2_048),
            None,
        ),
        (
            "claude-opus-4-7",
            {"thinking": {"type": "enabled", "budget_tokens": 9_000}, "reasoning_effort": "medium"},
            4_096,
            ("adaptive", None),
            "medium",
        ),
        ("claude-3-7-sonnet-20250219", {"thinking": {"type": "adaptive"}}, 10_000, ("enabled", 8_000), None),
        ("claude-sonnet-5", {"thinking": {"type": "disabled"}}, 10_000, ("disabled", None), None),
        ("deepseek-chat", {"reasoning_effort": "medium"}, 10_000, ("enabled", 5_000), None),
    ],
)
def test_thinking(model: str, given: dict[str, Any], cap: int, thinking: Any, effort: str | None) -> None:
    made = body(model=model, cap=cap, **given)
    found = made.get("thinking")
    assert (found and (found["type"], found.get("budget_tokens"))) == thinking
    assert made.get("output_config", {}).get("effort") == effort
    assert made["max_tokens"] == cap


def test_thinking_blocks_go_back_first_and_unchanged() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xx"},
    ]
    said = {"role": "assistant", "content": "so", "thinking_blocks": blocks, "tool_calls": [call("a", "one")]}
    result = {"role": "tool", "tool_call_id": "a", "content": "x"}
    made = body(USER, said, result, tools=[function("one")], reasoning_effort="low")
    assert made["messages"][1]["content"][:2] == blocks
    assert [block["type"] for block in made["messages"][1]["content"][2:]] == ["text", "tool_use"]
    assert made["thinking"]["type"] == "enabled"
    # Another provider's reasoning has no signature: a model that thinks in a budget could not go on with it.
    said = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call("a", "one")]}
    assert "thinking" not in body(USER, said, result, tools=[function("one")], reasoning_effort="low")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"n": 2}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
        ({"reasoning_effort": "high", "temperature": 0.2}, "temperature"),
        ({"reasoning_effort": "high", "tools": [function("f")], "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_would_change_the_meaning_is_refused(members: dict[str, Any], param: str) -> None:
    refusal = refused(**members)
    assert (refusal.code, refusal.param) == ("unsupported_by_provider", param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER, {"role": "tool", "tool_call_id": "nobody", "content": "x"}], "messages[1].tool_call_id"),
        (
            [{"role": "assistant", "tool_calls": [call("a", "f", "{broken")]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            [{"role": "assistant", "tool_calls": [call("a", "f", "[1]")]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        ([{"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}], "messages[0].tool_calls[0]"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]}],
            "messages[0].content[0]",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,xx"}}]}],
            "messages[0].content[0]",
        ),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url"),
    ],
)
def test_what_is_malformed_is_named(messages: list[dict[str, Any]], param: str) -> None:
    refusal = refused(*messages)
    assert (refusal.code, refusal.param) == ("invalid_type", param)


@pytest.mark.parametrize("adapter", ["anthropic", "gemini"])
def test_schemas_of_any_depth_are_sent_or_refused(adapter: str) -> None:
    refusals = 0
    for depth in range(100, 1_000, 7):
        schema = b'{"a":' * depth + b"1" + b"}" * depth
        tool = b'{"type":"function","function":{"name":"f","parameters":' + schema + b"}}"
        raw = b'{"messages":[{"role":"user","content":"x"}],"tools":[' + tool + b"]}"
        try:
            ADAPTERS[adapter].chat_body(parse_chat(raw), model="m", output_cap=9, cap_name="max_tokens")
        except BadRequest as refusal:
            assert refusal.code == "invalid_json"
            refusals += 1
    assert 0 < refusals < 100


def test_embeddings_are_not_among_its_operations() -> None:
    adapter = ADAPTERS["anthropic"]
    assert "embeddings" not in adapter.operations
    for ask in (
        lambda: adapter.embeddings_url("https://api.anthropic.com", model="m"),
        lambda: adapter.embeddings_body(to_embed("x"), model="m"),
        lambda: adapter.read_embeddings(b"{}", to_embed("x"), model="m"),
    ):
        with pytest.raises(BadRequest) as refusal:
            ask()
        assert refusal.value.code == "unsupported_by_provider"


def test_body_is_utf8_json() -> None:
    asked = request({"role": "user", "content": "世界 🌍 \u0000"})
    raw = ADAPTERS["anthropic"].chat_body(asked, model="claude", output_cap=1, cap_name="max_tokens")
    assert json.loads(raw.decode())["messages"][0]["content"][0]["text"] == "世界 🌍 \u0000"
