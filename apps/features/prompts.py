"""Prompt templates of typed features: a small, closed part of Jinja that can only read the caller's input.

Pure. Developers write the templates and end users the input, and both are rendered in the gateway's own process. So a
template is checked by what it is made of: it may read members of `input`, test, loop and use a few filters. It calls
nothing, assigns nothing, calculates nothing and reaches no attribute of any object; loops and the result are bounded.
The sandbox beneath is a second wall. Input is never read as a template.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, Undefined, nodes
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context

from apps.core.errors import BadRequest

MAX_RENDERED = 1_000_000
MAX_ITERATIONS = 2_000
MAX_LOOPS = 2
# Longer arguments of filters could make much of little.
MAX_ARGUMENT = 20

_FILTERS = ("capitalize", "count", "d", "default", "first", "int", "join", "last", "length", "lower", "round", "sort")
_MORE_FILTERS = ("title", "tojson", "trim", "truncate", "upper")
_TESTS = ("defined", "undefined", "none", "string", "number", "mapping", "sequence", "boolean", "true", "false", "in")
_LOOP = ("index", "index0", "first", "last", "length")
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Filter, nodes.Test, nodes.If, nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or,
    nodes.Not, nodes.List, nodes.Tuple, nodes.Pair,
)  # fmt: skip
_BOUNDED, _BUDGET = "_bounded", "_budget"


class PromptProblem(Exception):
    """A template that cannot be rendered with this input; the message is for the caller and quotes no input."""


class _Environment(ImmutableSandboxedEnvironment):
    """Members are those of objects, arrays and the loop variable; nothing falls back to Python's attributes."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, dict):
            return obj[argument] if isinstance(argument, str) and argument in obj else self._missing(argument)
        if isinstance(obj, list):
            inside = type(argument) is int and -len(obj) <= argument < len(obj)
            return obj[argument] if inside else self._missing(argument)
        if isinstance(obj, LoopContext) and argument in _LOOP:
            return getattr(obj, argument)
        return self._missing(argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def _missing(self, name: object) -> Undefined:
        return self.undefined(f"The prompt needs '{name}', which the input does not have.", name=str(name))


def _shown(value: Any) -> Any:
    """Return what a template prints for a value: text as it stands, nothing for null, JSON for the rest."""
    if isinstance(value, str | Undefined):
        return value
    return "" if value is None else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


@pass_context
def _bounded(context: Context, items: Any) -> Iterator[Any]:
    if not isinstance(items, list | Undefined):
        raise PromptProblem("The prompt goes through something that is not an array.")
    budget = context.parent[_BUDGET]
    for item in items:
        budget[0] -= 1
        if budget[0] < 0:
            raise PromptProblem(f"The input makes the prompt repeat itself more than {MAX_ITERATIONS} times.")
        yield item


_environment = _Environment(
    autoescape=False,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
    optimized=False,
)
_environment.globals.clear()
_environment.filters = {
    **{name: _environment.filters[name] for name in _FILTERS + _MORE_FILTERS},
    "tojson": _json,
    _BOUNDED: _bounded,
}
_environment.tests = {name: _environment.tests[name] for name in _TESTS}


def check_template(source: str, where: str) -> None:
    """Refuse a template that is not made of what templates may be made of; BadRequest (invalid_manifest)."""
    try:
        _compile(source)
    except TemplateSyntaxError as error:
        reason = f"line {error.lineno}: {error.message}"
    except RecursionError:
        reason = "it is nested too deeply"
    else:
        return
    raise BadRequest(f"{where}: {reason}", code="invalid_manifest", param=where)


def render(source: str, given: object) -> str:
    """Return a checked template's text for an input. Raises PromptProblem."""
    pieces: list[str] = []
    length = 0
    try:
        for piece in _compile(source).generate({"input": given, _BUDGET: [MAX_ITERATIONS]}):
            length += len(piece)
            if length > MAX_RENDERED:
                raise PromptProblem(f"The input makes a prompt of more than {MAX_RENDERED} characters.")
            pieces.append(piece)
    except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        # Errors of Python's own quote values; those of missing members are ours.
        ours = isinstance(error, TemplateError) and "which the input does not have" in str(error)
        raise PromptProblem(str(error) if ours else "The prompt cannot be made from this input.") from error
    return "".join(pieces)


@lru_cache(maxsize=2_000)
def _compile(source: str) -> Template:
    """Return a compiled template. Raises TemplateSyntaxError and RecursionError."""
    tree = _environment.parse(source)
    _check(tree, frozenset({"input"}), 0)
    return Template.from_code(_environment, _environment.compile(tree), {})


def _check(node: nodes.Node, names: frozenset[str], loops: int) -> None:
    """Raise TemplateSyntaxError for what a template may not have, and put a bound on every loop."""
    if not isinstance(node, _NODES):
        raise _syntax(node, f"a template takes no {type(node).__name__.lower()}")
    if isinstance(node, nodes.Name) and node.name not in names:
        raise _syntax(node, f"'{node.name}' is not known; what the caller sent is 'input'")
    if isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Const):
        raise _syntax(node, "members are named by a text or a number")
    if isinstance(node, nodes.Filter):
        _check_filter(node)
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        raise _syntax(node, f"there is no test '{node.name}'")
    if not isinstance(node, nodes.For):
        for child in node.iter_child_nodes():
            _check(child, names, loops)
        return
    if loops == MAX_LOOPS or node.recursive or node.test is not None:
        raise _syntax(node, f"loops go {MAX_LOOPS} deep, without recursion and conditions")
    if not isinstance(node.target, nodes.Name) or node.target.name in ("input", "loop", _BUDGET):
        raise _syntax(node, "a loop has one variable, with a name of its own")
    _check(node.iter, names, loops)
    inside = names | {node.target.name, "loop"}
    for child in node.body:
        _check(child, inside, loops + 1)
    for child in node.else_:
        _check(child, names, loops + 1)
    node.iter = nodes.Filter(node.iter, _BOUNDED, [], [], None, None, lineno=node.lineno, environment=_environment)


def _check_filter(node: nodes.Filter) -> None:
    if node.name not in _FILTERS + _MORE_FILTERS or node.node is None:
        raise _syntax(node, f"there is no filter '{node.name}'")
    if node.kwargs or node.dyn_args or node.dyn_kwargs or (node.args and node.name in ("tojson", "sort", "trim")):
        raise _syntax(node, f"the filter '{node.name}' takes no such argument")
    for argument in node.args:
        value = argument.value if isinstance(argument, nodes.Const) else None
        if not isinstance(value, int | float | str) or (isinstance(value, str) and len(value) > MAX_ARGUMENT):
            raise _syntax(node, f"arguments of filters are numbers, and texts of up to {MAX_ARGUMENT} characters")


def _syntax(node: nodes.Node, message: str) -> TemplateSyntaxError:
    return TemplateSyntaxError(message, node.lineno)
