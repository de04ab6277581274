"""The team's pages: roles that take effect at once, and invitations."""

import re
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.cache import cache
from django.test import Client

from apps.core import addresses
from apps.core.clock import now
from apps.developers.models import Invitation, Member, Role
from apps.developers.services.invitations import invite
from tests.console.neighbours import Neighbour, make_neighbour
from tests.console.seats import House, make_house, new_person

pytestmark = pytest.mark.django_db
PASSWORD = "a long pass phrase 9"


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    cache.clear()
    addresses.forget()


@pytest.fixture
def house(db: None) -> House:
    return make_house()


def member_of(house: House | Neighbour, role: str) -> Member:
    return Member.objects.get(developer_id=house.developer_id, role=role)


def invited(house: House, email: str, role: str, client: Client | None = None) -> str:
    """Invite an address by the page and return the link's path."""
    answered = (client or house.owner).post(house.url("team/invite"), {"email": email, "role": role})
    found = re.search(r'id="secret">http://testserver([^<]+)<', answered.content.decode())
    assert found, answered.content
    return found[1]


def test_who_sees_the_team(house: House) -> None:
    stranger, _ = new_person("eve")
    url = house.url("team")
    assert Client().get(url)["location"].startswith("/accounts/login/")
    assert stranger.get(url).status_code == 404
    for role, posts in ((Role.ADMIN, 200), (Role.ANALYST, 403), (Role.FINANCE, 403)):
        client = house.member(role)
        page = client.get(url)
        assert page.status_code == 200
        assert ("Invite somebody" in page.content.decode()) == (posts == 200)
        answered = client.post(house.url("team/invite"), {"email": f"{role}@new.example", "role": "analyst"})
        assert answered.status_code == posts
    assert stranger.post(house.url("team/invite"), {"email": "x@new.example", "role": "owner"}).status_code == 404


def test_invitation_is_mailed_and_accepted(house: House) -> None:
    path = invited(house, "Bob@new.example", "finance")
    [sent] = mail.outbox
    assert sent.to == ["bob@new.example"] or sent.to == ["Bob@new.example"]
    assert f"http://testserver{path}" in str(sent.body)
    assert path.rsplit("/", 1)[1] not in house.owner.get(house.url("team")).content.decode()
    visitor = Client()
    assert "finance" in visitor.get(path).content.decode()
    signed = visitor.post(
        f"/accounts/signup/?next={path}", {"email": "bob@new.example", "password1": PASSWORD, "next": path}
    )
    assert signed["location"] == path
    assert "Join the team" in visitor.get(path).content.decode()
    assert visitor.post(path)["location"] == house.url()
    assert visitor.get(house.url("team")).status_code == 200
    assert visitor.get(house.url("keys")).status_code == 403
    assert visitor.get(path).status_code == 404
    assert member_of(house, Role.FINANCE).user.email == "bob@new.example"


def test_only_the_invited_address_accepts(house: House, settings: Any) -> None:
    path = invited(house, "bob@new.example", "admin")
    stranger, _ = new_person("eve")
    assert stranger.get(path).status_code == 403
    assert stranger.post(path).status_code == 403
    assert Client().post(path).status_code == 200  # asked to sign in
    settings.EMAIL_VERIFICATION = True  # an address that anybody could have written down does not count
    user = get_user_model().objects.create_user("bob", "bob@new.example")
    bob = Client()
    bob.force_login(user)
    assert bob.post(path).status_code == 403
    EmailAddress.objects.create(user=user, email="bob@new.example", verified=True, primary=True)
    assert bob.post(path).status_code == 302


def test_withdrawn_and_unknown_links_lead_nowhere(house: House) -> None:
    path = invited(house, "bob@new.example", "admin")
    page = house.owner.get(house.url("team")).content.decode()
    [withdraw] = re.findall(r'action="([^"]+/withdraw)"', page)
    other = make_neighbour()
    assert other.owner.post(withdraw).status_code == 404
    assert other.owner.post(withdraw.replace(house.developer_id, other.developer_id)).status_code == 404
    assert house.owner.post(withdraw).status_code == 302
    for gone in (path, "/console/invitations/mf_inv_x", "/console/invitations/%C3%A9%00"):
        assert Client().get(gone).status_code == 404


