"""Requests as the client of Anthropic sends them: translated whole, and refused by its own names."""

import json
from typing import Any

import pytest

from apps.core.errors import BadRequest
from apps.gateway.formats.messages import MESSAGES
from apps.gateway.wire import ChatRequest
from tests.gateway.formats.shapes import ARGUMENTS, REDACTED, SIGNED, function_call

HELLO = [{"role": "user", "content": "Hello"}]
MARK = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
IMAGE = {"type": "image", "source": PNG}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Zürich"}}
CALL = function_call("toolu_1", "get_weather", '{"city":"Zürich"}')


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def parse(**members: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 100, "messages": HELLO} | members
    return MESSAGES.parse(json.dumps({k: v for k, v in body.items() if v is not ...}).encode())


def member(name: str, **members: Any) -> Any:
    raw = parse(**members).members.get(name)
    return None if raw is None else json.loads(bytes(raw))


def messages(*given: dict[str, Any], **more: Any) -> Any:
    return member("messages", messages=list(given), **more)


def test_plain_request() -> None:
    request = parse(system="Be brief.", stream=True, temperature=0.7, top_p=0.9, top_k=5)
    assert json.loads(bytes(request.members["messages"])) == [{"role": "system", "content": "Be brief."}, *HELLO]
    assert (request.model, request.stream, request.wants_usage, request.max_output) == ("m", True, True, 100)
    assert request.choices == 1
    assert {name: float(bytes(request.members[name])) for name in ("temperature", "top_p", "top_k")} == {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
    }
    assert "Be brief." in request.prompt.text
    sent = json.loads(request.render(model="up", output_cap=50, cap_name="max_completion_tokens"))
    assert (sent["max_completion_tokens"], "max_tokens" in sent, "top_k" in sent) == (50, False, False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("You are.", [{"role": "system", "content": "You are."}]),
        ("", []),
        (None, []),
        ([], []),
        ([text("One")], [{"role": "system", "content": "One"}]),
        ([text("One"), text("Two", **MARK)], [{"role": "system", "content": [text("One"), text("Two", **MARK)]}]),
    ],
)
def test_system(given: Any, expected: Any) -> None:
    assert messages(*HELLO, system=given) == [*expected, *HELLO]


def test_blocks_of_a_user() -> None:
    found = messages(
        {
            "role": "user",
            "content": [
                text("See:", **MARK),
                IMAGE,
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "document", "title": "a.pdf", "source": PNG | {"media_type": "application/pdf"}},
                {"type": "document", "title": "Notes", "source": {"type": "text", "data": "Text.", **MARK}},
                {"type": "document", "source": {"type": "content", "content": [text("In"), IMAGE]}},
                {"type": "search_result", "title": "T", "source": "s", "content": [text("found")], **MARK},
            ],
        }
    )
    pdf = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,iVBORw0KGgo="}
    assert found == [
        {
            "role": "user",
            "content": [
                text("See:", **MARK),
                SHOWN,
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "file", "file": pdf},
                text("Notes"),
                text("Text."),
                text("In"),
                SHOWN,
                text("T\ns"),
                text("found", **MARK),
            ],
        }
    ]


def test_tool_round_trip() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("12 degrees"), text("rain")]}
    found = messages(
        *HELLO,
        {"role": "assistant", "content": [text("I look."), USE]},
        {"role": "user", "content": [result, text("And tomorrow?")]},
    )
    assert found[1:] == [
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "12 degrees\nrain"},
        {"role": "user", "content": "And tomorrow?"},
    ]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, ""),
        ({"content": "done"}, "done"),
        ({"content": []}, ""),
        ({"content": "no such city", "is_error": True}, "Error:\nno such city"),
        ({"content": "done", **MARK}, [text("done", **MARK)]),
    ],
)
def test_tool_results(result: dict[str, Any], expected: Any) -> None:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", **result}
    found = messages({"role": "assistant", "content": [USE]}, {"role": "user", "content": [block]})
    assert found[0] == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert found[1:] == [{"role": "tool", "tool_call_id": "toolu_1", "content": expected}]


