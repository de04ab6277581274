"""Typed features: input checked and rendered, answers as text or checked JSON, streams in two kinds of events."""

import json
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from apps.core.errors import BadRequest, FaucetError, NotFound, ProviderFailed
from apps.features.manifest import DETECTORS, Manifest
from apps.features.queries import Principal
from apps.features.services.manifests import read_manifest
from apps.gateway.formats.feature import FeatureFormat, feature_format
from apps.gateway.metering import BrokenAnswer
from apps.gateway.privacy import detect
from apps.gateway.wire import ChatRequest
from tests.gateway.formats.shapes import NOTE, START, USAGE, USAGE_CHUNK, chunk, event, whole

REPLY = """
privacy: {sensitive_fields: [Name]}
input:
  type: object
  properties: {text: {type: string, maxLength: 40}, tone: {enum: [friendly, formal]}, people: {type: array}}
  required: [text]
  additionalProperties: false
prompt:
  system: "Be {{ input.tone|default('friendly') }}."
  user: "Answer: {{ input.text }}"
  examples: [{user: "{{ input.text }}", assistant: fine}]
"""
RATED = """
output: {kind: json, schema: {type: object, properties: {score: {type: integer}}, required: [score]}}
prompt: {user: "Rate {{ input.text }}"}
"""


def manifest(source: str) -> Manifest:
    return read_manifest(source, "yaml")


def feature(source: str = REPLY) -> FeatureFormat:
    return feature_format(cast(Principal, _Caller("reply", manifest(source))))


class _Caller:
    """The part of a principal that decides the format."""

    def __init__(self, feature_key: str, found: Manifest) -> None:
        self.feature_key, self.manifest = feature_key, found


def parse(fmt: FeatureFormat, **body: Any) -> ChatRequest:
    return fmt.parse(json.dumps(body).encode())


def members(request: ChatRequest) -> dict[str, Any]:
    return {name: msgspec.json.decode(raw) for name, raw in request.members.items()}


def refusal(fmt: FeatureFormat, body: bytes) -> tuple[str, str | None]:
    with pytest.raises(BadRequest) as caught:
        fmt.parse(body)
    return caught.value.code, caught.value.param


def test_input_becomes_messages() -> None:
    request = parse(feature(), input={"text": "{{ 7*7 }} {% raw %}", "tone": "formal"})
    assert members(request) == {
        "messages": [
            {"role": "system", "content": "Be formal."},
            {"role": "user", "content": "{{ input.text }}"},
            {"role": "assistant", "content": "fine"},
            {"role": "user", "content": "Answer: {{ 7*7 }} {% raw %}"},
        ]
    }
    assert (request.model, request.stream, request.wants_usage, request.max_output) == (None, False, True, None)
    assert "Answer: {{ 7*7 }}" in request.prompt.text


def test_model_stream_and_limit_are_the_callers() -> None:
    request = parse(feature(), input={"text": "x"}, model="m", stream=True, max_tokens=7)
    assert (request.model, request.stream, request.wants_usage, request.max_output) == ("m", True, True, 7)
    body = json.loads(request.render(model="up", output_cap=5, cap_name="max_tokens"))
    assert (body["model"], body["max_tokens"], body["stream_options"]) == ("up", 5, {"include_usage": True})
    assert "input" not in body


