"""A manifest as its developer wrote it, YAML or JSON, read into structs: bounded, and every refusal names the place.

Pure.
"""

import re
from typing import Any

import msgspec
import yaml
from django.utils.translation import gettext

from apps.core.errors import BadRequest
from apps.features.manifest import Manifest, decode, encode

MAX_SOURCE = 64_000
MAX_DEPTH = 40
_WHERE = re.compile(r" - at `([^`]*)`\Z")


def parse(source: str, *, source_format: str) -> Manifest:
    """Return the manifest that `source` (`yaml` or `json`) writes down.

    Raises BadRequest (invalid_manifest); its `param` is the path of the member that is wrong, where there is one.
    """
    content = read_source(source, source_format=source_format)
    if not isinstance(content, dict):
        raise BadRequest(gettext("A manifest is an object."), code="invalid_manifest")
    check_content(content)
    try:
        # Once around through JSON: YAML knows dates and numbers that a stored manifest does not.
        manifest = decode(encode(msgspec.convert(content, Manifest)))
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRequest(gettext("The manifest holds what JSON cannot say."), code="invalid_manifest") from error
    _check_together(manifest)
    return manifest


def read_source(source: str, *, source_format: str) -> object:
    """Return what `source` (`yaml` or `json`) says, whatever that is. Raises BadRequest (invalid_manifest)."""
    if len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        raise BadRequest(
            gettext("A manifest takes at most %(max_source)s bytes.") % {"max_source": MAX_SOURCE},
            code="invalid_manifest",
        )
    return _read_yaml(source) if source_format == "yaml" else _read_json(source)


def _read_json(source: str) -> object:
    try:
        return msgspec.json.decode(source)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise BadRequest(gettext("The manifest is not valid JSON."), code="invalid_manifest") from error


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which can make gigabytes of a few lines, and without a name given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not taken", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                raise yaml.MarkedYAMLError(problem="a name is given twice", problem_mark=key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                names.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(source: str) -> object:
    try:
        return yaml.load(source, _Loader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}: {error.problem}" if mark is not None else ""
        raise BadRequest(
            gettext("The manifest is not valid YAML%(where)s.") % {"where": where}, code="invalid_manifest"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        # ValueError: a date such as 2026-02-31. TypeError: a mapping as the name of a member.
        raise BadRequest(gettext("The manifest is not valid YAML."), code="invalid_manifest") from error


def check_content(content: object) -> None:
    """Refuse what is nested too deeply, names that are no strings, and text that PostgreSQL cannot store."""
    waiting: list[tuple[object, int]] = [(content, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise BadRequest(gettext("The manifest is nested too deeply."), code="invalid_manifest")
        if isinstance(value, str):
            if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
                raise BadRequest(
                    gettext("The manifest holds characters that cannot be stored."), code="invalid_manifest"
                )
        elif isinstance(value, dict):
            for key, member in value.items():
                if not isinstance(key, str):
                    raise BadRequest(
                        gettext("The name %(key)s is not a string.") % {"key": f"{key!r}"}, code="invalid_manifest"
                    )
                waiting += ((key, depth), (member, depth + 1))
        elif isinstance(value, list | tuple | set):
            waiting += ((member, depth + 1) for member in value)


def _refused(message: str, where: str = "") -> BadRequest:
    found = _WHERE.search(message)
    if found:
        message, where = message[: found.start()], found[1].removeprefix("$").removeprefix(".")
    said = message.replace("`", "'").rstrip(".")
    return BadRequest(f"{where or 'The manifest'}: {said}.", code="invalid_manifest", param=where or None)


def _check_together(manifest: Manifest) -> None:
    """Refuse members that are right each alone but not together."""
    for position, rule in enumerate(manifest.routing.rules):
        where = f"routing.rules[{position}]"
        if not rule.use and rule.policy is None:
            raise _refused("a rule names models to use, or a policy", where)
        when = rule.when
        if when.min_chars is not None and when.max_chars is not None and when.min_chars > when.max_chars:
            raise _refused("min_chars is more than max_chars", f"{where}.when")
        if when.hour_to is not None and (when.hour_from or 0) == when.hour_to:
            raise _refused("hour_from (0 where it is left out) and hour_to are the same hour", f"{where}.when")
    models = manifest.models
    if models.allow and models.default is not None and models.default not in models.allow:
        raise _refused("the default is not among the allowed models", "models.default")
    if manifest.output.schema is not None and manifest.output.kind != "json":
        raise _refused("only an answer of kind json has a schema", "output.schema")
    if manifest.input is not None and manifest.prompt is None:
        raise _refused("a typed feature needs a prompt", "prompt")
    if manifest.prompt is None and manifest.output.kind == "json":
        raise _refused("only a typed feature, one with a prompt, answers in JSON", "output.kind")
