"""Who may do what on every page of the console: each role of the team, a neighbour, a visitor.

The addresses are the resolver's: one that is not classified here fails the first test.
"""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.console.access import AREAS
from apps.developers.models import Role
from tests.doors.addresses import Address, addresses, changed, fingerprint, status_of
from tests.doors.furnished import Site, furnish

pytestmark = pytest.mark.django_db(transaction=True)
OWNER, ADMIN, ANALYST, FINANCE = Role.OWNER, Role.ADMIN, Role.ANALYST, Role.FINANCE
ALL = {OWNER, ADMIN, ANALYST, FINANCE}
BUILDERS = {OWNER, ADMIN}
MONEY = {OWNER, ADMIN, FINANCE}
# What the pages of an area take of the team: to read, to change. Written apart from apps/console/access.py.
REACH: dict[str, tuple[set[Role], set[Role]]] = {
    "overview": (ALL, ALL),
    "apps": (ALL, BUILDERS),
    "keys": (BUILDERS, BUILDERS),
    "tokens": (ALL, ALL),
    "usage": (ALL, ALL),
    "budgets": (ALL, BUILDERS),
    "money": (MONEY, MONEY),
    "audit": (BUILDERS, BUILDERS),
    "team": (ALL, BUILDERS),
    "settings": (BUILDERS, BUILDERS),
}
# Pages that whoever may read an area sees.
READ = {
    "overview": "overview team-leave",
    "apps": "apps app first-call first-call-state feature versions version fees",
    "keys": "provider-keys provider-key keys keys-of-app",
    "tokens": "tokens",
    "usage": "usage live download requests request advice",
    "budgets": "budgets alerts",
    "money": "credit auto-top-up entries top-ups top-up plan plan-invoices payouts payout-account payout revenue value",
    "audit": "audit audit-csv",
    "team": "team",
    "settings": "settings",
}
# Pages that only those see who may change what they are about.
CHANGE = {
    "apps": "start app-edit app-prices app-switch feature-new feature-settings feature-switch",
    "keys": "provider-key-new provider-key-delete key-revoke secret-revoke",
    "tokens": "token-revoke",
    "budgets": "budget-new budget alert-endpoint alert-endpoint-remove",
    "money": "buy card-remove promo-code fund plan-subscribe plan-cancel payout-request bank-details baseline",
    "team": "member-remove",
    "settings": "stop",
}
# What is only sent to: whoever asks to see it is told that this is no page.
ACTION = {
    "keys": "provider-key-validate provider-key-rotate provider-key-switch secret-new",
    "budgets": "budget-switch",
    "money": "auto-top-up-off plan-resume payout-connect",
    "team": "team-invite invitation-withdraw member-role",
    "settings": "restart settings-app settings-feature",
}
# Pages that are nobody's in particular, which tests of their own are about: test_access.py and test_team_pages.py.
APART = {"home", "new", "invitation"}
# Where the first app's page stands in for the list.
LEADS_ON = {"keys": 302}
# Files, which take no form.
FILES = {"download", "audit-csv"}
# Each holds its own check that nothing belongs to somebody else; their parameter names no row of a developer's.
NOT_OF_A_DEVELOPER = {"download", "plan-subscribe"}


def names(groups: dict[str, str]) -> dict[str, str]:
    return {name: area for area, listed in groups.items() for name in listed.split()}


AREA_OF = names(READ) | names(CHANGE) | names(ACTION)
CONSOLE = {each.name.removeprefix("console:"): each for each in addresses("console/")}


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def site(transactional_db: None) -> Site:
    return furnish()


@pytest.fixture
def people(site: Site) -> dict[Role, Client]:
    others = {role: site.house.member(role) for role in (ADMIN, ANALYST, FINANCE)}
    return {OWNER: site.house.owner, **others}


def url_of(site: Site, name: str, **other: str) -> str:
    address: Address = CONSOLE[name]
    return reverse(f"console:{name}", kwargs={**site.kwargs(address.name, address.parameters), **other})


def may(name: str, role: Role, *, writes: bool) -> bool:
    reads, changes = REACH[AREA_OF[name]]
    return role in (changes if writes or name in names(CHANGE) else reads)


def refused(name: str, status: int) -> tuple[int, int]:
    """Return what whoever is refused with a status gets for GET and POST."""
    return (405 if name in names(ACTION) else status, 405 if name in FILES else status)