def test_images_of_tools_are_shown_by_the_user_after_all_results() -> None:
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("a screen"), IMAGE]},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "ok"},
    ]
    found = messages(
        {"role": "assistant", "content": [USE, USE | {"id": "toolu_2"}]}, {"role": "user", "content": results}
    )
    assert [message["role"] for message in found] == ["assistant", "tool", "tool", "user"]
    assert found[3]["content"] == [text("Returned by tool call toolu_1:"), SHOWN]


def test_thinking_goes_back_to_who_can_verify_it() -> None:
    unsigned = {"type": "thinking", "thinking": "Mine.", "signature": ""}
    [_, first, second] = messages(
        *HELLO,
        {"role": "assistant", "content": [SIGNED, REDACTED, text("There.")]},
        {"role": "assistant", "content": [unsigned, text("Here.")]},
    )
    assert first == {"role": "assistant", "content": "There.", "thinking_blocks": [SIGNED, REDACTED]}
    assert second == {"role": "assistant", "content": "Here.", "reasoning_content": "Mine."}


def test_tools_and_choices() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"name": "get_weather", "description": "Weather.", "input_schema": schema, "strict": True, **MARK}
    function = {"name": "get_weather", "description": "Weather.", "parameters": schema, "strict": True}
    assert member("tools", tools=[tool]) == [{"type": "function", "function": function, **MARK}]
    for given, expected in [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ]:
        assert member("tool_choice", tools=[tool], tool_choice=given) == expected
    one = {"type": "auto", "disable_parallel_tool_use": True}
    assert member("parallel_tool_calls", tools=[tool], tool_choice=one) is False
    assert member("parallel_tool_calls", tools=[tool]) is None
    assert member("tool_choice", tools=[], tool_choice={"type": "auto"}) is None


def test_settings() -> None:
    request = parse(stop_sequences=["END"], metadata={"user_id": "u-1"}, service_tier="standard_only", unknown={"a": 1})
    assert json.loads(bytes(request.members["stop"])) == ["END"]
    assert request.own_stop
    assert json.loads(bytes(request.members["user"])) == "u-1"
    assert request.ignored == ("unknown",)
    assert not {"service_tier", "unknown", "metadata"} & set(request.members)
    schema = {"type": "object"}
    request = parse(output_config={"effort": "xhigh", "format": {"type": "json_schema", "schema": schema}}, **MARK)
    assert json.loads(bytes(request.members["reasoning_effort"])) == "xhigh"
    assert json.loads(bytes(request.members["response_format"]))["json_schema"]["schema"] == schema
    assert json.loads(bytes(request.members["cache_control"])) == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("thinking", "effort", "shown"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, "low", True),
        ({"type": "enabled", "budget_tokens": 10_000}, "medium", True),
        ({"type": "enabled", "budget_tokens": 50_000}, "high", True),
        ({"type": "adaptive"}, None, True),
        ({"type": "disabled"}, None, False),
        (None, None, False),
    ],
)
def test_thinking(thinking: Any, effort: str | None, shown: bool) -> None:
    assert member("reasoning_effort", thinking=thinking) == effort
    assert member("thinking", thinking=thinking) == (thinking if shown else None)
    assert parse(thinking=thinking).client["thinking"] is shown


def test_max_tokens() -> None:
    assert parse(max_tokens=0).max_output == 1
    assert MESSAGES.parse_count(json.dumps({"model": "m", "messages": HELLO}).encode()).max_output is None
    assert MESSAGES.count_answer(7) == {"input_tokens": 7}


def said(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [*HELLO, {"role": role, "content": list(blocks)}]}