def test_json_output_asks_for_its_schema() -> None:
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
    asked = members(parse(feature(RATED), input={"text": "x"}))["response_format"]
    assert asked == {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    plain = "output: {kind: json}\nprompt: {user: 'JSON please'}"
    assert members(parse(feature(plain), input={}))["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b"{}", "missing_parameter", "input"),
        (b'{"input": null}', "missing_parameter", "input"),
        (b'{"input": []}', "invalid_type", "input"),
        (b'{"input": "text"}', "invalid_type", "input"),
        (b'{"input": {"text": 5}}', "invalid_input", "input.text"),
        (b'{"input": {}}', "invalid_input", "input"),
        (b'{"input": {"text": "x", "more": 1}}', "invalid_input", "input"),
        (b'{"input": {"text": "x", "tone": "rude"}}', "invalid_input", "input.tone"),
        (b'{"input": {"text": "x"}, "messages": []}', "unknown_parameter", "messages"),
        (b'{"input": {"text": "x"}, "tools": []}', "unknown_parameter", "tools"),
        (b'{"input": {"text": "x"}, "max_tokens": 0}', "invalid_type", "max_tokens"),
        (b'{"input": {"text": "x"}, "stream": "yes"}', "invalid_type", "stream"),
        (b'{"input": {"text": "\\ud800"}}', "invalid_json", None),
        (b'{"input": ' + b"[" * 100_000, "invalid_json", None),
    ],
)
def test_what_is_wrong_is_named(body: bytes, code: str, param: str | None) -> None:
    found = refusal(feature(), body)
    assert found[0] == code
    assert param is None or found[1] == param


def test_refusal_quotes_no_input() -> None:
    with pytest.raises(BadRequest) as caught:
        parse(feature(), input={"text": "SECRET" * 20})
    assert caught.value.param == "input.text" and "SECRET" not in caught.value.message


def test_input_without_a_schema_must_still_fit_the_prompt() -> None:
    fmt = feature("prompt: {user: '{{ input.text }}'}")
    assert refusal(fmt, b'{"input": {}}') == ("invalid_input", "input")
    assert parse(fmt, input={"text": "x"}).prompt.text.endswith("x")


def test_prompt_that_comes_out_too_long_is_refused() -> None:
    fmt = feature("prompt: {user: '{% for a in input.l %}{{ input.t }}{% endfor %}'}")
    body = json.dumps({"input": {"l": [1] * 1000, "t": "x" * 10_000}}).encode()
    assert refusal(fmt, body) == ("invalid_input", "input")


def test_sensitive_members_are_told_wherever_they_stand() -> None:
    value = {"text": "x", "people": [{"name": "Ada Lovelace", "NAME": {"first": "A", "n": 5}}, {"other": "Bob"}]}
    assert sorted(parse(feature(), input=value).client["sensitive"]) == ["5", "A", "Ada Lovelace"]


def test_feature_without_a_prompt_is_not_called() -> None:
    with pytest.raises(NotFound) as caught:
        feature("limits: {rpm: 1}")
    assert caught.value.code == "feature_without_prompt"


def answered(fmt: FeatureFormat, text: str, **message: Any) -> dict[str, Any]:
    request = parse(fmt, input={"text": "x"})
    raw = fmt.answer(whole("stop", content=text, **message), request, request_id="req_1", usage=USAGE)
    result: dict[str, Any] = json.loads(raw)
    return result


def test_text_is_answered() -> None:
    assert answered(feature(), "Hello") == {
        "id": "fres_1",
        "object": "feature.result",
        "created": 1_700_000_000,
        "request_id": "req_1",
        "feature": "reply",
        "model": "model-up",
        "output": "Hello",
        "output_problem": None,
        "refusal": None,
        "finish_reason": "stop",
        "usage": {
            "input_tokens": 32,
            "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 4},
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 12},
            "total_tokens": 62,
        },
    }


@pytest.mark.parametrize(
    ("text", "output", "problem"),
    [
        ('{"score": 5}', {"score": 5}, None),
        ('```json\n{"score": 5}\n```', {"score": 5}, None),
        ('{"score": "five"}', '{"score": "five"}', "not_of_schema"),
        ("[1]", "[1]", "not_of_schema"),
        ('{"score": 5', '{"score": 5', "not_json"),
        ("five", "five", "not_json"),
        ("", "", "not_json"),
        ("[" * 50_000, "[" * 50_000, "not_json"),
    ],
)
def test_json_is_answered_or_its_problem_named(text: str, output: Any, problem: str | None) -> None:
    result = answered(feature(RATED), text)
    assert (result["output"], result["output_problem"]) == (output, problem)


