"""Requests to Responses as OpenAI's client sends them: translated whole, and refused by their own names."""

import json
from typing import Any

import pytest

from apps.core.errors import BadRequest
from apps.gateway.formats.responses import RESPONSES
from apps.gateway.formats.responses.reasoning import pack, unpack
from apps.gateway.wire import ChatRequest
from tests.gateway.formats.shapes import REDACTED, SIGNED, function_call

CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"city":"Rom"}',
}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "12 degrees"}
CALLED = function_call("call_1", "get_weather", '{"city":"Rom"}')
ANSWERED = {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"}
ASKED = {"role": "user", "content": "Weather?"}
URL = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {}}


def parse(**members: Any) -> ChatRequest:
    return RESPONSES.parse(json.dumps({"model": "m", "input": "Hello"} | members).encode())


def member(name: str, **members: Any) -> Any:
    raw = parse(**members).members.get(name)
    return None if raw is None else json.loads(bytes(raw))


def messages(*items: Any, **more: Any) -> Any:
    return member("messages", input=list(items), **more)


def said(role: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts), **more}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def test_plain_request() -> None:
    request = parse(instructions="Be brief.", stream=True, temperature=0.7, max_output_tokens=50, user="u")
    assert json.loads(bytes(request.members["messages"])) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    assert (request.model, request.stream, request.wants_usage, request.max_output) == ("m", True, True, 50)
    assert set(request.members) == {"messages", "model", "stream", "temperature", "user"}
    sent = json.loads(request.render(model="up", output_cap=40, cap_name="max_tokens"))
    assert (sent["max_tokens"], sent["stream_options"]) == (40, {"include_usage": True})
    assert member("messages", input=None, instructions="Only this.") == [{"role": "system", "content": "Only this."}]


