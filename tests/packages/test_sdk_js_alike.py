"""What the SDK for JavaScript does in the gateway's place, for prompts that never leave the user's machine."""

import json
from pathlib import Path

from apps.features.prompts import PromptProblem, render
from apps.features.schemas import Schema
from tests.packages.javascript import SDK, run

LOCAL = (SDK / "dist" / "local.js").as_uri()
VECTORS = json.loads((Path(__file__).parent / "prompt_vectors.json").read_text())


def test_prompts_are_made_as_the_gateway_makes_them() -> None:
    given, templates = VECTORS["input"], VECTORS["templates"]
    expected: list[str | None] = []
    for template in templates:
        try:
            expected.append(render(template, given))
        except PromptProblem:
            expected.append(None)
    assert expected.count(None) == 5
    made = run(
        """
        const { render } = await import(given.local);
        const tried = (template) => {
          try {
            return render(template, given.input);
          } catch {
            return null;
          }
        };
        give(given.templates.map(tried));
        """,
        templates=templates,
        input=given,
        local=LOCAL,
    )
    for template, ours, theirs in zip(templates, expected, made, strict=True):
        assert theirs == ours, template


def test_schemas_are_checked_as_the_gateway_checks_them() -> None:
    cases = [(each["schema"], value) for each in VECTORS["schemas"] for value in each["values"]]
    expected = [Schema(schema).problem(value, "input") is None for schema, value in cases]
    assert True in expected
    assert False in expected
    found = run(
        """
        const { misfit } = await import(given.local);
        give(given.cases.map(([schema, value]) => misfit(schema, value, "input") === null));
        """,
        cases=cases,
        local=LOCAL,
    )
    for case, ours, theirs in zip(cases, expected, found, strict=True):
        assert theirs == ours, case
