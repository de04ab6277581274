"""JSON Schemas of typed features: what a caller's input and a model's answer must look like.

Pure. Schemas come from developers and are applied to what end users send, in the gateway's own process: they reach no
network, their patterns run in linear time, and what their references add up to is bounded. The validator is imported
where it is used: only the processes with typed features need it.
"""

from collections.abc import Mapping
from typing import Any

from apps.core.errors import BadRequest

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Members and items, with every reference written out: what one validation may have to visit for each value.
MAX_NODES = 2_000
_LOCAL = "#/$defs/"
_REFUSED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary")


class Schema:
    """A compiled schema."""

    __slots__ = ("_validator",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        import jsonschema_rs

        self._validator = jsonschema_rs.Draft202012Validator(
            dict(schema), pattern_options=jsonschema_rs.RegexOptions(), offline=True, mask="this value"
        )

    def problem(self, value: object, root: str) -> tuple[str, str] | None:
        """Return the path (from `root` on) and the description of the first thing wrong with `value`, or None.

        The description quotes nothing of the value.
        """
        for error in self._validator.iter_errors(value):
            path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
            return f"{root}{path}", error.message
        return None


def check_schema(schema: Mapping[str, Any], where: str, *, takes_object: bool) -> None:
    """Refuse a schema that is wrong, reaches outside itself or is too large; BadRequest (invalid_manifest)."""
    if schema.get("$schema", DIALECT) != DIALECT:
        raise _refused(where, f"$schema is {DIALECT}, or left out")
    if takes_object and schema.get("type") != "object":
        raise _refused(where, "its type is object")
    definitions = schema.get("$defs", {})
    if not isinstance(definitions, dict):
        raise _refused(where, "$defs is an object")
    nodes = _Counter(where, definitions).count(schema)
    if nodes > MAX_NODES:
        raise _refused(where, f"it is too large: {nodes} members and items, references written out, of {MAX_NODES}")
    import jsonschema_rs

    try:
        Schema(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        said = error.message if isinstance(error, jsonschema_rs.ValidationError) else str(error)
        raise _refused(where, f"it is not a valid JSON Schema: {said[:200]}") from error


class _Counter:
    """Count what a schema is made of with each reference written out, once for each definition."""

    def __init__(self, where: str, definitions: Mapping[str, Any]) -> None:
        self._where = where
        self._definitions = definitions
        self._counted: dict[str, int | None] = {}

    def count(self, value: object) -> int:
        if isinstance(value, list):
            return 1 + sum(self.count(item) for item in value)
        if not isinstance(value, dict):
            return 1
        total = 1
        for name, member in value.items():
            if name == "$defs":
                total += sum(self._of_definition(each) for each in member) if member is self._definitions else 0
                if member is not self._definitions:
                    raise _refused(self._where, "$defs stands at the top only")
            elif name == "$ref" and isinstance(member, str):
                total += self._of_definition(self._named(member))
            elif name in _REFUSED and isinstance(member, str | bool):
                raise _refused(self._where, f"{name} is not taken")
            else:
                total += self.count(member)
        return total

    def _named(self, reference: str) -> str:
        name = reference.removeprefix(_LOCAL)
        if not reference.startswith(_LOCAL) or name not in self._definitions:
            raise _refused(self._where, f"$ref takes {_LOCAL}… of this schema, not '{reference[:100]}'")
        return name

    def _of_definition(self, name: str) -> int:
        if name in self._counted:
            counted = self._counted[name]
            if counted is None:
                raise _refused(self._where, f"$defs.{name[:100]} refers to itself")
            return counted
        self._counted[name] = None
        counted = self._counted[name] = self.count(self._definitions[name])
        return counted


def _refused(where: str, reason: str) -> BadRequest:
    return BadRequest(f"{where}: {reason}.", code="invalid_manifest", param=where)