def test_messages_and_their_parts() -> None:
    found = messages(
        {"role": "developer", "content": "Rules."},
        said(
            "user",
            {"type": "input_text", "text": "See:"},
            {"type": "input_image", "image_url": URL, "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        ),
        said("assistant", {"type": "output_text", "text": "I see.", "annotations": []}, id="msg_1", status="completed"),
        said("assistant", {"type": "refusal", "refusal": "No more."}),
        {"role": "user", "content": "Go on"},
    )
    assert found == [
        {"role": "system", "content": "Rules."},
        {
            "role": "user",
            "content": [
                text("See:"),
                {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
            ],
        },
        {"role": "assistant", "content": "I see."},
        {"role": "assistant", "content": "No more."},
        {"role": "user", "content": "Go on"},
    ]


def test_one_turn_of_the_model_is_one_message() -> None:
    other = CALL | {"call_id": "call_2"}
    found = messages(
        ASKED,
        said("assistant", {"type": "output_text", "text": "I look."}),
        CALL,
        other,
        OUTPUT,
        OUTPUT | {"call_id": "call_2"},
        said("assistant", {"type": "output_text", "text": "12 degrees."}),
    )
    assert found == [
        ASKED,
        {"role": "assistant", "content": "I look.", "tool_calls": [CALLED, CALLED | {"id": "call_2"}]},
        ANSWERED,
        ANSWERED | {"tool_call_id": "call_2"},
        {"role": "assistant", "content": "12 degrees."},
    ]
    assert messages(ASKED, CALL, OUTPUT)[1] == {"role": "assistant", "content": None, "tool_calls": [CALLED]}


def test_images_of_tools_are_shown_by_the_user_after_all_outputs() -> None:
    image = {"type": "input_image", "image_url": URL, "detail": "auto"}
    found = messages(
        ASKED,
        CALL,
        CALL | {"call_id": "call_2"},
        OUTPUT | {"output": [{"type": "input_text", "text": "a screen"}, image]},
        OUTPUT | {"call_id": "call_2"},
        CALL,
        OUTPUT,
    )
    assert [each["role"] for each in found] == ["user", "assistant", "tool", "tool", "user", "assistant", "tool"]
    assert found[4]["content"][1] == {"type": "image_url", "image_url": {"url": URL, "detail": "auto"}}


def test_custom_tools_are_functions_of_one_text() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    tool = {"type": "custom", "name": "patch", "description": "Patches.", "format": grammar}
    request = parse(tools=[tool])
    [found] = json.loads(bytes(request.members["tools"]))
    assert found["function"]["description"] == "Patches.\n\nThe input must match this lark grammar:\nstart: /x/"
    assert found["function"]["parameters"]["required"] == ["input"]
    assert request.client["custom"] == {"patch"}
    call = {"type": "custom_tool_call", "call_id": "call_1", "name": "patch", "input": 'a "b"'}
    assert messages(ASKED, call, OUTPUT | {"type": "custom_tool_call_output"})[1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [function_call("call_1", "patch", '{"input":"a \\"b\\""}')],
        },
        ANSWERED,
    ]


def test_reasoning_goes_back_as_it_came() -> None:
    summary = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    packed = summary | {"encrypted_content": pack([SIGNED, REDACTED])}
    foreign = summary | {"encrypted_content": "gAAAAB"}
    assert messages(ASKED, summary, CALL, OUTPUT)[1]["reasoning_content"] == "Hm."
    found = messages(ASKED, packed, CALL, OUTPUT)[1]
    assert found == {
        "role": "assistant",
        "content": None,
        "thinking_blocks": [SIGNED, REDACTED],
        "tool_calls": [CALLED],
    }
    assert messages(ASKED, foreign, CALL, OUTPUT)[1]["reasoning_content"] == "Hm."
    assert messages(ASKED, packed) == [ASKED]  # nothing came of it
    assert unpack("mf1.!") == unpack("mf1.MQ==") == unpack(None) == []


def test_tools_and_choices() -> None:
    tool = {"type": "function", "name": "f", "description": "F.", "parameters": SCHEMA, "strict": True}
    function = {"name": "f", "description": "F.", "parameters": SCHEMA, "strict": True}
    assert member("tools", tools=[tool]) == [{"type": "function", "function": function}]
    for given, expected in [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "custom", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ]:
        assert member("tool_choice", tools=[tool], tool_choice=given) == expected
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    request = parse(tools=[tool, tool | {"name": "g"}], tool_choice=allowed, parallel_tool_calls=False)
    assert [each["function"]["name"] for each in json.loads(bytes(request.members["tools"]))] == ["g"]
    assert bytes(request.members["tool_choice"]) == b'"required"'
    assert bytes(request.members["parallel_tool_calls"]) == b"false"
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(
        parse(tools=[], tool_choice="none", parallel_tool_calls=True).members
    )


def test_form_of_the_answer() -> None:
    form = {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True, "description": "X."}
    request = parse(text={"format": form, "verbosity": "low"}, reasoning={"effort": "high", "summary": "auto"})
    schema = {"name": "x", "schema": SCHEMA, "strict": True, "description": "X."}
    assert json.loads(bytes(request.members["response_format"])) == {"type": "json_schema", "json_schema": schema}
    assert json.loads(bytes(request.members["verbosity"])) == "low"
    assert json.loads(bytes(request.members["reasoning_effort"])) == "high"
    assert member("response_format", text={"format": {"type": "json_object"}}) == {"type": "json_object"}
    assert member("response_format", text={"format": {"type": "text"}}) is None


def test_what_has_no_effect_is_named() -> None:
    request = parse(
        store=True,
        background=False,
        include=["reasoning.encrypted_content", "file_search_call.results"],
        truncation="auto",
        max_tool_calls=3,
        context_management=[{"type": "compaction"}],
        reasoning={"context": "all_turns"},
        metadata={"a": "b"},
        stream_options={"include_obfuscation": False},
        moderation=None,
    )
    assert request.ignored == ("context_management", "reasoning.context", "include: file_search_call.results")
    assert set(request.members) == {"model", "messages"}
    assert request.client["encrypted"]
    assert set(request.client["echo"]) == {"truncation", "reasoning", "metadata"}


def inputs(*items: Any) -> dict[str, Any]:
    return {"input": [ASKED, *items]}


def part(**part: Any) -> dict[str, Any]:
    return inputs(said("user", part))


TYPE, GONE, UNPRICED, MISSING = "invalid_type", "unsupported_parameter", "unpriced_parameter", "missing_parameter"


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"input": None}, MISSING, "input"),
        ({"input": []}, TYPE, "input"),
        ({"input": 5}, TYPE, "input"),
        ({"input": ["x"]}, TYPE, "input[0]"),
        ({"input": [{}]}, MISSING, "input[0].type"),
        ({"instructions": 5}, TYPE, "instructions"),
        ({"max_output_tokens": -1}, TYPE, "max_output_tokens"),
        ({"stream": 1}, TYPE, "stream"),
        ({"metadata": {"a": 1}}, TYPE, "metadata"),
        ({"store": "no"}, TYPE, "store"),
        ({"include": "x"}, TYPE, "include"),
        ({"previous_response_id": "resp_1"}, GONE, "previous_response_id"),
        ({"conversation": "conv_1"}, GONE, "conversation"),
        ({"prompt": {"id": "p"}}, GONE, "prompt"),
        ({"background": True}, GONE, "background"),
        ({"service_tier": "flex"}, UNPRICED, "service_tier"),
        ({"reasoning": {"mode": "pro"}}, UNPRICED, "reasoning.mode"),
        ({"reasoning": {"effort": 5}}, TYPE, "reasoning.effort"),
        ({"text": {"format": {"type": "regex"}}}, TYPE, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, MISSING, "text.format.name"),
        *(
            ({"tools": [{"type": kind}]}, UNPRICED, "tools[0]")
            for kind in ("web_search", "web_search_preview", "file_search", "code_interpreter", "mcp", "computer")
        ),
        ({"tools": [{"type": "image_generation"}]}, UNPRICED, "tools[0]"),
        ({"tools": [{"type": "local_shell"}]}, GONE, "tools[0]"),
        ({"tools": [{"type": "function"}]}, MISSING, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "defer_loading": True}]}, GONE, "tools[0].defer_loading"),
        ({"tool_choice": "some"}, TYPE, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, GONE, "tool_choice"),
        (inputs({"type": "item_reference", "id": "x"}), GONE, "input[1]"),
        (inputs({"type": "web_search_call"}), GONE, "input[1]"),
        (inputs({"role": "tool", "content": "x"}), TYPE, "input[1].role"),
        (inputs({"type": "function_call", "name": "f"}), MISSING, "input[1].arguments"),
        (inputs({"type": "function_call_output", "output": "x"}), MISSING, "input[1].call_id"),
        (inputs({"type": "function_call_output", "call_id": "x"}), TYPE, "input[1].output"),
        (part(type="input_text"), MISSING, "input[1].content[0].text"),
        (part(type="input_image", file_id="f"), GONE, "input[1].content[0].file_id"),
        (part(type="input_image"), MISSING, "input[1].content[0].image_url"),
        (part(type="input_file", file_url="https://x"), UNPRICED, "input[1].content[0].file_url"),
        (part(type="input_audio"), UNPRICED, "input[1].content[0]"),
        (part(type="hologram"), TYPE, "input[1].content[0].type"),
    ],
)
def test_refusals_name_the_clients_own_parameter(members: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(**members)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert f"'{param}'" in refused.value.message
