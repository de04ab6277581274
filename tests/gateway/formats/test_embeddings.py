"""Embeddings requests: checked where they are acted on, handed on as they came."""

import json
from typing import Any

import pytest

from apps.core.errors import BadRequest
from apps.gateway.formats.embeddings import EMBEDDINGS, MAX_INPUTS, TOKENS_PER_INPUT, EmbeddingsRequest, read_embeddings
from apps.gateway.metering import BrokenAnswer
from apps.gateway.tokens import count_tokens
from apps.usage.rate import Tokens


def parse(given: Any, **more: Any) -> EmbeddingsRequest:
    return EMBEDDINGS.parse(json.dumps({"model": "m", "input": given} | more).encode())


@pytest.mark.parametrize(
    ("given", "inputs", "tokens"),
    [
        ("Hello there", 1, count_tokens("Hello there", "o200k_base")),
        (["Hello", "there"], 2, count_tokens("Hello\nthere", "o200k_base")),
        ([1, 2, 3], 1, 3),
        ([[1, 2], [3]], 2, 3),
        (["x"] * MAX_INPUTS, MAX_INPUTS, count_tokens("\n".join(["x"] * MAX_INPUTS), "o200k_base")),
        (list(range(5_000)), 1, 5_000),
    ],
)
def test_inputs_are_counted(given: Any, inputs: int, tokens: int) -> None:
    request = parse(given)
    assert request.inputs == inputs
    assert request.prompt.count("o200k_base", 0) == tokens + inputs * TOKENS_PER_INPUT


def test_request_is_handed_on_as_it_came() -> None:
    more = {"dimensions": 3, "encoding_format": "base64", "user": "u", "vendor": {"x": 1.50}}
    request = parse(["a"], **more)
    assert request.model == "m"
    assert json.loads(request.render(model="up")) == {"model": "up", "input": ["a"]} | more


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"input": None}, "missing_parameter", "input"),
        *(
            ({"input": given}, "invalid_type", "input")
            for given in (5, {}, [], "", [""], ["a", 1], [1, [1]], [[]], [1.5], [None], ["x"] * (MAX_INPUTS + 1))
        ),
        ({"model": 5}, "invalid_type", "model"),
        ({"dimensions": 0}, "invalid_type", "dimensions"),
        ({"dimensions": "x"}, "invalid_type", "dimensions"),
        ({"encoding_format": "hex"}, "invalid_type", "encoding_format"),
        ({"service_tier": "flex"}, "unpriced_parameter", "service_tier"),
        ({"Input": "x"}, "unknown_parameter", "Input"),
    ],
)
def test_refusals(members: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(**{"given": "x"} | members) if "input" not in members else parse(members["input"])
    assert (refused.value.code, refused.value.param) == (code, param)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, Tokens(input=7)),
        ({"total_tokens": 7}, Tokens(input=7)),
        ({"prompt_tokens": 0, "total_tokens": 0}, Tokens()),
        ({"prompt_tokens": "many"}, None),
        (None, None),
    ],
)
def test_usage_of_an_answer(usage: Any, expected: Tokens | None) -> None:
    answer = {"object": "list", "data": [{"embedding": [0.1], "index": 0}], "usage": usage}
    assert read_embeddings(json.dumps(answer).encode()) == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": {}}', b'{"data": []}', b"<html>", b"[" * 100_000])
def test_answer_without_embeddings_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        read_embeddings(body)


def test_errors_are_openais() -> None:
    error = BadRequest("No.", param="input")
    assert EMBEDDINGS.error(error, "req_1") == error.envelope("req_1")
