"""Virtual keys, app secrets and API tokens: shown once, revoked, within the reach of a role."""

import re
from typing import Any

import jwt
import pytest
from django.test import Client

from apps.core.clock import now
from apps.core.errors import Unauthorized
from apps.developers.models import DeveloperToken, Role, Scope
from apps.developers.services.tokens import authenticate_token, issue_token
from apps.features.queries import authenticate
from apps.features.services.tokens import issue_virtual_key
from apps.vault.queries import app_id_of_secret
from apps.vault.services import issue_app_secret
from tests.console.neighbours import make_neighbour
from tests.console.seats import House, make_house, new_person

pytestmark = pytest.mark.django_db
ACTOR = "test"
WHO: dict[str, Any] = {"actor": ACTOR}


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def house(db: None) -> House:
    return make_house()


def shown(response: Any) -> str:
    """Return the secret that a page shows once."""
    assert response.status_code == 200, response.content
    assert "no-store" in response["cache-control"]
    found = re.search(r'id="secret">([^<]+)<', response.content.decode())
    assert found, response.content
    return found[1]


def pages(house: House) -> list[str]:
    return [house.url(f"keys/{house.app_id}"), house.url("tokens")]


def test_who_sees_which_page(house: House) -> None:
    stranger, _ = new_person("eve")
    for url in (*pages(house), house.url("keys")):
        assert Client().get(url)["location"].startswith("/accounts/login/")
        assert stranger.get(url).status_code == 404
        assert house.owner.get(url, follow=True).status_code == 200
    for role, keys, tokens in (
        (Role.ADMIN, 200, 200),
        (Role.ANALYST, 403, 200),
        (Role.FINANCE, 403, 200),
    ):
        client = house.member(role)
        assert client.get(house.url(f"keys/{house.app_id}")).status_code == keys
        assert client.post(house.url(f"keys/{house.app_id}"), {"name": "x"}).status_code == keys
        assert client.post(house.url(f"secrets/{house.app_id}/new")).status_code == keys
        assert client.get(house.url("tokens")).status_code == tokens


def test_another_developers_app_is_not_there(house: House) -> None:
    other = make_neighbour()
    for path in (f"keys/{other.app_id}", f"secrets/{other.app_id}/new"):
        assert house.owner.post(house.url(path), {"name": "x"}).status_code == 404


def test_virtual_key_is_made_shown_once_and_revoked(house: House) -> None:
    url = house.url(f"keys/{house.app_id}")
    key = shown(house.owner.post(url, {"name": "Nightly job", "feature_key": "default", "expires_at": "2099-01-31"}))
    assert authenticate(key, now=now()).app_id == house.app_id
    page = house.owner.get(url).content.decode()
    assert "Nightly job" in page
    assert key not in page
    [link] = re.findall(rf'href="({url}/[^"]+/revoke)"', page)
    assert "Nightly job" in house.owner.get(link).content.decode()
    assert house.owner.post(link)["location"] == url
    with pytest.raises(Unauthorized):
        authenticate(key, now=now())


def test_refused_key_says_why_beside_the_field(house: House) -> None:
    url = house.url(f"keys/{house.app_id}")
    answered = house.owner.post(url, {"name": "Old", "expires_at": "2020-01-01"})
    assert answered.status_code == 200
    assert 'id="id_expires_at_error"' in answered.content.decode()


def test_key_of_another_app_is_not_revoked(house: House) -> None:
    other = make_neighbour()
    _, key_id = issue_virtual_key(app_id=other.app_id, name="theirs", now=now(), actor=ACTOR)
    assert house.owner.post(house.url(f"keys/{house.app_id}/{key_id}/revoke")).status_code == 404


def test_secret_is_rotated(house: House) -> None:
    old = shown(house.owner.post(house.url(f"secrets/{house.app_id}/new")))
    new = shown(house.owner.post(house.url(f"secrets/{house.app_id}/new")))
    assert {app_id_of_secret(old), app_id_of_secret(new)} == {house.app_id}
    page = house.owner.get(house.url(f"keys/{house.app_id}")).content.decode()
    assert old not in page
    links = re.findall(r'href="([^"]+/secrets/[^"]+/revoke)"', page)
    assert len(links) == 2
    assert old[-4:] in house.owner.get(links[1]).content.decode()
    house.owner.post(links[1])  # the older one is the second
    assert (app_id_of_secret(old), app_id_of_secret(new)) == (None, house.app_id)


