"""Every address that the project answers, read off the resolver, and the whole database in one line."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connection
from django.urls import URLPattern, URLResolver, get_resolver

# What a visit may leave behind: sessions, and what Django notes of them.
LEFT_BEHIND = frozenset({"django_session", "usersessions_usersession"})


@dataclass(frozen=True)
class Address:
    """An address of the resolver: its name with namespace (empty without), its pattern, and what it is made with."""

    name: str
    pattern: str
    parameters: tuple[str, ...]
    view: Any


def addresses(prefix: str = "") -> list[Address]:
    """Return the addresses whose pattern begins with a prefix."""
    return [found for found in _walk(get_resolver(), "", "", ()) if found.pattern.startswith(prefix)]


def _walk(resolver: URLResolver, space: str, path: str, given: tuple[str, ...]) -> Iterator[Address]:
    for each in resolver.url_patterns:
        pattern = path + str(each.pattern)
        parameters = (*given, *_parameters(each))
        if isinstance(each, URLResolver):
            inner = ":".join(part for part in (space, each.namespace) if part)
            yield from _walk(each, inner, pattern, parameters)
        else:
            name = ":".join(part for part in (space, each.name or "") if part) if each.name else ""
            yield Address(name, pattern, parameters, each.callback)


def _parameters(each: URLPattern | URLResolver) -> tuple[str, ...]:
    regex = each.pattern.regex  # type: ignore[union-attr]  # both kinds of pattern have one
    return (*regex.groupindex,)


def fingerprint() -> dict[str, str]:
    """Return what stands in each table, in short: two are equal where nothing was changed between them."""
    tables = sorted({model._meta.db_table for model in apps.get_models(include_auto_created=True)} - LEFT_BEHIND)
    quoted = [(table, connection.ops.quote_name(table)) for table in tables]
    sums = " UNION ALL ".join(
        f"SELECT '{table}', count(*)::text || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {name} t"  # noqa: S608
        for table, name in quoted  # our own tables' names
    )
    with connection.cursor() as cursor:
        cursor.execute(sums)
        return dict(cursor.fetchall())


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the tables that two fingerprints differ in."""
    return [table for table in before if before[table] != after.get(table)]


def status_of(answered: Any) -> int:
    """Return the status of an answer, and end it: of some files one is sent at a time."""
    answered.close()
    return int(answered.status_code)
