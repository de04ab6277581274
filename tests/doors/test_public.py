"""Pages of nobody in particular: what everybody sees, and what of an account only its owner does."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from tests.console.factories import make_demo
from tests.doors.addresses import addresses
from tests.doors.furnished import Site, furnish

pytestmark = pytest.mark.django_db(transaction=True)
ELSEWHERE = ("admin/", "console/", "me/", "v1/")
# GET answers this to whoever is not signed in, and to whoever is.
FOR_ANYBODY: dict[str, int] = {
    "healthz": 200,
    "readyz": 200,
    "home": 200,
    "contacts": 200,
    "acceptable-use": 200,
    "top-up-done": 200,
    "account_confirm_email": 200,
    "account_email_verification_sent": 200,
    "account_inactive": 200,
    "account_reset_password": 200,
    "account_reset_password_done": 200,
    "account_reset_password_from_key": 200,
    "account_reset_password_from_key_done": 200,
    "socialaccount_login_cancelled": 200,
    "socialaccount_login_error": 401,
}
# Only sent to, or asked by the demo's page with what it knows: tests/console/test_visitors.py and test_page.py.
APART = {"language", "demo-session", "demo-wallet", "demo-state", "top-up-canceled"}
# The way in: whoever is in already is led on.
WAY_IN = {"account_login", "account_signup"}
# Steps of a sign-in or of a recovery that is under way: there is none here, so they lead back to its beginning.
STEPS = {
    *("account_confirm_login_code", "mfa_authenticate", "socialaccount_signup", "mfa_login_webauthn"),
    *("openid_connect_login", "openid_connect_callback"),
}
# Whoever is not signed in is asked to.
OWN = {
    *("account_email", "account_change_password", "account_set_password", "account_reauthenticate"),
    *("mfa_index", "mfa_activate_totp", "mfa_deactivate_totp", "mfa_view_recovery_codes"),
    *("mfa_generate_recovery_codes", "mfa_download_recovery_codes", "mfa_list_webauthn", "mfa_add_webauthn"),
    *("mfa_reauthenticate", "mfa_reauthenticate_webauthn", "mfa_remove_webauthn", "mfa_edit_webauthn"),
    *("socialaccount_connections", "usersessions_list"),
}
# What of these a person with a password and nothing else set up sees; the others lead on or need a device.
SEEN = {
    *("account_email", "account_change_password", "account_reauthenticate", "mfa_index"),
    *("socialaccount_connections", "usersessions_list"),
}
SIGN_OUT = {"account_logout"}
PASSWORD = "a long pass phrase 9"
KWARGS = {"key": "MQ:x:y", "uidb36": "1", "pk": 1, "provider_id": "keycloak"}


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    cache.clear()


@pytest.fixture
def site(transactional_db: None) -> Site:
    return furnish()


def public() -> dict[str, tuple[str, ...]]:
    """Return the parameters of every such address by its name; without one it is called as its path."""
    rest = [each for each in addresses() if not each.pattern.startswith(ELSEWHERE)]
    # allauth keeps older paths of some pages, which have no name and lead to those that have.
    return {each.name or each.pattern: each.parameters for each in rest if each.name or "/" not in each.pattern}


def url_of(name: str, site: Site) -> str:
    if name in ("healthz", "readyz"):
        return f"/{name}"
    return reverse(name, kwargs={each: {**site.args, **KWARGS}[each] for each in public()[name]})


def test_every_address_is_classified() -> None:
    assert set(public()) == {*FOR_ANYBODY, *APART, *WAY_IN, *STEPS, *OWN, *SIGN_OUT}


def test_everybody_sees_what_is_public(site: Site) -> None:
    for client in (Client(), site.house.owner):
        found = {name: client.get(url_of(name, site)).status_code for name in FOR_ANYBODY}
        assert found == FOR_ANYBODY


def test_the_way_in_is_for_whoever_is_not_in(site: Site) -> None:
    for name in WAY_IN:
        assert Client().get(url_of(name, site)).status_code == 200
        assert site.house.owner.get(url_of(name, site))["location"] == "/console/"


def test_steps_of_nothing_under_way_lead_nowhere(site: Site) -> None:
    found = {name: Client().get(url_of(name, site)).status_code for name in STEPS}
    assert set(found.values()) <= {200, 302, 404, 405}, found
    answered = Client().get(url_of("mfa_authenticate", site))
    assert (answered.status_code, answered["location"]) == (302, "/accounts/login/")


def test_pages_of_an_account_are_for_its_owner(transactional_db: None) -> None:
    get_user_model().objects.create_user("ada", "ada@example.com", PASSWORD)
    owner = Client()
    owner.post("/accounts/login/", {"login": "ada@example.com", "password": PASSWORD})
    found = {name: owner.get(reverse(name)).status_code for name in SEEN}
    assert found == dict.fromkeys(SEEN, 200)


def test_nobody_sees_a_page_of_an_account_without_signing_in(site: Site) -> None:
    wrong = []
    for name in OWN | SIGN_OUT:
        for answered in (Client().get(url_of(name, site)), Client().post(url_of(name, site))):
            to_sign_in = answered.get("location", "").startswith("/accounts/login/")
            if not to_sign_in and (name not in SIGN_OUT or answered["location"] != "/"):
                wrong.append((name, answered.status_code, answered.get("location")))
    assert not wrong, "\n".join(map(str, wrong))


def test_the_demo_is_for_everybody(transactional_db: None) -> None:
    make_demo()
    answered = Client().get("/")
    assert answered.status_code == 200 and "demo" in answered.content.decode()
