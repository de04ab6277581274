"""No page asks the database more often because there is more to show: each is read with one row and with three."""

from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.console.page_checks import MOST_QUERIES
from tests.doors import test_admin, test_api, test_console, test_user_pages
from tests.doors.furnished import Site, add_rows, call_often, furnish

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def site(transactional_db: None) -> Site:
    furnished = furnish()
    call_often(furnished, days=10)  # from so many days on a forecast is made, and advice looked for
    return furnished


def counts(asked: dict[str, tuple[Client, str]], **headers: Any) -> dict[str, int]:
    """Return how many queries each page takes once what a process reads once is known."""
    found = {}
    for name, (client, url) in asked.items():
        client.get(url, **headers).close()
        cache.clear()
        with CaptureQueriesContext(connection) as captured:
            answered = client.get(url, **headers)
            answered.close()
        assert answered.status_code in (200, 302), (name, answered.status_code)
        found[name] = len(captured)
    return found


def assert_steady(site: Site, asked: dict[str, tuple[Client, str]], *, most: int | None = None, **headers: Any) -> None:
    """Assert that pages take as many queries with two more rows in every list, and at most so many."""
    before = counts(asked, **headers)
    add_rows(site)
    add_rows(site)
    after = counts(asked, **headers)
    grown = {name: (before[name], after[name]) for name in asked if after[name] > before[name]}
    assert grown == {}, grown
    assert most is None or not {name: count for name, count in after.items() if count > most}, after


def test_pages_of_the_console(site: Site) -> None:
    seen = [name for name in test_console.AREA_OF if name not in test_console.names(test_console.ACTION)]
    asked = {name: (site.house.owner, test_console.url_of(site, name)) for name in seen}
    assert_steady(site, asked, most=MOST_QUERIES)


def test_pages_of_the_end_user(site: Site) -> None:
    pages = test_user_pages.PAGES - {"data-all", "data-table"}
    asked = {name: (site.visitor.browser, test_user_pages.url_of(site, name)) for name in pages}
    assert_steady(site, asked, most=MOST_QUERIES)


def test_lists_of_the_admin(site: Site, admin_client: Client) -> None:
    lists = [name for name in test_admin.FOR_STAFF if name != "find"]
    asked = {name: (admin_client, reverse(f"admin:{name}")) for name in lists}
    asked |= {label: (admin_client, reverse(f"admin:{label}_changelist")) for label in test_admin.TABLES}
    assert_steady(site, asked)


def test_lists_of_the_api(site: Site) -> None:
    token = test_api.make_developer_token(site.house.developer_id)
    reads = [door for door in test_api.DOORS if door.method == "get" and "exports" not in door.path]

    def read() -> dict[str, int]:
        found = {}
        for door in reads:
            bearer = site.visitor.world.token if door.scope == test_api.USER else token
            test_api.send(site, door, bearer)
            with CaptureQueriesContext(connection) as captured:
                assert test_api.send(site, door, bearer).status_code == 200, door
            found[door.path] = len(captured)
        return found

    before = read()
    add_rows(site)
    add_rows(site)
    after = read()
    grown = {path: (before[path], after[path]) for path in before if after[path] > before[path]}
    assert grown == {}, grown
