"""Who may do what on every page of an end user: the user, another user of the app, an anonymous device, a visitor."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.console.user.factories import Visitor, make_anonymous
from tests.doors.addresses import addresses, changed, fingerprint, status_of
from tests.doors.furnished import Site, furnish

pytestmark = pytest.mark.django_db(transaction=True)
# Pages that an anonymous device has, too.
OPEN = {"wallet", "balance", "calls", "receipt"}
NAMED = {
    *("credit", "buy", "keys", "key-new", "key", "key-delete", "local", "fees", "limits"),
    *("data", "data-all", "data-table", "delete", "top-up", "refund"),
    *("bridge-states", "bridge-state", "bridge-revoke"),
}
ACTION = {
    *("promo", "auto", "forget-card", "key-validate", "key-rotate", "key-switch"),
    *("fee-acknowledge", "fee-agree", "fee-cancel", "endpoint-remove"),
}
# The way in, which has tests of its own: tests/console/user/test_entry.py.
APART = {"open"}
# Pages that take no form.
ONLY_READ = {
    *("wallet", "balance", "calls", "receipt", "credit", "keys", "fees", "data", "data-all", "data-table"),
    *("top-up", "bridge-states", "bridge-state"),
}
# Whose rows an address names besides its link's.
NO_ROW = {"data-table"}
ME = {each.name.removeprefix("me:"): each for each in addresses("me/")}
PAGES = OPEN | NAMED


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def site(transactional_db: None) -> Site:
    return furnish()


def url_of(site: Site, name: str, visitor: Visitor | None = None) -> str:
    kwargs = site.kwargs(f"me:{name}", ME[name].parameters)
    if visitor is not None:
        kwargs["link_id"] = visitor.base.split("/")[2]
    return reverse(f"me:{name}", kwargs=kwargs)


def refused(name: str, status: int) -> tuple[int, int]:
    """Return what whoever is refused with a status gets for GET and POST."""
    return (405 if name in ACTION else status, 405 if name in ONLY_READ else status)


def test_every_address_is_classified() -> None:
    assert set(ME) == OPEN | NAMED | ACTION | APART
    assert ONLY_READ < PAGES and len(PAGES) + len(ACTION) + len(APART) == len(ME)


def test_user_sees_every_page(site: Site) -> None:
    found = {name: status_of(site.visitor.browser.get(url_of(site, name))) for name in PAGES | ACTION}
    assert found == {name: 405 if name in ACTION else 200 for name in found}


def test_forms_without_the_pages_token_change_nothing(site: Site) -> None:
    before = fingerprint()
    found = {name: site.visitor.browser.post(url_of(site, name)).status_code for name in PAGES | ACTION}
    assert found == {name: refused(name, 403)[1] for name in found}
    assert changed(before, fingerprint()) == []


@pytest.mark.parametrize("who", ["another user", "visitor", "developer"])
def test_nobody_else_sees_a_page(site: Site, who: str) -> None:
    clients = {"another user": site.other.browser, "visitor": Client(), "developer": site.house.owner}
    before, client = fingerprint(), clients[who]
    wrong = []
    for name in PAGES | ACTION:
        url = url_of(site, name)
        found = (client.get(url).status_code, client.post(url, {"form": "0" * 64}).status_code)
        if found != refused(name, 401):
            wrong.append((name, found))
    assert not wrong, "\n".join(map(str, wrong))
    assert changed(before, fingerprint()) == []


def test_other_user_reaches_nothing_by_a_link_of_their_own(site: Site) -> None:
    """Their link in the address and the token of their own form, our rows behind it."""
    about_rows = [name for name in PAGES | ACTION if len(ME[name].parameters) > 1 and name not in NO_ROW]
    assert len(about_rows) >= 9
    token = site.other.token()
    before, wrong = fingerprint(), []
    for name in about_rows:
        url = url_of(site, name, site.other)
        found = (site.other.browser.get(url).status_code, site.other.browser.post(url, {"form": token}).status_code)
        if found != refused(name, 404):
            wrong.append((name, found))
    assert not wrong, "\n".join(map(str, wrong))
    assert changed(before, fingerprint()) == []


def test_anonymous_device_has_its_balance_and_calls_alone(site: Site) -> None:
    device = make_anonymous(site.visitor)
    wrong = []
    for name in PAGES | ACTION:
        url = url_of(site, name, device)
        found = (device.browser.get(url).status_code, device.browser.post(url).status_code)
        expected = refused(name, 403)
        if name in OPEN:
            expected = (404 if name == "receipt" else 200, 405)
        if found != expected:
            wrong.append((name, found, expected))
    assert not wrong, "\n".join(map(str, wrong))