TYPE, GONE, UNPRICED, MISSING = "invalid_type", "unsupported_parameter", "unpriced_parameter", "missing_parameter"


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"max_tokens": ...}, MISSING, "max_tokens"),
        ({"max_tokens": "many"}, TYPE, "max_tokens"),
        ({"max_tokens": 10**9}, TYPE, "max_tokens"),
        ({"messages": ...}, MISSING, "messages"),
        ({"messages": []}, TYPE, "messages"),
        ({"messages": "Hello"}, TYPE, "messages"),
        ({"messages": ["Hello"]}, TYPE, "messages[0]"),
        ({"messages": [{"content": "x"}]}, MISSING, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, TYPE, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, TYPE, "messages[0].content"),
        ({"model": 5}, TYPE, "model"),
        ({"model": "x" * 300}, TYPE, "model"),
        ({"stream": "yes"}, TYPE, "stream"),
        ({"system": 5}, TYPE, "system"),
        ({"system": [IMAGE]}, TYPE, "system[0].type"),
        ({"stop_sequences": "END"}, TYPE, "stop_sequences"),
        ({"metadata": []}, TYPE, "metadata"),
        ({"tools": {}}, TYPE, "tools"),
        ({"tools": [{"name": "f"}]}, MISSING, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, MISSING, "tools[0].name"),
        ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, UNPRICED, "tools[0]"),
        ({"tools": [{"type": "code_execution_20250522", "name": "x"}]}, UNPRICED, "tools[0]"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, GONE, "tools[0]"),
        ({"tool_choice": {"type": "some"}}, TYPE, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, MISSING, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, TYPE, "thinking.budget_tokens"),
        ({"thinking": True}, TYPE, "thinking"),
        ({"output_config": {"format": {"type": "regex"}}}, TYPE, "output_config.format.type"),
        ({"service_tier": "priority"}, UNPRICED, "service_tier"),
        ({"speed": "fast"}, UNPRICED, "speed"),
        ({"inference_geo": "us"}, UNPRICED, "inference_geo"),
        ({"container": {"id": "c"}}, UNPRICED, "container"),
        ({"mcp_servers": [{"type": "url"}]}, UNPRICED, "mcp_servers"),
        ({"cache_control": {"ttl": "1h"}}, UNPRICED, "cache_control.ttl"),
        (said("x"), TYPE, "messages[1].content[0]"),
        (said({"text": "x"}), MISSING, "messages[1].content[0].type"),
        (said({"type": "text"}), MISSING, "messages[1].content[0].text"),
        (said({"type": "video"}), TYPE, "messages[1].content[0].type"),
        (said(text("x", cache_control={"ttl": "1h"})), UNPRICED, "messages[1].content[0].cache_control.ttl"),
        (said({"type": "image", "source": {"type": "file", "file_id": "f"}}), GONE, "messages[1].content[0].source"),
        (said({"type": "image"}), TYPE, "messages[1].content[0].source"),
        (said({"type": "image", "source": {"type": "base64"}}), MISSING, "messages[1].content[0].source.media_type"),
        (said({"type": "document", "source": {"type": "url", "url": "x"}}), UNPRICED, "messages[1].content[0].source"),
        (said({"type": "tool_result"}), MISSING, "messages[1].content[0].tool_use_id"),
        (said({"type": "tool_result", "tool_use_id": "x", "content": [5]}), TYPE, "messages[1].content[0].content[0]"),
        (said({"type": "tool_result", "tool_use_id": "x"}, role="system"), TYPE, "messages[1].content[0].type"),
        (said({"type": "web_search_tool_result"}), GONE, "messages[1].content[0]"),
        (said({"type": "server_tool_use"}, role="assistant"), GONE, "messages[1].content[0]"),
        (said({"type": "tool_use", "id": "x", "name": "f", "input": 5}, role="assistant"), TYPE, None),
        (said({"type": "thinking", "signature": "s"}, role="assistant"), MISSING, "messages[1].content[0].thinking"),
    ],
)
def test_refusals_name_the_clients_own_parameter(members: dict[str, Any], code: str, param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(**members)
    assert (refused.value.code, refused.value.param) == (code, param or "messages[1].content[0].input")
    assert f"'{refused.value.param}'" in refused.value.message


def test_arguments_are_kept_as_they_were() -> None:
    use = USE | {"input": json.loads(ARGUMENTS)}
    [found] = messages({"role": "assistant", "content": [use]})
    assert json.loads(found["tool_calls"][0]["function"]["arguments"]) == json.loads(ARGUMENTS)
