"""Canonical requests as bodies for Gemini's generateContent."""

from typing import Any

import pytest

from apps.core.errors import BadRequest
from apps.gateway.providers.registry import ADAPTERS
from tests.gateway.providers.reading import call, function, rendered, request

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
USER = {"role": "user", "content": "Hello"}


def body(*messages: dict[str, Any], model: str = "", cap: int = 4096, **members: Any) -> Any:
    return rendered("gemini", request(*messages, **members), model=model, cap=cap)


def test_smallest_request() -> None:
    assert body() == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {"maxOutputTokens": 4096},
    }


@pytest.mark.parametrize(
    ("base", "root"),
    [
        ("https://generativelanguage.googleapis.com", "https://generativelanguage.googleapis.com/v1beta"),
        ("https://generativelanguage.googleapis.com/v1beta/", "https://generativelanguage.googleapis.com/v1beta"),
        ("https://generativelanguage.googleapis.com/v1", "https://generativelanguage.googleapis.com/v1"),
        (
            "https://aiplatform.googleapis.com/v1/publishers/google",
            "https://aiplatform.googleapis.com/v1/publishers/google",
        ),
        (
            "https://gateway.ai.cloudflare.com/v1/acc/gw/google-ai-studio",
            "https://gateway.ai.cloudflare.com/v1/acc/gw/google-ai-studio/v1beta",
        ),
    ],
)
def test_addresses(base: str, root: str) -> None:
    adapter = ADAPTERS["gemini"]
    model = "gemini-2.5-flash"
    assert adapter.chat_url(base, model=model, stream=False) == f"{root}/models/{model}:generateContent"
    assert adapter.chat_url(base, model=model, stream=True) == f"{root}/models/{model}:streamGenerateContent?alt=sse"
    assert adapter.chat_url(base, model="tunedModels/mine", stream=False) == f"{root}/tunedModels/mine:generateContent"
    assert adapter.embeddings_url(base, model="e") == f"{root}/models/e:batchEmbedContents"
    assert adapter.check_url(base) == f"{root}/models"


def test_a_model_name_does_not_leave_its_place_in_the_address() -> None:
    url = ADAPTERS["gemini"].chat_url("https://example.com/v1", model="a?b#c d", stream=False)
    assert url == "https://example.com/v1/models/a%3Fb%23c%20d:generateContent"


def test_roles_and_system() -> None:
    made = body({"role": "system", "content": "Be brief."}, USER, {"role": "assistant", "content": "Hi"}, USER)
    assert made["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert [turn["role"] for turn in made["contents"]] == ["user", "model", "user"]


def test_tools_and_their_results() -> None:
    signed = call("a", "one", '{"x": 1}') | {"extra_content": {"google": {"thought_signature": "sig"}}}
    made = body(
        USER,
        {"role": "assistant", "content": "ok", "tool_calls": [signed, call("b", "two")]},
        {"role": "tool", "tool_call_id": "a", "content": '{"degrees": 21}'},
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
        tools=[function("one"), function("two", description=None)],
        tool_choice="auto",
    )
    assert made["contents"][1]["parts"] == [
        {"text": "ok"},
        {"functionCall": {"id": "a", "name": "one", "args": {"x": 1}}, "thoughtSignature": "sig"},
        {"functionCall": {"id": "b", "name": "two", "args": {}}},
    ]
    assert made["contents"][2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "a", "name": "one", "response": {"degrees": 21}}},
            {"functionResponse": {"id": "b", "name": "two", "response": {"output": "noon"}}},
        ],
    }
    (tools,) = made["tools"]
    assert tools["functionDeclarations"] == [
        {"name": "one", "description": "d", "parametersJsonSchema": function("one")["function"]["parameters"]},
        {"name": "two", "parametersJsonSchema": function("two")["function"]["parameters"]},
    ]
    assert "toolConfig" not in made