def test_refusal_of_the_model_is_told() -> None:
    assert answered(feature(), "", refusal="I cannot.")["refusal"] == "I cannot."


@pytest.mark.parametrize("canonical", [b"", b"[]", b"{"])
def test_answer_that_is_none_is_broken(canonical: bytes) -> None:
    fmt = feature()
    with pytest.raises(BrokenAnswer):
        fmt.answer(canonical, parse(fmt, input={"text": "x"}), request_id="req_1", usage=USAGE)


def events(raw: bytes) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in raw.decode().split("\n\n"):
        if block.startswith("event: "):
            name, _, data = block.partition("\n")
            content = json.loads(data.removeprefix("data: "))
            assert content["type"] == name.removeprefix("event: ")
            found.append((content.pop("type"), content))
    return found


def test_stream_is_deltas_and_one_result() -> None:
    fmt = feature(RATED)
    encoder = fmt.encoder(parse(fmt, input={"text": "x"}, stream=True), request_id="req_1")
    out = b"".join(
        encoder.feed(piece)
        for piece in (
            START,
            b": ping\n\n",
            chunk(content='{"score'),
            chunk(content='": 5}'),
            chunk("stop"),
            USAGE_CHUNK,
        )
    )
    assert events(out) == [("feature.delta", {"text": '{"score'}), ("feature.delta", {"text": '": 5}'})]
    assert b": keep-alive\n\n" in out
    ((name, result),) = events(encoder.finish(NOTE, usage=USAGE))
    assert name == "feature.done"
    assert result.pop("modelfaucet") == NOTE
    assert result == answered(fmt, '{"score": 5}')


def test_stream_is_the_same_however_it_is_cut_into_calls() -> None:
    fmt = feature()
    stream = [START, *(chunk(content=word) for word in ("你好", ", ", "wor", "ld")), chunk("length"), USAGE_CHUNK]
    whole_ = fmt.encoder(parse(fmt, input={"text": "x"}), request_id="req_1")
    pieces = fmt.encoder(parse(fmt, input={"text": "x"}), request_id="req_1")
    assert whole_.feed(b"".join(stream)) == b"".join(pieces.feed(piece) for piece in stream)
    assert whole_.finish(NOTE, usage=USAGE) == (last := pieces.finish(NOTE, usage=USAGE))
    assert events(last)[0][1]["output"] == "你好, world"
    assert events(last)[0][1]["finish_reason"] == "length"


def test_refusal_in_a_stream_is_told_at_the_end() -> None:
    encoder = feature().encoder(parse(feature(), input={"text": "x"}), request_id="req_1")
    assert encoder.feed(chunk(refusal="I can") + chunk(refusal="not.")) == b""
    assert events(encoder.finish(NOTE, usage=USAGE))[0][1]["refusal"] == "I cannot."


def test_stream_that_is_none_is_broken_and_a_failure_ends_it() -> None:
    fmt = feature()
    encoder = fmt.encoder(parse(fmt, input={"text": "x"}), request_id="req_1")
    with pytest.raises(BrokenAnswer):
        encoder.feed(event([1]))
    error: FaucetError = ProviderFailed("Gone.", code="provider_broke_off")
    ((name, content),) = events(encoder.fail(error))
    assert (name, content["error"]["code"], content["error"]["request_id"]) == ("error", "provider_broke_off", "req_1")
    assert fmt.error(error, "req_1") == error.envelope("req_1")


def test_request_that_is_copied_answers_the_same() -> None:
    fmt = feature()
    request = replace(parse(fmt, input={"text": "x"}), max_output=3)
    canonical = whole("stop", content="a")
    assert json.loads(fmt.answer(canonical, request, request_id="req_1", usage=USAGE))["output"] == "a"


def test_detectors_have_the_names_that_manifests_know() -> None:
    assert set(detect.DETECTORS) == set(DETECTORS)
