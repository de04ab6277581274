"""Schemas of typed features: no network, no endless patterns, no references that add up."""

import time
from typing import Any

import pytest

from apps.core.errors import BadRequest
from apps.features.schemas import DIALECT, MAX_NODES, Schema, check_schema

PERSON = {
    "$schema": DIALECT,
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/t"}},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"t": {"type": "string", "pattern": "^[a-z]+$"}},
}


def test_schema_is_taken_and_names_the_place() -> None:
    check_schema(PERSON, "input", takes_object=True)
    schema = Schema(PERSON)
    assert schema.problem({"name": "Ada", "tags": ["x"]}, "input") is None
    for value, path in (
        ({}, "input"),
        ({"name": 5}, "input.name"),
        ({"name": "Ada", "tags": ["x", "SECRET"]}, "input.tags[1]"),
        ({"name": "Ada", "other": 1}, "input"),
        ([], "input"),
    ):
        problem = schema.problem(value, "input")
        assert problem is not None and problem[0] == path


def test_values_are_not_quoted() -> None:
    problem = Schema(PERSON).problem({"name": "very secret"}, "input")
    assert problem is not None and "secret" not in problem[1]


def doubling(depth: int) -> dict[str, Any]:
    names = [f"#/$defs/a{number + 1}" for number in range(depth)]
    definitions: dict[str, Any] = {
        f"a{number}": {"anyOf": [{"$ref": name}, {"$ref": name}]} for number, name in enumerate(names)
    }
    return {"type": "object", "$ref": "#/$defs/a0", "$defs": {**definitions, f"a{depth}": {"type": "null"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"type": "array"},
        {},
        {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"},
        {"type": "object", "$ref": "http://127.0.0.1:1/x"},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json#/$defs/a"}}},
        {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "object", "properties": {"a": {"$dynamicRef": "#x"}}},
        {"type": "object", "$id": "http://127.0.0.1:1/"},
        {"type": "object", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "object", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"items": {"$ref": "#/$defs/a"}}}},
        {"type": "object", "$defs": []},
        {"type": "object", "properties": {"a": {"$defs": {"b": {}}}}},
        {"type": "object", "properties": {"a": {"pattern": "(?=a)b"}}},
        {"type": "object", "properties": {"a": {"pattern": "(a{1000}){1000}{1000}"}}},
        {"type": "object", "enum": list(range(MAX_NODES))},
        doubling(10),
        doubling(40),
    ],
)
def test_schema_that_is_wrong_reaches_out_or_adds_up_is_refused(schema: dict[str, Any]) -> None:
    begun = time.monotonic()
    with pytest.raises(BadRequest) as caught:
        check_schema(schema, "input", takes_object=True)
    assert (caught.value.code, caught.value.param) == ("invalid_manifest", "input")
    assert time.monotonic() - begun < 1


def test_patterns_run_in_linear_time() -> None:
    schema = {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}
    check_schema(schema, "input", takes_object=True)
    begun = time.monotonic()
    assert Schema(schema).problem({"a": "a" * 50_000 + "!"}, "input") is not None
    assert time.monotonic() - begun < 1


def test_output_may_be_anything() -> None:
    check_schema({"type": "array", "items": {"type": "string"}}, "output.schema", takes_object=False)