def test_snippet_signs_a_token_that_opens_a_session(house: House, client: Client, monkeypatch: Any) -> None:
    secret = shown(house.owner.post(house.url(f"secrets/{house.app_id}/new")))
    page = house.owner.get(house.url(f"keys/{house.app_id}")).content.decode()
    found = re.search(r'<pre class="source"[^>]*><code>(.*?)</code>', page, re.S)
    assert found
    code = found[1].replace("&quot;", '"').replace("&#x27;", "'")
    monkeypatch.setenv("MODELFAUCET_APP_SECRET", secret)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  (the snippet is to work as it stands)
    claims = jwt.decode(names["user_token"], options={"verify_signature": False})
    proof = {"public_app_id": claims["aud"], "user_token": names["user_token"]}
    assert client.post("/v1/sessions", proof, content_type="application/json").status_code == 201


@pytest.mark.parametrize(
    ("role", "asked", "given"),
    [
        (Role.OWNER, Scope.PAYOUTS_WRITE, True),
        (Role.ADMIN, Scope.KEYS_WRITE, True),
        (Role.FINANCE, Scope.REVENUE_READ, True),
        (Role.FINANCE, Scope.KEYS_WRITE, False),
        (Role.ANALYST, Scope.USAGE_READ, True),
        (Role.ANALYST, Scope.REVENUE_READ, False),
    ],
)
def test_token_reaches_no_further_than_the_role(house: House, role: str, asked: Scope, given: bool) -> None:
    client = house.member(role) if role != Role.OWNER else house.owner
    before = DeveloperToken.objects.count()
    answered = client.post(house.url("tokens"), {"name": "CI", "scopes": [asked.value]})
    assert DeveloperToken.objects.count() - before == given
    if given:
        assert authenticate_token(shown(answered), now=now()).scopes == {asked.value}
    else:
        assert 'id="id_scopes_error"' in answered.content.decode()


def test_token_beneath_another_narrows(house: House) -> None:
    moment = now()
    scopes = [Scope.TOKENS_WRITE, Scope.USAGE_READ]
    _, parent = issue_token(house.developer_id, "Parent", scopes, now=moment, actor=ACTOR)
    url = house.url("tokens")
    wide = {"name": "wide", "scopes": [Scope.KEYS_WRITE.value], "parent": parent}
    assert 'id="id_scopes_error"' in house.owner.post(url, wide).content.decode()
    token = shown(house.owner.post(url, {"name": "narrow", "scopes": [Scope.USAGE_READ.value], "parent": parent}))
    page = house.owner.get(url).content.decode()
    assert "beneath Parent" in page
    house.owner.post(house.url(f"tokens/{parent}/revoke"))
    with pytest.raises(Unauthorized):
        authenticate_token(token, now=now())


def test_analyst_neither_sees_nor_revokes_what_reaches_further(house: House) -> None:
    _, strong = issue_token(house.developer_id, "Strong one", [Scope.KEYS_WRITE], now=now(), actor=ACTOR)
    _, weak = issue_token(house.developer_id, "Weak one", [Scope.USAGE_READ], now=now(), actor=ACTOR)
    client = house.member(Role.ANALYST)
    page = client.get(house.url("tokens")).content.decode()
    assert ("Strong one" in page, "Weak one" in page) == (False, True)
    assert client.post(house.url(f"tokens/{strong}/revoke")).status_code == 404
    assert client.post(house.url(f"tokens/{weak}/revoke")).status_code == 302


def test_number_of_queries_does_not_grow(house: House, django_assert_max_num_queries: Any) -> None:
    counts: dict[str, list[int]] = {url: [] for url in pages(house)}
    for more in (1, 2):
        for number in range(more):
            issue_virtual_key(app_id=house.app_id, name=f"k{number}", now=now(), actor=ACTOR)
            issue_app_secret(house.app_id, now=now(), actor=ACTOR)
            issue_token(house.developer_id, f"t{number}", [Scope.TOKENS_WRITE], now=now(), actor=ACTOR)
        for url in pages(house):
            with django_assert_max_num_queries(12) as counted:
                assert house.owner.get(url).status_code == 200
            counts[url].append(len(counted))
    assert all(first == second for first, second in counts.values()), counts
