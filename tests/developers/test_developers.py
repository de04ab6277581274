import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.models import PolicyEpoch
from apps.developers.models import AuditEvent, Developer, Member
from apps.developers.queries import DeveloperInfo, Membership, developer, is_active, memberships
from apps.developers.services.developers import (
    add_member,
    change_role,
    create_developer,
    disable_developer,
    enable_developer,
    remove_member,
    update_developer,
)
from tests.developers.factories import NOW, WHO, make_developer, make_user

pytestmark = pytest.mark.django_db


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("action", flat=True))


def test_developer_is_created_with_its_owner_and_a_trail() -> None:
    user = make_user()
    created = make_developer(owner_user_id=user)
    assert developer(created) == DeveloperInfo(created, "Acme", "acme@example.com", True)
    assert memberships(user) == (Membership(created, "Acme", "owner"),)
    assert actions() == ["developer.create", "member.add"]
    event = AuditEvent.objects.get(action="developer.create")
    assert (event.actor, event.at, event.developer_id, event.subject_id) == ("user:ada", NOW, created, created)
    assert developer("dev_unknown") is None


def test_developer_without_a_name_or_with_an_unknown_owner_is_refused() -> None:
    with pytest.raises(BadRequest):
        make_developer(" ")
    with pytest.raises(NotFound):
        make_developer(owner_user_id=10**6)
    assert not Developer.objects.exists()
    assert not AuditEvent.objects.exists()


def test_update_records_what_changed() -> None:
    created = make_developer()
    update_developer(created, name="Apex", email="hi@apex.example", **WHO)
    assert developer(created) == DeveloperInfo(created, "Apex", "hi@apex.example", True)
    detail = AuditEvent.objects.get(action="developer.update").detail
    assert (detail["before"]["name"], detail["after"]["name"]) == ("Acme", "Apex")
    with pytest.raises(BadRequest):
        update_developer(created, name="", email="", **WHO)


def test_disabled_developer_is_inactive_and_moves_the_policy_epoch() -> None:
    created = make_developer()
    user = make_user()
    add_member(created, user, "analyst", **WHO)
    before = PolicyEpoch.objects.get().number
    disable_developer(created, **WHO)
    assert not is_active(created)
    assert memberships(user) == ()
    moved = PolicyEpoch.objects.get().number
    assert moved > before
    disable_developer(created, **WHO)
    enable_developer(created, **WHO)
    assert is_active(created)
    assert PolicyEpoch.objects.get().number > moved
    assert actions()[-2:] == ["developer.disable", "developer.enable"]
    with pytest.raises(NotFound):
        disable_developer("dev_unknown", **WHO)


def test_member_is_added_once_in_a_known_role() -> None:
    created, user = make_developer(), make_user()
    add_member(created, user, "finance", **WHO)
    with pytest.raises(Conflict):
        add_member(created, user, "owner", **WHO)
    with pytest.raises(BadRequest):
        add_member(created, make_user("bob"), "king", **WHO)
    with pytest.raises(NotFound):
        add_member("dev_unknown", user, "owner", **WHO)
    assert memberships(user) == (Membership(created, "Acme", "finance"),)


def test_last_owner_stays() -> None:
    created = make_developer(owner_user_id=make_user())
    owner = Member.objects.get().id
    with pytest.raises(Conflict):
        change_role(owner, "admin", **WHO)
    with pytest.raises(Conflict):
        remove_member(owner, **WHO)
    second = add_member(created, make_user("bob"), "admin", **WHO)
    change_role(second, "owner", **WHO)
    remove_member(owner, **WHO)
    assert Member.objects.get().id == second
    assert actions()[-2:] == ["member.change_role", "member.remove"]
    with pytest.raises(NotFound):
        remove_member(owner, **WHO)


def test_developer_with_members_or_tokens_cannot_be_deleted() -> None:
    created = make_developer(owner_user_id=make_user())
    with pytest.raises(ProtectedError):
        Developer.objects.get(id=created).delete()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE developers SET status = 'gone'", "UPDATE developers SET name = ''", "UPDATE members SET role = 'king'"],
)
def test_database_refuses_what_the_services_refuse(statement: str) -> None:
    make_developer(owner_user_id=make_user())
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_creation_is_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user()
    with pytest.raises(ValueError, match="secret"), transaction.atomic():
        developer_id = create_developer("Acme", "a@example.com", owner_user_id=user, **WHO)
        update_developer(developer_id, name="mf_dev_0123456789abcdef0123", email="", **WHO)
    assert not Developer.objects.exists()
