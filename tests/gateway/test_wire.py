"""A chat completion request: checked where it is acted on, passed through byte by byte where it is not."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import BadRequest
from apps.gateway.tokens import count_tokens
from apps.gateway.wire import ChatRequest, parse_chat

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def parse(**members: Any) -> ChatRequest:
    return parse_chat(json.dumps(HELLO | members).encode())


def rendered(request: ChatRequest, **given: Any) -> dict[str, Any]:
    body = request.render(**{"model": "up", "output_cap": 100, "cap_name": "max_tokens"} | given)
    result: dict[str, Any] = json.loads(body)
    return result


def test_unknown_members_pass_through_byte_by_byte() -> None:
    odd = {
        "temperature": b"0.70",
        "top_p": b"1e-3",
        "seed": b"123456789012345678901234567890",
        "logit_bias": b'{"50256":-100,"7": 1.0}',
        "metadata": '{ "k": "\\u00e9é" , "deep": [[[{}]]]}'.encode(),
        "response_format": b'{"type":"json_schema", "json_schema":{"name":"x","schema":{}}}',
        "tools": b'[{"type":"function","function":{"name":"f","parameters":{"b":1,"a":2}}}]',
        "tool_choice": b'"auto"',
        "user": b'"u-1"',
        "stop": b'["\\n\\n", "END"]',
        "x_vendor": b"null",
        "": b'"an empty name"',
    }
    body = b'{"messages":[{"role":"user","content":"Hello"}]'
    body += b"".join(b',"%b":%b' % (name.encode(), value) for name, value in odd.items()) + b"}"
    out = parse_chat(body).render(model="up", output_cap=5, cap_name="max_tokens")
    members = msgspec.json.decode(out, type=dict[str, msgspec.Raw])
    for name, value in odd.items():
        assert bytes(members[name]) == value
    assert bytes(members["messages"]) == b'[{"role":"user","content":"Hello"}]'
    assert list(members) == ["messages", *odd, "model", "max_tokens"]


@given(
    st.dictionaries(
        st.text(max_size=10),
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_whatever_is_not_acted_on_comes_out_as_it_went_in(extra: dict[str, Any]) -> None:
    extra = {f"x-{name}": value for name, value in extra.items()}
    assert {k: v for k, v in rendered(parse(**extra)).items() if k in extra} == extra


def test_last_of_two_members_with_one_name_counts_here_and_upstream() -> None:
    body = b'{"messages":[],"n":100,"messages":[{"role":"user","content":"x"}],"n":2}'
    request = parse_chat(body)
    assert request.choices == 2
    assert rendered(request)["n"] == 2
    assert b"100" not in request.render(model="m", output_cap=1, cap_name="max_tokens").replace(b'"max', b"")


@pytest.mark.parametrize(
    ("named", "cap_name", "expected"),
    [
        ({}, "max_tokens", {"max_tokens": 100}),
        ({}, "max_completion_tokens", {"max_completion_tokens": 100}),
        ({"max_tokens": 700}, "max_completion_tokens", {"max_tokens": 100}),
        ({"max_completion_tokens": 50}, "max_tokens", {"max_completion_tokens": 100}),
        (
            {"max_tokens": 7, "max_completion_tokens": 9},
            "max_tokens",
            {"max_tokens": 100, "max_completion_tokens": 100},
        ),
        ({"max_tokens": None}, "max_completion_tokens", {"max_tokens": None, "max_completion_tokens": 100}),
    ],
)
def test_output_cap_is_written_under_the_name_that_was_used(
    named: dict[str, Any], cap_name: str, expected: dict[str, int]
) -> None:
    out = rendered(parse(**named), cap_name=cap_name)
    assert {name: out[name] for name in ("max_tokens", "max_completion_tokens") if name in out} == expected


@pytest.mark.parametrize(
    ("options", "wants", "sent"),
    [
        ({}, False, {"include_usage": True}),
        ({"stream_options": None}, False, {"include_usage": True}),
        ({"stream_options": {}}, False, {"include_usage": True}),
        ({"stream_options": {"include_usage": True}}, True, {"include_usage": True}),
        (
            {"stream_options": {"include_usage": False, "include_obfuscation": False}},
            False,
            {"include_usage": True, "include_obfuscation": False},
        ),
    ],
)
def test_usage_is_always_asked_of_a_stream(options: dict[str, Any], wants: bool, sent: dict[str, Any]) -> None:
    request = parse(stream=True, **options)
    assert request.wants_usage == wants
    assert rendered(request)["stream_options"] == sent


def test_whole_answer_is_asked_without_stream_options() -> None:
    for body in ({}, {"stream": False}, {"stream": None}, {"stream_options": None}, {"stream_options": {}}):
        request = parse(**body)
        assert not request.stream
        assert rendered(request).get("stream_options") in (None, {})


def test_what_has_no_effect_here_is_dropped_and_named() -> None:
    request = parse(web_search_options={"search_context_size": "low"}, stream_options={"include_usage": True})
    assert request.ignored == ("web_search_options", "stream_options")
    assert not request.wants_usage or not request.stream
    assert not {"web_search_options", "stream_options"} & set(rendered(request))
    assert parse(stream=True, stream_options={"include_usage": True}, web_search_options=None).ignored == ()


def test_limit_of_no_token_is_one_of_one() -> None:
    request = parse(max_tokens=0, max_completion_tokens=0)
    assert request.max_output == 1
    assert rendered(request, output_cap=1)["max_tokens"] == 1


def test_extensions_of_a_translated_request_stay_with_those_who_know_them() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    part = {"type": "text", "text": "x"}
    request = parse(
        messages=[
            {"role": "user", "content": [part | mark]},
            {"role": "assistant", "thinking_blocks": [], "tool_calls": [{"id": "a"} | mark]},
        ],
        tools=[{"type": "function", "function": {"name": "f"}} | mark],
        thinking={"type": "enabled"},
        top_k=5,
    )
    assert rendered(request)["messages"][0]["content"] == [part | mark]
    plain = rendered(replace(request, client={"format": "messages"}))
    assert plain["messages"] == [
        {"role": "user", "content": [part]},
        {"role": "assistant", "tool_calls": [{"id": "a"}]},
    ]
    assert plain["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert not {"thinking", "top_k"} & set(plain)
    # OpenRouter and LiteLLM know the mark on parts; all else is taken out for them, too.
    kept = rendered(replace(request, client={"format": "messages"}), keeps_cache_control=True)
    assert kept == plain | {"messages": [{"role": "user", "content": [part | mark]}, plain["messages"][1]]}


def test_caps_choices_and_model_are_read() -> None:
    request = parse(model="m", n=3, max_tokens=9, max_completion_tokens=7)
    assert (request.model, request.choices, request.max_output) == ("m", 3, 7)
    request = parse(model=None, n=None, max_tokens=None)
    assert (request.model, request.choices, request.max_output) == (None, 1, None)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("service_tier", "flex"),
        ("service_tier", "priority"),
        ("search_parameters", {"mode": "on"}),
        ("plugins", [{"id": "web"}]),
        ("modalities", ["text", "audio"]),
        ("modalities", ["image"]),
        ("cache_control", {"type": "ephemeral", "ttl": "1h"}),
        ("tools", [{"type": "function", "function": {"name": "f"}, "cache_control": {"ttl": "1h"}}]),
    ],
)
def test_member_that_is_billed_apart_is_refused(member: str, value: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(**{member: value})
    assert (refused.value.code, refused.value.param) == ("unpriced_parameter", member)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}, "messages[0].content[0]"),
        ({"content": [{"type": "file", "file": {"file_id": "file-1"}}]}, "messages[0].content[0]"),
        ({"content": [{"type": "file"}]}, "messages[0].content[0]"),
        ({"content": [{"type": "video_url", "video_url": {"url": "https://x"}}]}, "messages[0].content[0]"),
        ({"content": None, "audio": {"id": "audio_1"}}, "messages[0].audio"),
        ({"content": [{"type": "text", "text": "x", "cache_control": {"ttl": "1h"}}]}, "messages"),
        ({"content": "x", "cache_control": {"type": "ephemeral", "ttl": 3600}}, "messages"),
        ({"content": [{"type": "tool_result", "content": [{"cache_control": {"ttl": "1h"}}]}]}, "messages"),
    ],
)
def test_part_of_a_message_that_is_billed_apart_is_refused(message: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(messages=[{"role": "user", **message}])
    assert (refused.value.code, refused.value.param) == ("unpriced_parameter", param)


def test_long_cache_is_refused_however_it_is_spelt() -> None:
    body = json.dumps(HELLO | {"tools": [{"cache_control": {"ttl": "1h"}}]})
    for spelt in (
        body.replace("cache_control", "\\u0063ache_control"),
        body.replace("ttl", "\\u0074tl"),
        body.replace("1h", "\\u0031h"),
        body.replace('": ', '"  :  '),
    ):
        with pytest.raises(BadRequest, match="5m"):
            parse_chat(spelt.encode())


@pytest.mark.parametrize(
    "body",
    [
        {"service_tier": "auto"},
        {"service_tier": "default"},
        {"service_tier": None},
        {"modalities": ["text"]},
        {"modalities": None},
        {"web_search_options": None},
        {"cache_control": {"type": "ephemeral"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"ttl": "5m"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": None}]}]},
        {"tools": [{"function": {"parameters": {"properties": {"cache_control": {"type": "string"}}}}}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "data:…"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]},
        {"messages": [{"role": "user", "content": "the ttl of \u00e9 cache_control is 1h"}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
        {"messages": [{"role": "anything"}]},
    ],
)
def test_what_has_a_price_is_taken(body: dict[str, Any]) -> None:
    parse(**body)


def test_prompt_counts_everything_that_reaches_the_model() -> None:
    def count(**members: Any) -> int:
        return parse(**members).prompt.count("o200k_base", 1_600)

    assert count() >= count_tokens("Hello", "o200k_base")
    assert count(tools=[{"function": {"name": "f", "description": "word " * 100}}]) > count() + 100
    assert count(response_format={"schema": "word " * 100}) > count() + 100
    assert count(messages=[*HELLO["messages"], {"role": "tool", "tool_call_id": "word " * 50}]) > count() + 50
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}
    assert count(messages=[image]) > 1_000
    file = {"role": "user", "content": [{"type": "file", "file": {"file_data": "x" * 5_000}}]}
    assert count(messages=[file]) > 5_000


@given(st.text(max_size=300))
def test_prompt_never_counts_more_than_its_bound(text: str) -> None:
    prompt = parse(messages=[{"role": "user", "content": text}]).prompt
    for tokenizer in ("o200k_base", "cl100k_base", "unknown"):
        assert prompt.count(tokenizer, 0) <= prompt.bound(0)
        assert prompt.ceiling(tokenizer, 0) <= prompt.bound(0)


@pytest.mark.parametrize("name", ["Max_Tokens", "MODEL", "N", "max_to\u212aens", "meſſages", "Stream", "Plugins"])
def test_other_spellings_of_what_is_acted_on_are_refused(name: str) -> None:
    """Go's JSON takes names in any case: such a provider would read its limit from the last of them."""
    with pytest.raises(BadRequest) as refused:
        parse(max_tokens=5, **{name: 1})
    assert (refused.value.code, refused.value.param) == ("unknown_parameter", name)


