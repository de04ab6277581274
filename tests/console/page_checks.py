"""What every page of the console is held to: who gets in, and how many queries it takes."""

from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.developers.models import Role
from tests.console.factories import Page
from tests.console.seats import House, new_person

MOST_QUERIES = 12


def assert_only_for(house: House, roles: Iterable[str], *paths: str) -> None:
    """Assert that members in these roles see the pages, others are refused, and strangers are told of nothing."""
    roles = set(roles)
    stranger, _ = new_person("eve")
    clients = {role: house.member(role) for role in Role.values if role != Role.OWNER} | {Role.OWNER: house.owner}
    for path in paths:
        url = house.url(path)
        assert Client().get(url)["location"].startswith("/accounts/login/"), url
        assert stranger.get(url).status_code == 404, url
        found = {role: client.get(url).status_code for role, client in clients.items()}
        assert found == {role: 200 if role in roles else 403 for role in clients}, url


def queries(client: Client, url: str) -> int:
    """Return how many queries a page takes, which is never more than a page may."""
    with CaptureQueriesContext(connection) as found:
        response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    count = len(found)
    assert count <= MOST_QUERIES, (url, [query["sql"][:150] for query in found.captured_queries])
    return count


def assert_same_queries(client: Client, url: str, add: Callable[[int], object]) -> None:
    """Assert that a list with three rows takes as many queries as one with one; `add` adds the row of a number."""
    add(1)
    queries(client, url)  # whatever is looked up once
    one = queries(client, url)
    add(2)
    add(3)
    assert queries(client, url) == one, url


def text_of(response: Any) -> str:
    """Return the text of a page, which holds nothing inline that the content security policy refuses."""
    assert response.status_code == 200, (response.status_code, response.get("location"))
    page = Page(response.content.decode())
    assert page.inline == []
    assert len(page.ids) == len(set(page.ids))
    return " ".join(page.text)
