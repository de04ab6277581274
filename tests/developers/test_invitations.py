"""Invitations, the roles that may hand out what, and what becomes of tokens with a role."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model

from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from apps.developers import roles
from apps.developers.models import AuditEvent, Invitation, Member, Role, Scope
from apps.developers.queries import developer, invitation_by_token, memberships
from apps.developers.services import developers, tokens
from apps.developers.services.invitations import AT_MOST, LIFETIME, accept_invitation, invite, revoke_invitation
from tests.developers.factories import NOW, WHO, make_developer, make_user

pytestmark = pytest.mark.django_db


def team(*names: str) -> tuple[str, list[str]]:
    """Make a developer with a member in each role named, and return its id and theirs."""
    made = make_developer()
    return made, [developers.add_member(made, make_user(name), name.split("-")[0], **WHO) for name in names]


def test_invited_address_joins_once() -> None:
    made, _ = team("owner")
    token, invitation_id = invite(made, " Bob@Example.com ", Role.FINANCE, by_role=Role.OWNER, **WHO)
    row = Invitation.objects.get()
    assert (row.email, row.token_hash == token) == ("bob@example.com", False)
    user_id = make_user("bob")
    accept_invitation(invitation_id, user_id=user_id, email="BOB@example.com", **WHO)
    assert [found.role for found in memberships(user_id)] == [Role.FINANCE]
    assert invitation_by_token(token, now=NOW) is None
    with pytest.raises(NotFound):
        accept_invitation(invitation_id, user_id=make_user("eve"), email="bob@example.com", **WHO)
    kinds = AuditEvent.objects.filter(action__startswith="invitation.").order_by("id").values_list("action", flat=True)
    assert list(kinds) == ["invitation.send", "invitation.accept"]


def test_another_address_is_refused() -> None:
    made, _ = team("owner")
    _, invitation_id = invite(made, "bob@example.com", Role.ADMIN, by_role=Role.OWNER, **WHO)
    with pytest.raises(Forbidden) as refused:
        accept_invitation(invitation_id, user_id=make_user("eve"), email="eve@example.com", **WHO)
    assert refused.value.code == "invitation_for_another"
    assert Member.objects.filter(developer_id=made).count() == 1


def test_invitation_ends_by_time_and_by_hand() -> None:
    made, _ = team("owner")
    token, old = invite(made, "bob@example.com", Role.ADMIN, by_role=Role.OWNER, **WHO)
    late = NOW + LIFETIME
    assert invitation_by_token(token, now=late - timedelta(seconds=1)) is not None
    assert invitation_by_token(token, now=late) is None
    with pytest.raises(NotFound):
        accept_invitation(old, user_id=make_user("bob"), email="bob@example.com", now=late, actor="user:2")
    newer, second = invite(made, "bob@example.com", Role.ADMIN, by_role=Role.OWNER, **WHO)
    assert invitation_by_token(token, now=NOW) is None  # the newer one took its place
    revoke_invitation(second, by_role=Role.OWNER, **WHO)
    revoke_invitation(second, by_role=Role.OWNER, **WHO)
    assert invitation_by_token(newer, now=NOW) is None


def test_members_and_nonsense_are_not_invited() -> None:
    made, _ = team("owner")
    user = get_user_model().objects.get()
    user.email = "Ada@example.com"
    user.save()
    with pytest.raises(Conflict):
        invite(made, "ada@example.com", Role.ADMIN, by_role=Role.OWNER, **WHO)
    for email in ("nobody", "", "a@b\nbcc: c@d.example"):
        with pytest.raises(BadRequest):
            invite(made, email, Role.ADMIN, by_role=Role.OWNER, **WHO)


def test_open_invitations_have_a_limit() -> None:
    made, _ = team("owner")
    for number in range(AT_MOST):
        invite(made, f"p{number}@example.com", Role.ANALYST, by_role=Role.OWNER, **WHO)
    with pytest.raises(Conflict) as refused:
        invite(made, "more@example.com", Role.ANALYST, by_role=Role.OWNER, **WHO)
    assert refused.value.code == "too_many_invitations"


def test_admins_neither_make_nor_unmake_owners() -> None:
    made, (owner, admin, analyst) = team("owner", "admin", "analyst")
    refusals = [
        lambda: invite(made, "bob@example.com", Role.OWNER, by_role=Role.ADMIN, **WHO),
        lambda: developers.change_role(analyst, Role.OWNER, by_role=Role.ADMIN, **WHO),
        lambda: developers.change_role(owner, Role.ANALYST, by_role=Role.ADMIN, **WHO),
        lambda: developers.remove_member(owner, by_role=Role.ADMIN, **WHO),
        lambda: developers.change_role(admin, Role.ADMIN, by_role=Role.ANALYST, **WHO),
    ]
    for refusal in refusals:
        with pytest.raises(Forbidden) as refused:
            refusal()
        assert refused.value.code == "role_not_allowed"
    developers.change_role(analyst, Role.FINANCE, by_role=Role.ADMIN, **WHO)
    assert Member.objects.get(id=analyst).role == Role.FINANCE


def test_tokens_shrink_with_the_role_of_who_issued_them() -> None:
    made, (_, admin) = team("owner", "admin")
    actor = f"user:{Member.objects.get(id=admin).user_id}"
    wide, _ = tokens.issue_token(made, "wide", [Scope.APPS_WRITE], now=NOW, actor=actor)
    narrow, _ = tokens.issue_token(made, "narrow", [Scope.USAGE_READ], now=NOW, actor=actor)
    others, _ = tokens.issue_token(made, "other", [Scope.APPS_WRITE], now=NOW, actor="user:0")
    developers.change_role(admin, Role.ANALYST, by_role=Role.OWNER, **WHO)
    with pytest.raises(Unauthorized) as refused:
        tokens.authenticate_token(wide, now=NOW)
    assert refused.value.code == "token_revoked"
    assert tokens.authenticate_token(narrow, now=NOW).developer_id == made
    developers.remove_member(admin, by_role=Role.OWNER, **WHO)
    with pytest.raises(Unauthorized):
        tokens.authenticate_token(narrow, now=NOW)
    assert tokens.authenticate_token(others, now=NOW).developer_id == made


def test_roles_give_no_scope_that_they_lack() -> None:
    assert roles.SCOPES[Role.OWNER] == roles.SCOPES[Role.ADMIN] == set(Scope.values)
    roles.check_scopes(Role.FINANCE, [Scope.PAYOUTS_WRITE, Scope.USAGE_READ])
    for role, scope in ((Role.ANALYST, Scope.REVENUE_READ), (Role.FINANCE, Scope.KEYS_WRITE)):
        with pytest.raises(Forbidden):
            roles.check_scopes(role, [scope])


def test_team_stops_and_starts_itself_but_not_what_an_operator_disabled() -> None:
    made, _ = team("owner")
    token, _ = tokens.issue_token(made, "t", [Scope.USAGE_READ], **WHO)
    developers.stop_developer(made, **WHO)
    found = developer(made)
    assert found is not None
    assert (found.active, found.stopped) == (False, True)
    assert [row.developer_id for row in memberships(get_user_model().objects.get().pk)] == [made]
    with pytest.raises(Forbidden):
        tokens.authenticate_token(token, now=NOW)
    developers.start_developer(made, **WHO)
    assert tokens.authenticate_token(token, now=NOW).developer_id == made
    developers.disable_developer(made, **WHO)
    for switch in (developers.start_developer, developers.stop_developer):
        with pytest.raises(Forbidden):
            switch(made, **WHO)
    assert memberships(get_user_model().objects.get().pk) == ()
