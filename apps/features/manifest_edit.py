"""A manifest's YAML as an editor needs it: single members read and changed, and the line that a refusal is about. Pure.

A change writes the text anew: the order of members stays, and so do the comments above the first of them; others go.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest
from apps.features.manifest_source import check_content, parse, read_source

_STEP = re.compile(r"[^.\[\]]+")
_IN_MESSAGE = re.compile(r", line (\d+):")
_UNKNOWN = re.compile(r"unknown field '([^']+)'")


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: long texts as blocks, lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def member(source: str, path: str) -> Any:
    """Return the member at a dotted path of a YAML source, None where it is not named. Raises BadRequest."""
    return value_at(content_of(source), path)


def content_of(source: str) -> dict[str, Any]:
    """Return what a YAML source says, empty where it says nothing. Raises BadRequest (invalid_manifest)."""
    content = read_source(source, source_format="yaml")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadRequest(_("A manifest is an object."), code="invalid_manifest")
    check_content(content)
    return content


def value_at(content: Mapping[str, Any], path: str) -> Any:
    """Return the member at a dotted path, None where it is not named."""
    value: Any = content
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def change(source: str, members: Mapping[str, Any]) -> str:
    """Return a YAML source with members set at their dotted paths, or taken out where the value is None.

    Without a difference the text stays as it is. Raises BadRequest (invalid_manifest) for what cannot be read.
    """
    content = content_of(source)
    before = json.dumps(content, default=str)
    for path, value in members.items():
        _set(content, path.split("."), value)
    if json.dumps(content, default=str) == before:
        return source
    return _header(source) + as_yaml(content)


def as_yaml(content: Mapping[str, Any]) -> str:
    """Return a manifest's content as YAML."""
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def from_json(source: str) -> str:
    """Return a manifest that was written as JSON as YAML. Raises BadRequest (invalid_manifest)."""
    parse(source, source_format="json")
    return as_yaml(json.loads(source))


def line_of(source: str, refusal: BadRequest) -> int | None:
    """Return the line, from 1 on, that a refusal of a YAML source is about; None where that cannot be told."""
    found = _IN_MESSAGE.search(refusal.message)
    if found:
        return int(found[1])
    unknown = _UNKNOWN.search(refusal.message)
    steps = _STEP.findall(refusal.param or "") + ([unknown[1]] if unknown else [])
    try:
        node = yaml.compose(source, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    line = None
    for step in steps:
        found_at = _child(node, step)
        if found_at is None:
            break
        line, node = found_at
    return line


def _child(node: Any, step: str) -> tuple[int, Any] | None:
    """Return (line, value) of what a step leads to: a member, or the element of a list."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
        value = node.value[int(step)]
        return value.start_mark.line + 1, value
    return None


def _set(content: dict[str, Any], names: list[str], value: Any) -> None:
    name, *rest = names
    if not rest:
        if value is None:
            content.pop(name, None)
        else:
            content[name] = value
        return
    inner = content.get(name)
    if not isinstance(inner, dict):
        if value is None:
            return
        inner = content[name] = {}
    _set(inner, rest, value)
    if not inner:
        del content[name]


def _header(source: str) -> str:
    """Return the comments and empty lines above the first member."""
    kept = []
    for line in source.splitlines(keepends=True):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        kept.append(line)
    return "".join(kept)
