"""Manifests read: every default, every refusal with its place, and nothing that grows past its bounds."""

import json
import time
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from apps.catalog.models import Capability, TaskClass
from apps.core.errors import BadRequest
from apps.features.manifest import CAPABILITIES, POLICIES, TASK_CLASSES, Manifest, When, decode, encode, schema
from apps.features.manifest_diff import changes, models_named
from apps.features.manifest_source import MAX_SOURCE, parse
from apps.features.models import Assurance

WHOLE = """
version: 1
description: Writes release notes
models: {allow: [gpt-5-mini, qwen-max], default: gpt-5-mini}
routing:
  policy: byok_first
  fallback_models: [qwen-max]
  degraded_model: qwen-turbo
  rules:
    - when: {task_class: code, min_chars: 100, stream: true}
      use: [gpt-5]
    - when: {hour_from: 22, hour_to: 6}
      policy: cheapest_sufficient
  min_quality: 0.6
  max_price_usd: "0.05"
  require: [json, tools]
  platform_fallback: false
  models_for: {code: gpt-5}
privacy:
  {mode: redact_before_cloud, fallback: local_only, sensitive_fields: [name], detectors: [email], prompt_hash: true}
cache: {exact: true, ttl_seconds: 60, hit_price_bps: 1000}
limits: {rpm: 60, tpm: 100000, concurrency: 2}
output: {max_tokens: 500, clamp: false, kind: json, schema: {type: object}}
pricing: {markup_bps: 4000, share_bps: 4000, byok_fee_usd: "0.0001"}
input: {type: object, properties: {text: {type: string}}, required: [text]}
prompt: {system: You write., user: "{{ input.text }}", examples: [{user: a, assistant: b}]}
"""


def refusal(source: str, source_format: str = "yaml") -> tuple[str | None, str]:
    with pytest.raises(BadRequest) as caught:
        parse(source, source_format=source_format)
    assert caught.value.code == "invalid_manifest"
    return caught.value.param, caught.value.message


def test_everything_is_read_and_survives_storage() -> None:
    manifest = parse(WHOLE, source_format="yaml")
    assert manifest.routing.policy == "byok_first"
    assert manifest.routing.max_price == 50_000_000
    assert manifest.routing.rules[0].when == When(task_class="code", min_chars=100, stream=True)
    assert manifest.limits.rpm == 60
    assert manifest.output.clamp is False
    assert decode(encode(manifest)) == manifest
    assert parse(encode(manifest), source_format="json") == manifest


def test_nothing_is_every_default_and_stores_nothing() -> None:
    for source, source_format in (("{}", "yaml"), ("{}", "json"), ("routing: {}", "yaml")):
        assert parse(source, source_format=source_format) == Manifest()
    assert encode(Manifest()) == "{}"
    assert encode(parse("output: {clamp: true}", source_format="yaml")) == '{"output":{"clamp":true}}'


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("rooting: {}", None),
        ("routing: {polciy: byok_first}", "routing"),
        ("routing: {policy: best}", "routing.policy"),
        ("routing: {max_price_usd: 0.05}", "routing.max_price_usd"),
        ("routing: {max_price_usd: '-1'}", "routing.max_price_usd"),
        ("routing: {max_price_usd: '0.0000000001'}", "routing.max_price_usd"),
        ("routing: {min_quality: 1.1}", "routing.min_quality"),
        ("routing: {require: [teleport]}", "routing.require[0]"),
        ("routing: {models_for: {poetry: x}}", None),
        ("routing: {rules: [{when: {hour_from: 24}, use: [a]}]}", "routing.rules[0].when.hour_from"),
        ("routing: {rules: [{when: {moon: full}, use: [a]}]}", "routing.rules[0].when"),
        ("routing: {rules: [{use: [a]}, {when: {stream: true}}]}", "routing.rules[1]"),
        ("routing: {rules: [{when: {min_chars: 2, max_chars: 1}, use: [a]}]}", "routing.rules[0].when"),
        ("routing: {rules: [{when: {hour_from: 3, hour_to: 3}, use: [a]}]}", "routing.rules[0].when"),
        ("routing: {fallback_models: ['a b']}", "routing.fallback_models[0]"),
        ("routing: {rules: [{when: {hour_to: 0}, use: [a]}]}", "routing.rules[0].when"),
        ("models: {allow: [a], default: b}", "models.default"),
        ("privacy: {mode: maybe}", "privacy.mode"),
        ("privacy: {retention_days: 0}", "privacy.retention_days"),
        ("privacy: {detectors: [mood]}", "privacy.detectors[0]"),
        ("cache: {hit_price_bps: 10001}", "cache.hit_price_bps"),
        ("cache: {threshold: 0.1}", "cache.threshold"),
        ("limits: {rpm: 0}", "limits.rpm"),
        ("limits: {rpm: true}", "limits.rpm"),
        ("output: {max_tokens: 0}", "output.max_tokens"),
        ("output: {schema: {type: object}}", "output.schema"),
        ("output: {kind: json}", "output.kind"),
        ("pricing: {share_bps: 10001}", "pricing.share_bps"),
        ("pricing: {fixed_price_usd: '1000001'}", "pricing.fixed_price_usd"),
        ("prompt: {system: x}", "prompt"),
        ("input: {type: object}", "prompt"),
        ("version: 2", "version"),
    ],
)
def test_what_is_wrong_is_named(source: str, path: str | None) -> None:
    assert refusal(source)[0] == path


