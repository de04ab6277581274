"""Which function answers which call."""

import re
from collections.abc import Callable
from typing import Any

from tests.fakestripe.state import Object, State

Answer = Callable[..., Object]


class Routes:
    """The calls that the fake understands: `@routes("POST", "/v1/refunds/{id}")` over `(state, params, *ids)`."""

    def __init__(self) -> None:
        self._known: list[tuple[str, re.Pattern[str], str, Answer]] = []

    def __call__(self, method: str, path: str) -> Callable[[Answer], Answer]:
        def keep(answer: Answer) -> Answer:
            pattern = re.compile(re.sub(r"\{\w+\}", r"([^/]+)", path))
            self._known.append((method, pattern, path, answer))
            return answer

        return keep

    def find(self, method: str, path: str) -> tuple[Answer, tuple[Any, ...], str] | None:
        """Return who answers, the ids in the path, and the path's template; exact paths go first."""
        for exact in (True, False):
            for known, pattern, template, answer in self._known:
                if known == method and ("{" not in template) == exact and (match := pattern.fullmatch(path)):
                    return answer, match.groups(), template
        return None

    def templates(self) -> list[tuple[str, str]]:
        return [(method, template) for method, _, template, _ in self._known]

    def listing(self, path: str, kind: str, *filters: str) -> None:
        """Answer a list of all objects of a kind, filtered by equal fields."""

        @self("GET", path)
        def answer(state: State, params: Object) -> Object:
            rows = state.all(kind)
            for name in filters:
                if name in params:
                    rows = [row for row in rows if row.get(name) == params[name]]
            return state.page(rows, params, path)

    def single(self, path: str, kind: str) -> None:
        """Answer one object by its id."""

        @self("GET", path + "/{id}")
        def answer(state: State, params: Object, object_id: str) -> Object:
            return state.get(kind, object_id)


routes = Routes()


def merged(row: Object, params: Object, *names: str) -> Object:
    """Change the named fields of an object; metadata is merged, an empty string takes a member away."""
    for name in names:
        if name not in params:
            continue
        if name == "metadata":
            given = params[name] or {}
            row["metadata"] = {k: v for k, v in {**row["metadata"], **given}.items() if v != ""}
        else:
            row[name] = None if params[name] == "" else params[name]
    return row
