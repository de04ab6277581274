"""Providers' JSON answers as canonical chat completions, from recorded shapes."""

import json

import pytest

from apps.gateway.metering import BrokenAnswer, read_answer
from apps.gateway.providers.registry import ADAPTERS
from apps.usage.rate import Tokens
from tests.gateway.providers.reading import CREATED, RECORDED, read_json, recorded

NAMES = sorted(
    path.relative_to(RECORDED).as_posix() for path in RECORDED.glob("*/*.json") if "embeddings" not in path.name
)


@pytest.mark.parametrize("name", NAMES)
def test_answer_is_a_chat_completion(name: str) -> None:
    answer = read_json(name)
    assert answer["object"] == "chat.completion"
    assert isinstance(answer["id"], str) and answer["id"]
    assert isinstance(answer["model"], str) and answer["model"]
    assert isinstance(answer["created"], int)
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(answer["choices"])))
    for choice in answer["choices"]:
        assert choice["message"]["role"] == "assistant"
        assert choice["finish_reason"] in {"stop", "length", "tool_calls", "content_filter", "error"}


@pytest.mark.parametrize(
    ("name", "finish", "tokens"),
    [
        ("anthropic/text.json", "stop", Tokens(input=12, output=6)),
        ("anthropic/tools.json", "tool_calls", Tokens(input=472, output=89)),
        ("anthropic/thinking.json", "stop", Tokens(input=40, output=60, reasoning=48)),
        ("anthropic/cached.json", "stop", Tokens(input=50, cache_read=1800, cache_write=248, output=5)),
        ("anthropic/refusal.json", "content_filter", Tokens(input=20, output=1)),
        ("anthropic/max_tokens.json", "length", Tokens(input=9, output=4)),
        ("gemini/text.json", "stop", Tokens(input=8, output=6)),
        ("gemini/tools.json", "tool_calls", Tokens(input=90, output=84, reasoning=64)),
        ("gemini/thinking.json", "length", Tokens(input=60, cache_read=2000, output=54, reasoning=48)),
        ("gemini/safety.json", "content_filter", Tokens(input=7)),
        ("gemini/blocked.json", "content_filter", Tokens(input=7)),
        ("gemini/malformed.json", "error", Tokens(input=70)),
        ("gemini/logprobs.json", "stop", Tokens(input=3, output=2)),
        ("azure_openai/text.json", "stop", Tokens(input=9, output=3)),
        ("openai_compatible/openai_tools.json", "tool_calls", Tokens(input=82, output=17)),
        (
            "openai_compatible/deepseek_reasoning.json",
            "stop",
            Tokens(input=40, cache_read=960, output=60, reasoning=48),
        ),
        ("openai_compatible/xai_reasoning.json", "stop", Tokens(input=26, cache_read=6, output=103, reasoning=94)),
        ("openai_compatible/ollama_length.json", "length", Tokens(input=26, output=4)),
    ],
)
def test_finish_reason_and_usage(name: str, finish: str, tokens: Tokens) -> None:
    body = ADAPTERS[name.partition("/")[0]].read_chat(recorded(name), created=CREATED)
    answer = read_answer(body)
    assert answer.finish_reason == finish
    assert answer.usage == tokens


def test_text_parts_are_joined() -> None:
    for name in ("anthropic/text.json", "gemini/text.json"):
        (choice,) = read_json(name)["choices"]
        assert choice["message"] == {"role": "assistant", "content": "Hello, 世界!", "refusal": None}


def test_anthropic_tool_calls() -> None:
    message = read_json("anthropic/tools.json")["choices"][0]["message"]
    assert message["content"] == "I'll check both."
    first, second = message["tool_calls"]
    assert first["id"] == "toolu_01A09q90qw90lq917835lq9"
    assert first["function"]["name"] == "get_weather"
    assert json.loads(first["function"]["arguments"]) == {"city": "Paris", "days": 3}
    assert second["function"] == {"name": "get_time", "arguments": "{}"}


def test_gemini_tool_calls_get_ids_and_keep_signatures() -> None:
    message = read_json("gemini/tools.json")["choices"][0]["message"]
    assert message["content"] is None
    first, second = message["tool_calls"]
    assert first["id"].startswith("call_") and len(first["id"]) <= 40  # OpenAI's limit
    assert first["extra_content"] == {"google": {"thought_signature": "CpcBAVSoXO4="}}
    assert second == {"id": "fc-2", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}


def test_thinking_is_told_and_kept() -> None:
    message = read_json("anthropic/thinking.json")["choices"][0]["message"]
    assert message["reasoning_content"] == "27 * 453 is 12231."
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "27 * 453 is 12231.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA"},
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
    ]
    assert message["content"] == "12,231"
    message = read_json("gemini/thinking.json")["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("**Multiplying**\n27 * 453.", "12,231")


def test_gemini_logprobs_and_candidates() -> None:
    first, second = read_json("gemini/logprobs.json")["choices"]
    (token,) = first["logprobs"]["content"]
    assert (token["token"], token["logprob"], bytes(token["bytes"]).decode()) == ("Hé", -0.1, "Hé")
    assert [each["token"] for each in token["top_logprobs"]] == ["Hé", "Hi"]
    assert (second["index"], second["message"]["content"], second["logprobs"]) == (1, "Hi", None)


def test_usage_that_is_not_reported_is_missing_and_zero_is_zero() -> None:
    message = {"type": "message", "id": "m", "model": "c", "content": [], "stop_reason": "end_turn"}
    for used, known in (({}, False), ({"input_tokens": 5}, False), ({"input_tokens": 0, "output_tokens": 0}, True)):
        body = json.dumps(message | {"usage": used}).encode()
        answer = json.loads(ADAPTERS["anthropic"].read_chat(body, created=1))
        assert ("usage" in answer) is known


@pytest.mark.parametrize("adapter", ["anthropic", "gemini"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"text"',
        b"<html>",
        b"{}",
        b'{"type": "error", "error": {"type": "api_error", "message": "x"}}',
        b'{"error": {"code": 500}}',
        b'{"candidates": [], "promptFeedback": {}}',
        b'{"type": "message", "content": "text"}',
        b'{"type": "message", "content": [{"text": "\xff"}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_broken(adapter: str, body: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        ADAPTERS[adapter].read_chat(body, created=1)


@pytest.mark.parametrize("adapter", ["anthropic", "gemini"])
def test_arguments_of_any_depth_are_read_or_broken(adapter: str) -> None:
    """What can just be decoded must not be too deep to be written again."""
    broken = 0
    for depth in range(100, 1_200, 7):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        if adapter == "anthropic":
            body = b'{"type":"message","content":[{"type":"tool_use","id":"a","name":"f","input":' + deep + b"}]}"
        else:
            body = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":' + deep + b"}}]}}]}"
        try:
            json.loads(ADAPTERS[adapter].read_chat(body, created=1))
        except BrokenAnswer:
            broken += 1
    assert 0 < broken < 100


def test_openai_answers_are_not_touched() -> None:
    body = recorded("azure_openai/text.json")
    assert ADAPTERS["azure_openai"].read_chat(body, created=1) is body
    assert ADAPTERS["openai_compatible"].read_chat(body, created=1) is body
