"""Manifests to begin with: one file for each kind of feature and language, in templates_library."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apps.features.manifest_source import parse

_FOLDER = Path(__file__).resolve().parent / "templates_library"


@dataclass(frozen=True, slots=True)
class Template:
    """A manifest to begin with, in YAML; `name` is its kind and language, such as `summary.en`, `title` for people.

    `requires` are the capabilities without which a model cannot serve it.
    """

    name: str
    language: str
    source: str
    title: str
    requires: frozenset[str]


@cache
def templates() -> dict[str, Template]:
    """Return every template by name."""
    found = (_read(path) for path in sorted(_FOLDER.glob("*.yaml")))
    return {template.name: template for template in found}


def _read(path: Path) -> Template:
    source = path.read_text()
    manifest = parse(source, source_format="yaml")
    language = path.stem.rpartition(".")[2]
    return Template(path.stem, language, source, manifest.description, frozenset(manifest.routing.require))