def test_every_address_is_classified() -> None:
    assert set(CONSOLE) == set(AREA_OF) | APART
    assert len(names(READ)) + len(names(CHANGE)) + len(names(ACTION)) == len(AREA_OF)
    assert set(AREAS) == set(REACH)
    assert {area: tuple(map(set, reach)) for area, reach in AREAS.items()} == REACH


def test_each_role_sees_what_it_may(site: Site, people: dict[Role, Client]) -> None:
    wrong = []
    for name in AREA_OF:
        for role, client in people.items():
            expected = 200 if may(name, role, writes=False) else 403
            if name in names(ACTION):
                expected = 405
            elif expected == 200:
                expected = LEADS_ON.get(name, 200)
            found = status_of(client.get(url_of(site, name)))
            if found != expected:
                wrong.append((name, role.value, found, expected))
    assert not wrong, "\n".join(map(str, wrong))


def test_no_role_changes_what_it_may_not(site: Site, people: dict[Role, Client]) -> None:
    before = fingerprint()
    asked = [(name, role) for name in AREA_OF for role in people if not may(name, role, writes=True)]
    found = {(name, role): people[role].post(url_of(site, name)).status_code for name, role in asked}
    assert found == {(name, role): refused(name, 403)[1] for name, role in asked}
    assert len(found) > 60
    assert changed(before, fingerprint()) == []


def test_neighbour_is_told_of_nothing_and_changes_nothing(site: Site) -> None:
    before, neighbour = fingerprint(), site.neighbour.owner
    wrong = []
    for name in AREA_OF:
        url = url_of(site, name)
        found = (neighbour.get(url).status_code, neighbour.post(url).status_code)
        if found != refused(name, 404):
            wrong.append((name, found))
    assert not wrong, "\n".join(map(str, wrong))
    assert changed(before, fingerprint()) == []


def test_neighbour_reaches_nothing_by_an_address_of_its_own(site: Site) -> None:
    """Their developer in the address, our rows behind it: none of ours is found among theirs."""
    neighbour = site.neighbour
    neighbour.owner.get(reverse("console:credit", args=[neighbour.developer_id]))  # which opens their wallet
    before = fingerprint()
    about_rows = [name for name in AREA_OF if len(CONSOLE[name].parameters) > 1 and name not in NOT_OF_A_DEVELOPER]
    assert len(about_rows) > 30
    wrong = []
    for name in about_rows:
        url = url_of(site, name, developer_id=neighbour.developer_id)
        found = (neighbour.owner.get(url).status_code, neighbour.owner.post(url).status_code)
        if found != refused(name, 404):
            wrong.append((name, found))
    assert not wrong, "\n".join(map(str, wrong))
    assert changed(before, fingerprint()) == []


def test_row_of_another_app_is_not_found_below_ones_own(site: Site) -> None:
    """Their app in the address, a row of ours behind it."""
    before, neighbour = fingerprint(), site.neighbour
    theirs = {"developer_id": neighbour.developer_id, "app_id": neighbour.app_id}
    below = [name for name in AREA_OF if {"app_id", "key_id"} <= {*CONSOLE[name].parameters}]
    below += [name for name in AREA_OF if {"app_id", "secret_id"} <= {*CONSOLE[name].parameters}]
    below += [name for name in AREA_OF if {"app_id", "key"} <= {*CONSOLE[name].parameters}]
    assert len(below) >= 7
    found = {name: neighbour.owner.post(url_of(site, name, **theirs)).status_code for name in below}
    assert found == dict.fromkeys(below, 404)
    assert changed(before, fingerprint()) == []


def test_visitor_is_asked_to_sign_in(site: Site) -> None:
    before, visitor = fingerprint(), Client()
    wrong = []
    for name in [*AREA_OF, "home", "new"]:
        url = url_of(site, name)
        for sent in (visitor.get(url), visitor.post(url)):
            to_sign_in = sent.status_code == 302 and sent["location"].startswith("/accounts/login/")
            if not to_sign_in and (sent.status_code != 405 or name not in {*names(ACTION), *FILES}):
                wrong.append((name, sent.status_code))
    assert not wrong, "\n".join(map(str, wrong))
    assert changed(before, fingerprint()) == []