def test_invitation_without_mail_server_shows_the_link(house: House, settings: Any, tmp_path: Path) -> None:
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_FILE_PATH = "127.0.0.1", 1, tmp_path
    for number, kind in enumerate(("smtp", "filebased")):
        settings.EMAIL_BACKEND = f"django.core.mail.backends.{kind}.EmailBackend"
        answered = house.owner.post(house.url("team/invite"), {"email": f"p{number}@new.example", "role": "admin"})
        assert "No mail could be sent" in answered.content.decode()
    assert Invitation.objects.count() == 2


def test_invitation_opens_sign_up_where_it_is_closed(house: House, settings: Any) -> None:
    settings.SIGNUP = False
    path = invited(house, "bob@new.example", "analyst")
    visitor = Client()
    wrong = {"email": "eve@new.example", "password1": PASSWORD}
    visitor.post("/accounts/signup/", wrong)
    visitor.get(path)
    visitor.post("/accounts/signup/", wrong)
    assert not get_user_model().objects.filter(email="eve@new.example").exists()
    visitor.post("/accounts/signup/", {"email": "bob@new.example", "password1": PASSWORD})
    assert get_user_model().objects.filter(email="bob@new.example").exists()


def test_admin_makes_no_owner(house: House) -> None:
    admin = house.member(Role.ADMIN)
    refused = admin.post(house.url("team/invite"), {"email": "bob@new.example", "role": "owner"})
    assert 'id="id_role_error"' in refused.content.decode()
    analyst = house.member(Role.ANALYST)
    assert analyst.get(house.url("team")).status_code == 200
    owner_row, analyst_row = member_of(house, Role.OWNER), member_of(house, Role.ANALYST)
    assert admin.post(house.url(f"team/{analyst_row.id}/role"), {"role": "owner"}).status_code == 403
    assert admin.post(house.url(f"team/{owner_row.id}/role"), {"role": "analyst"}).status_code == 403
    assert admin.post(house.url(f"team/{owner_row.id}/remove")).status_code == 403
    assert not Invitation.objects.exists()


def test_role_takes_effect_at_once(house: House) -> None:
    client = house.member(Role.ADMIN)
    row = member_of(house, Role.ADMIN)
    assert client.get(house.url("audit")).status_code == 200
    assert house.owner.post(house.url(f"team/{row.id}/role"), {"role": "analyst"}).status_code == 302
    assert client.get(house.url("audit")).status_code == 403
    assert house.owner.get(house.url(f"team/{row.id}/remove")).status_code == 200
    assert house.owner.post(house.url(f"team/{row.id}/remove"))["location"] == house.url("team")
    assert client.get(house.url("team")).status_code == 404


def test_member_leaves_but_not_the_last_owner(house: House) -> None:
    client = house.member(Role.ANALYST)
    assert client.get(house.url("team/leave")).status_code == 200
    assert client.post(house.url("team/leave"))["location"] == "/console/"
    assert client.get(house.url()).status_code == 404
    assert house.owner.post(house.url("team/leave")).status_code == 409
    assert house.owner.get(house.url()).status_code == 200


def test_member_of_another_developer_is_not_there(house: House) -> None:
    other = make_neighbour()
    row = member_of(other, Role.OWNER)
    for path in ("role", "remove"):
        assert house.owner.post(house.url(f"team/{row.id}/{path}"), {"role": "analyst"}).status_code == 404


def test_number_of_queries_does_not_grow(house: House, django_assert_max_num_queries: Any) -> None:
    counts = []
    for more in (("a",), ("b", "c")):
        for name in more:
            _, user = new_person(f"{name}-{house.developer_id}")
            Member.objects.create(
                id=f"mem_{name}", developer_id=house.developer_id, user=user, role="analyst", created_at=now()
            )
            invite(house.developer_id, f"{name}@new.example", "admin", by_role=None, now=now(), actor="test")
        with django_assert_max_num_queries(12) as counted:
            house.owner.get(house.url("team"))
        counts.append(len(counted))
    assert counts[0] == counts[1]