@pytest.mark.parametrize(
    "source",
    [
        "routing: [",
        "- a",
        "just text",
        "",
        "a: &a [1]\nb: *a",
        "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b]",
        "a: &a {x: 1}\nb: {<<: [*a,*a]}",
        "limits: {}\nlimits: {rpm: 1}",
        "!!python/object/apply:os.system [true]",
        "description: 2026-02-31",
        'description: "\\0"',
        'description: "\\ud800"',
        "? [a]\n: b",
        "1: a",
        "input: " + "{a: " * 60 + "1" + "}" * 60 + "\nprompt: {user: x}",
        "input: {a: 0x" + "9" * 9000 + "}\nprompt: {user: x}",
        "[" * 60_000,
        "description: " + "x" * MAX_SOURCE,
        "description: '" + "é" * 40_000 + "'",
    ],
)
def test_what_cannot_be_read_is_refused_quickly(source: str) -> None:
    begun = time.process_time()
    refusal(source)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("source", ["{", "[]", '{"a": }', "nul", "[" * 60_000, '{"description": "\\u0000"}', "\ud800"])
def test_json_that_cannot_be_read_is_refused(source: str) -> None:
    refusal(source, "json")


def test_yaml_line_is_told() -> None:
    assert "line 3" in refusal("limits:\n  rpm: 1\n  rpm: 2\n")[1]


def test_dates_and_endless_numbers_become_what_json_has() -> None:
    manifest = parse("input: {a: 2026-02-03, b: .inf}\nprompt: {user: x}", source_format="yaml")
    assert manifest.input == {"a": "2026-02-03", "b": None}


def test_schema_for_editors_takes_what_is_taken_and_refuses_what_is_refused() -> None:
    validator = jsonschema_rs.Draft202012Validator(schema())
    whole = msgspec.json.decode(encode(parse(WHOLE, source_format="yaml")))
    assert validator.is_valid(whole)
    assert validator.is_valid({})
    for wrong in ({"rooting": {}}, {"limits": {"rpm": 0}}, {"routing": {"policy": "best"}}):
        assert not validator.is_valid(wrong)


def test_names_are_those_of_the_catalogue_and_of_sessions() -> None:
    assert set(TASK_CLASSES) == set(TaskClass.values)
    assert set(CAPABILITIES) <= set(Capability.values)
    assert len(POLICIES) == len(set(POLICIES)) == 8
    for assurance in (*Assurance.values, "virtual_key"):
        parse(f"routing: {{rules: [{{when: {{assurance: {assurance}}}, use: [a]}}]}}", source_format="yaml")


@pytest.mark.parametrize(
    ("when", "request_", "matches"),
    [
        ({}, {}, True),
        ({"task_class": "code"}, {}, False),
        ({"task_class": "code"}, {"task_class": "code"}, True),
        ({"min_chars": 10}, {"chars": 9}, False),
        ({"min_chars": 10, "max_chars": 10}, {"chars": 10}, True),
        ({"max_chars": 10}, {"chars": 11}, False),
        ({"assurance": "anonymous"}, {}, False),
        ({"stream": False}, {}, True),
        ({"stream": True}, {}, False),
        ({"hour_from": 9, "hour_to": 17}, {"hour": 9}, True),
        ({"hour_from": 9, "hour_to": 17}, {"hour": 17}, False),
        ({"hour_from": 22, "hour_to": 6}, {"hour": 23}, True),
        ({"hour_from": 22, "hour_to": 6}, {"hour": 5}, True),
        ({"hour_from": 22, "hour_to": 6}, {"hour": 6}, False),
        ({"hour_from": 22}, {"hour": 23}, True),
        ({"hour_from": 22}, {"hour": 3}, False),
        ({"hour_to": 6}, {"hour": 5}, True),
        ({"hour_from": 22, "hour_to": 0}, {"hour": 23}, True),
        ({"hour_from": 22, "hour_to": 0}, {"hour": 5}, False),
        ({"task_class": "code", "stream": True}, {"task_class": "code"}, False),
    ],
)
def test_conditions_must_all_hold(when: dict[str, Any], request_: dict[str, Any], matches: bool) -> None:
    plain: dict[str, Any] = {"task_class": None, "chars": 100, "assurance": "user_token", "stream": False, "hour": 12}
    assert When(**when).matches(**plain | request_) is matches


def test_differences_and_models_of_contents() -> None:
    before = json.loads(encode(parse("limits: {rpm: 1, tpm: 5}\nmodels: {allow: [a]}", source_format="yaml")))
    after = json.loads(encode(parse("limits: {rpm: 2}\nmodels: {allow: [a, b]}", source_format="yaml")))
    assert changes(before, after) == [
        {"path": "limits.rpm", "before": 1, "after": 2},
        {"path": "limits.tpm", "before": 5, "after": None},
        {"path": "models.allow", "before": ["a"], "after": ["a", "b"]},
    ]
    assert changes(after, after) == []
    whole = json.loads(encode(parse(WHOLE, source_format="yaml")))
    assert models_named(whole) == ("gpt-5-mini", "qwen-max", "qwen-turbo", "gpt-5")