def test_a_call_without_a_signature_is_marked_for_models_that_want_one() -> None:
    said = {"role": "assistant", "tool_calls": [call("a", "one"), call("b", "two")]}
    results = [{"role": "tool", "tool_call_id": each, "content": "x"} for each in "ab"]
    made = body(USER, said, *results, model="gemini-3-pro-preview")
    first, second = made["contents"][1]["parts"]
    assert first["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in second
    assert "thoughtSignature" not in body(USER, said, *results)["contents"][1]["parts"][0]


def test_a_failed_tool_and_an_image_from_one() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    made = body(
        USER,
        {"role": "assistant", "tool_calls": [call("a", "one"), call("b", "two")]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "{}"}, image]},
        {"role": "tool", "tool_call_id": "b", "content": "broken", "is_error": True},
    )
    assert made["contents"][2]["parts"] == [
        {"functionResponse": {"id": "a", "name": "one", "response": {}}},
        {"functionResponse": {"id": "b", "name": "two", "response": {"error": "broken"}}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        ("auto", None),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "one"}}, {"mode": "ANY", "allowedFunctionNames": ["one"]}),
    ],
)
def test_tool_choice(choice: Any, made: Any) -> None:
    config = body(tools=[function("one")], tool_choice=choice).get("toolConfig")
    assert (config and config["functionCallingConfig"]) == made


def test_images_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "image_url", "image_url": {"url": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
    ]
    assert body({"role": "user", "content": parts})["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
    ]


def test_settings() -> None:
    made = body(
        stop="END",
        temperature=1.5,
        top_p=0.9,
        top_k=40,
        seed=7,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        n=3,
        logprobs=True,
        top_logprobs=2,
        user="u-1",
        stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    )
    assert made["generationConfig"] == {
        "maxOutputTokens": 4096,
        "candidateCount": 3,
        "temperature": 1.5,
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "presencePenalty": 0.5,
        "frequencyPenalty": -0.5,
        "stopSequences": ["END"],
        "responseLogprobs": True,
        "logprobs": 2,
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    assert made.keys() == {"contents", "generationConfig"}
    config = body(response_format={"type": "json_object"})["generationConfig"]
    assert config == {"maxOutputTokens": 4096, "responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("model", "given", "made"),
    [
        ("gemini-2.5-pro", {"reasoning_effort": "low"}, {"thinkingBudget": 1_024, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-3-pro-preview", {"reasoning_effort": "minimal"}, {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3-flash", {"reasoning_effort": "minimal"}, {"thinkingLevel": "minimal", "includeThoughts": True}),
        ("gemini-3.5-flash", {"reasoning_effort": "xhigh"}, {"thinkingLevel": "high", "includeThoughts": True}),
        (
            "gemini-2.5-pro",
            {"thinking": {"type": "enabled", "budget_tokens": 9_000}},
            {"thinkingBudget": 2_048, "includeThoughts": True},
        ),
        ("gemini-2.5-pro", {"thinking": {"type": "adaptive"}}, {"includeThoughts": True}),
        ("gemini-2.5-flash", {"thinking": {"type": "disabled"}}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {}, None),
    ],
)
def test_thinking(model: str, given: dict[str, Any], made: Any) -> None:
    assert body(model=model, **given)["generationConfig"].get("thinkingConfig") == made


@pytest.mark.parametrize(
    ("messages", "members", "param"),
    [
        ([USER], {"logit_bias": {"5": 1}}, "logit_bias"),
        ([USER], {"tools": [function("one")], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ([USER], {"temperature": 2.5}, "temperature"),
        ([USER], {"reasoning_effort": "none", "model": "gemini-3-pro"}, "reasoning_effort"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.com/b.png"}}]}],
            {},
            "messages[0].content[0]",
        ),
        ([{"role": "function", "name": "f", "content": "x"}], {}, "messages[0].role"),
        ([{"role": "user", "content": [{"type": "odd"}]}], {}, "messages[0].content[0]"),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:a/b;base64,A"}}]}],
            {},
            "messages[0].content",
        ),
    ],
)
def test_what_would_change_the_meaning_is_refused(
    messages: list[dict[str, Any]], members: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        body(*messages, **{"model": "gemini-2.5-flash"} | members)
    assert (refusal.value.code, refusal.value.param) == ("unsupported_by_provider", param)