@pytest.mark.parametrize("name", ["models", "provider", "route", "fallbacks", "api_base", "base_url", "api_key"])
def test_another_model_than_the_priced_one_is_refused(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(**{name: ["dear-model"]})
    assert (refused.value.code, refused.value.param) == ("unpriced_parameter", name)


LONG = "word " * 10_000


@pytest.mark.parametrize(
    "given",
    [
        {"documents": [{"text": LONG}]},
        {"prediction": {"type": "content", "content": LONG}},
        {"chat_template": LONG},
        {"messages": [{"role": "user", "content": [{"type": "file", "text": "", "file": {"file_data": LONG}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "other", "text": "", "words": LONG}]}]},
        {"messages": [{"role": "user", "name": LONG, "content": ""}]},
    ],
    ids=["documents", "prediction", "template", "file", "part", "name"],
)
def test_whatever_may_be_part_of_the_prompt_is_counted(given: dict[str, Any]) -> None:
    assert parse(**given).prompt.count("o200k_base", 1_600) >= 10_000


def test_reference_dressed_as_text_is_refused() -> None:
    part = {"type": "video_url", "text": "", "video_url": {"url": "https://example.com/film.mp4"}}
    with pytest.raises(BadRequest):
        parse(messages=[{"role": "user", "content": [part]}])


def test_long_role_is_refused() -> None:
    with pytest.raises(BadRequest):
        parse(messages=[{"role": LONG, "content": "x"}])


@pytest.mark.parametrize(
    ("stop", "named"),
    [
        ("null", False),
        ("[]", False),
        ("[ ]", False),
        ('""', False),
        ('[""]', False),
        ('"END"', True),
        ('["a", "b"]', True),
        ('[" "]', True),
    ],
)
def test_own_stop_is_told_from_none(stop: str, named: bool) -> None:
    assert parse_chat(json.dumps(HELLO)[:-1].encode() + b', "stop": %b}' % stop.encode()).own_stop == named
    assert not parse().own_stop
