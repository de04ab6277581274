"""Manifests to begin with: each is a manifest, takes what it says, and asks the model with all of that."""

from typing import Any

import pytest

from apps.features import library
from apps.features.gates import gates_of
from apps.features.manifest import Manifest
from apps.features.prompts import render
from apps.features.schemas import Schema
from apps.features.services.manifests import read_manifest

# By kind: inputs that are taken, each with what the model is to be told of it; and inputs that are refused.
TAKEN: dict[str, list[tuple[dict[str, Any], list[str]]]] = {
    "summary": [({"text": "<material>"}, ["<material>"]), ({"text": "x", "sentences": 7}, ["7"])],
    "reply": [({"message": "<material>", "points": ["One point"], "tone": "formal"}, ["<material>", "One point"])],
    "sentiment": [({"text": "<material>"}, ["<material>"])],
    "translate": [
        (
            {"text": "<material>", "language": "Deutsch", "glossary": [{"from": "tap", "to": "Zapfhahn"}]},
            ["<material>", "Deutsch", "Zapfhahn"],
        )
    ],
    "extract": [({"text": "<material>"}, ["<material>"])],
    "crm-notes": [
        ({"notes": "<material>"}, ["<material>"]),
        (
            {"notes": "Called.", "contact": "Ada Lovelace", "date": "2026-11-21"},
            ["Called.", "Ada Lovelace", "2026-11-21"],
        ),
    ],
    "document-answer": [
        (
            {"question": "How long?", "passages": [{"id": "p1", "text": "<material>"}, {"id": "p2", "text": "Two"}]},
            ["How long?", '<passage id="p1">', "<material>", '<passage id="p2">', "Two"],
        )
    ],
    "product-listing": [
        ({"name": "Kettle", "facts": ["1.7 l", "<material>"]}, ["Kettle", "- 1.7 l\n- <material>", "plain"]),
        (
            {"name": "Kettle", "facts": ["Steel"], "audience": "Students", "tone": "warm", "language": "français"},
            ["Students", "warm", "français"],
        ),
    ],
    "support-ticket": [
        ({"message": "<material>"}, ["<request>\n<material>\n</request>"]),
        ({"message": "Help", "product": "Desk 3", "knowledge": ["One", "Two"]}, ["Desk 3", "One", "Two"]),
    ],
    "spreadsheet-formula": [
        ({"task": "<material>"}, ["<material>"]),
        (
            {
                "task": "Sum",
                "dialect": "google_sheets",
                "columns": [{"letter": "B", "name": "Price", "sample": "9.90"}, {"letter": "C", "name": "Day"}],
            },
            ["google_sheets", "Price", "9.90", "Day"],
        ),
    ],
    "form-builder": [
        ({"description": "<material>"}, ["<material>"]),
        ({"description": "Sign-up", "existing": ["email", "age"]}, ["email, age", "Sign-up"]),
    ],
    "contract-review": [
        ({"text": "<material>"}, ["<contract>\n<material>\n</contract>"]),
        (
            {
                "text": "§ 1",
                "side": "tenant",
                "party": "Ada",
                "counterparty": "Estate Ltd",
                "law": "Germany",
                "concerns": ["Notice period", "Repairs"],
            },
            ["tenant", "Ada", "Estate Ltd", "Germany", "Notice period", "Repairs"],
        ),
    ],
}
REFUSED: dict[str, list[dict[str, Any]]] = {
    "summary": [{}, {"text": "x", "sentences": 0}],
    "reply": [{}, {"message": "x", "tone": "rude"}],
    "sentiment": [{"text": ""}],
    "translate": [{"text": "x"}],
    "extract": [{"text": 1}],
    "crm-notes": [{"notes": ""}, {"notes": "x", "date": "tomorrow"}],
    "document-answer": [{"question": "x", "passages": []}, {"question": "x", "passages": [{"text": "x"}]}],
    "product-listing": [{"name": "x", "facts": []}, {"name": "x", "facts": ["y"], "tone": "loud"}],
    "support-ticket": [{"message": "x", "knowledge": [""]}, {"message": "x", "customer": "y"}],
    "spreadsheet-formula": [{"task": "x", "columns": [{"letter": "1", "name": "y"}]}, {"task": "x", "dialect": "vi"}],
    "form-builder": [{"description": "x", "existing": "y"}, {}],
    "contract-review": [{"text": "x", "side": "judge"}, {"text": "x", "prompt": "y"}],
}
# What people would not want to leave unmasked, or at all.
CAREFUL = {"reply", "crm-notes", "support-ticket", "contract-review"}
ALL = pytest.mark.parametrize("template", library.templates().values(), ids=lambda template: template.name)


