"""docs/components.md has every element, attribute, event, part and custom property that the code has, and no other."""

import re
from pathlib import Path

import pytest

from tests.packages.javascript import SDK
from tests.test_house import ROOT

SOURCE = SDK / "src" / "components"
PAGE = (ROOT / "docs" / "components.md").read_text()
ELEMENTS = dict(re.findall(r'"(faucet-\w+)": (Faucet\w+)', (SOURCE / "index.ts").read_text().partition("global")[0]))
SECTIONS = dict(re.findall(r"^## `?<?([\w\s-]+?)>?`?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMON = SECTIONS["What all have in common"]


def told(section: str, kind: str) -> list[str]:
    """Return the names in the first columns of a section's tables of this kind."""
    names: list[str] = []
    for table in re.findall(rf"^\| {kind} \|.*\n\|[ -|]+\n((?:\|.*\n)+)", section, re.MULTILINE):
        for row in table.splitlines():
            names += re.findall(r"`([^`]+)`", row.split(" | ")[0])
    return names


def source_of(element: str) -> str:
    return (SOURCE / f"{element.removeprefix('faucet-')}.ts").read_text()


def parts_in(code: str) -> set[str]:
    """Return the names of parts: literal, chosen between two, or given to the helpers `action` and `button`."""
    found = re.findall(r'\bpart: (?:[^",({}]+\? )?"([\w -]+)"(?: : "([\w -]+)")?', code)
    helped = re.findall(r'\b(?:action|button)\("([\w-]+)"', code)
    return {name for pair in found for value in pair for name in value.split()} | set(helped)


def attributes_in(code: str) -> set[str]:
    listed = re.search(r"\[\.\.\.COMMON, ([^\]]+)\]", code)
    return set(re.findall(r'"([\w-]+)"', listed[1])) if listed else set()


def test_every_element_has_its_section() -> None:
    assert len(ELEMENTS) == 7
    assert [name for name in SECTIONS if name.startswith("faucet-")] == list(ELEMENTS)


@pytest.mark.parametrize("element", ELEMENTS)
def test_element_is_documented(element: str) -> None:
    code, section = source_of(element), SECTIONS[element]
    shared = (SOURCE / "element.ts").read_text()
    attributes = attributes_in(code)
    assert sorted(told(section, "Attribute")) == sorted(attributes)
    read = set(re.findall(r'(?:get|has)Attribute\("([\w-]+)"\)', code))
    assert read <= attributes | {"feature", "theme", "lang"}
    events = set(re.findall(r'this\.tell\(\s*"(faucet-[\w-]+)"', code))
    assert sorted([*told(section, "Event"), "faucet-error"]) == sorted(events | {"faucet-error"})
    assert sorted({*told(section, "Part"), *told(COMMON, "Part")}) == sorted(
        parts_in(code) | parts_in(shared) | {"panel"}
    )
    public = set(re.findall(r"^  (?:get|set|async)? ?(\w+)\(.*\{$", code, re.MULTILINE))
    own = public - {"connectedCallback", "begin", "end", "view", "drawn", "observedAttributes", "constructor"}
    assert {name for name in own if f"`{name}" not in section} == set()


def test_what_all_have_in_common_is_documented() -> None:
    client, element = (SOURCE / "client.ts").read_text(), (SOURCE / "element.ts").read_text()
    attributes = re.search(r"CLIENT = \[([^\]]+)\]", client)
    more = re.search(r"COMMON = \[\.\.\.CLIENT, ([^\]]+)\]", element)
    assert attributes is not None
    assert more is not None
    assert told(COMMON, "Attribute") == re.findall(r'"([\w-]+)"', attributes[1] + more[1])
    assert told(COMMON, "Event") == sorted(set(re.findall(r'this\.tell\("(faucet-[\w-]+)"', element)))


def test_custom_properties_are_documented_with_their_defaults() -> None:
    code = (SOURCE / "styles.ts").read_text()
    colours, _, measures = code.partition("MEASURES")
    pairs = re.findall(r'"?([\w-]+)"?: \["(#\w+)", "(#\w+)"\]', colours)
    assert len(pairs) == 15
    rows = [f"| `--faucet-{name}` | `{light}` | `{dark}` |" for name, light, dark in pairs]
    measured = re.findall(r"""^  "?([\w-]+)"?: ["']""", measures.partition("};")[0], re.MULTILINE)
    assert [row for row in rows if row not in PAGE] == []
    assert told(COMMON, "Custom property") == [f"--faucet-{name}" for name in [*(p[0] for p in pairs), *measured]]


def test_the_reacts_components_take_every_attribute_and_event() -> None:
    code = (ROOT / "packages" / "react" / "src" / "elements.tsx").read_text()
    renamed = {"feature": "featureKey", "for": "htmlFor"}
    for element, name in ELEMENTS.items():
        body = re.search(rf"export interface {name}Props \{{(.*?)^\}}", code, re.MULTILINE | re.DOTALL)
        assert body is not None
        props = set(re.findall(r"^  (\w+)\?:", body[1], re.MULTILINE)) - {"featureKey"}
        attributes = {_camel(renamed.get(each, each)) for each in attributes_in(source_of(element))}
        events = set(re.findall(r'this\.tell\(\s*"faucet-([\w-]+)"', source_of(element))) - {"error"}
        assert props == attributes | {_camel(f"on-{each}") for each in events}


def _camel(name: str) -> str:
    return re.sub(r"-(\w)", lambda match: match[1].upper(), name)


def test_page_is_in_the_table_of_contents() -> None:
    assert "\ncomponents\n" in Path(ROOT / "docs" / "index.md").read_text()