def kind_of(template: library.Template) -> str:
    return template.name.rpartition(".")[0]


def read(template: library.Template) -> Manifest:
    return read_manifest(template.source, "yaml")


def taken_by(template: library.Template) -> list[tuple[dict[str, Any], list[str]]]:
    """Return the inputs that a template takes; the tones of replies are in its own language."""
    taken = TAKEN[kind_of(template)]
    if template.name != "reply.zh":
        return taken
    return [({**given, "tone": "正式"}, told) for given, told in taken]


@ALL
def test_template_takes_its_input_and_asks_with_all_of_it(template: library.Template) -> None:
    manifest = read(template)
    assert manifest.prompt is not None and manifest.input is not None and manifest.description
    schema = Schema(manifest.input)
    for given, told in taken_by(template):
        assert schema.problem(given, "input") is None
        asked = render(manifest.prompt.user, given)
        assert all(text in asked for text in told), asked
        assert "{{" not in asked and "{%" not in asked and not asked.startswith("\n")
        assert render(manifest.prompt.system, given).strip()
    for given in REFUSED[kind_of(template)]:
        assert schema.problem(given, "input") is not None, given


@ALL
def test_template_names_every_member_of_its_input(template: library.Template) -> None:
    manifest = read(template)
    assert manifest.prompt is not None and manifest.input is not None
    asked = manifest.prompt.system + manifest.prompt.user
    assert all(f"input.{name}" in asked for name in manifest.input["properties"])
    assert manifest.input["additionalProperties"] is False
    shown = {name for given, _told in taken_by(template) for name in given}
    assert shown == set(manifest.input["properties"])


@ALL
def test_template_is_bounded_careful_and_in_every_plan(template: library.Template) -> None:
    manifest = read(template)
    assert manifest.output.max_tokens is not None
    assert (manifest.privacy.mode != "allow") == (kind_of(template) in CAREFUL)
    assert not manifest.privacy.debug_log and manifest.pricing is None
    assert gates_of(manifest) == ()
    if manifest.output.kind == "json":
        assert manifest.output.schema is not None and "json" in manifest.routing.require
        for example in manifest.prompt.examples if manifest.prompt is not None else ():
            assert '"' in example.assistant
    if kind_of(template) == "contract-review":
        assert (manifest.routing.policy, manifest.privacy.fallback) == ("local_first", "local_only")


def test_library_has_each_kind_in_each_language_alike() -> None:
    names = {kind_of(template) for template in library.templates().values()}
    assert names == TAKEN.keys() == REFUSED.keys()
    assert set(library.templates()) == {f"{name}.{language}" for name in names for language in ("en", "zh")}
    for name in names:
        english, chinese = (read(library.templates()[f"{name}.{language}"]) for language in ("en", "zh"))
        assert english.output == chinese.output
        assert english.input is not None and chinese.input is not None
        assert english.input["required"] == chinese.input["required"]
        assert (english.input == chinese.input) == (name != "reply")
        assert (english.routing, english.privacy) == (chinese.routing, chinese.privacy)
        assert english.description != chinese.description
