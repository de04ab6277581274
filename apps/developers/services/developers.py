"""Developers and their members."""

from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.core.ids import new_id
from apps.developers.models import Developer, DeveloperToken, Member, Role, Status
from apps.developers.roles import SCOPES, check_manages
from apps.developers.services.audit import record
from apps.developers.services.tokens import revoke_token


@transaction.atomic
def create_developer(name: str, email: str, *, owner_user_id: int | None = None, now: datetime, actor: str) -> str:
    """Create a developer, with its owner where one is named, and return its id.

    Raises BadRequest (no name) and NotFound (no such user).
    """
    if not name.strip():
        raise BadRequest(_("A developer needs a name."), param="name")
    row = Developer.objects.create(id=new_id("dev"), name=name, email=email, created_at=now)
    record("developer.create", "developer", row.id, actor=actor, now=now, developer_id=row.id)
    if owner_user_id is not None:
        add_member(row.id, owner_user_id, Role.OWNER, now=now, actor=actor)
    return row.id


@transaction.atomic
def update_developer(developer_id: str, *, name: str, email: str, now: datetime, actor: str) -> None:
    """Rename a developer or change its address. Raises BadRequest and NotFound."""
    if not name.strip():
        raise BadRequest(_("A developer needs a name."), param="name")
    row = _locked(developer_id)
    before = {"name": row.name, "email": row.email}
    row.name, row.email = name, email
    row.save(update_fields=["name", "email"])
    detail = {"before": before, "after": {"name": name, "email": email}}
    record("developer.update", "developer", row.id, actor=actor, now=now, developer_id=row.id, detail=detail)


def disable_developer(developer_id: str, *, now: datetime, actor: str) -> None:
    """Refuse everything of a developer (apps, keys, tokens), within a second. Raises NotFound."""
    _set_status(developer_id, Status.DISABLED, "developer.disable", now, actor)


def enable_developer(developer_id: str, *, now: datetime, actor: str) -> None:
    """Admit a developer again. Raises NotFound."""
    _set_status(developer_id, Status.ACTIVE, "developer.enable", now, actor)


def stop_developer(developer_id: str, *, now: datetime, actor: str) -> None:
    """Refuse everything of a developer as `disable_developer` does, until its team starts it again.

    Raises NotFound and Forbidden (developer_disabled).
    """
    _switch(developer_id, Status.STOPPED, "developer.stop", now, actor)


def start_developer(developer_id: str, *, now: datetime, actor: str) -> None:
    """Admit a developer that its team had stopped. Raises NotFound and Forbidden (developer_disabled)."""
    _switch(developer_id, Status.ACTIVE, "developer.start", now, actor)


@transaction.atomic
def add_member(developer_id: str, user_id: int, role: str, *, now: datetime, actor: str) -> str:
    """Let a user act for a developer and return the membership's id.

    Raises BadRequest (no such role), NotFound (developer or user) and Conflict (is a member already).
    """
    _check_role(role)
    _locked(developer_id)
    if not get_user_model().objects.filter(id=user_id).exists():
        raise NotFound(_("There is no user %(user_id)s.") % {"user_id": user_id})
    try:
        with transaction.atomic():
            row = Member.objects.create(
                id=new_id("mem"), developer_id=developer_id, user_id=user_id, role=role, created_at=now
            )
    except IntegrityError as error:
        raise Conflict(_("This user is a member already."), code="already_exists") from error
    detail = {"user_id": user_id, "role": role}
    record("member.add", "member", row.id, actor=actor, now=now, developer_id=developer_id, detail=detail)
    return row.id


@transaction.atomic
def change_role(member_id: str, role: str, *, now: datetime, actor: str, by_role: str | None = None) -> None:
    """Give a member another role; tokens of theirs that reach further than it are revoked.

    `by_role` is the role of who asks, None an operator's. Raises BadRequest, NotFound, Forbidden (role_not_allowed)
    and Conflict (the last owner stays owner).
    """
    _check_role(role)
    row = _locked_member(member_id)
    check_manages(by_role, row.role, role)
    if row.role == role:
        return
    _keep_an_owner(row)
    before, row.role = row.role, role
    row.save(update_fields=["role"])
    detail = {"before": before, "after": role}
    record("member.change_role", "member", row.id, actor=actor, now=now, developer_id=row.developer_id, detail=detail)
    _narrow_tokens(row, SCOPES[role], now=now, actor=actor)


@transaction.atomic
def remove_member(member_id: str, *, now: datetime, actor: str, by_role: str | None = None) -> None:
    """End a membership, and revoke the tokens that this member issued.

    `by_role` is the role of who asks: the member's own for one who leaves, None an operator's. Raises NotFound,
    Forbidden (role_not_allowed) and Conflict (the last owner stays).
    """
    row = _locked_member(member_id)
    if actor != f"user:{row.user_id}":
        check_manages(by_role, row.role)
    _keep_an_owner(row)
    detail = {"user_id": row.user_id, "role": row.role}
    record("member.remove", "member", row.id, actor=actor, now=now, developer_id=row.developer_id, detail=detail)
    _narrow_tokens(row, frozenset(), now=now, actor=actor)
    row.delete()


def lock_developer(developer_id: str) -> None:
    """Let one transaction at a time change what is counted by developer, such as its keys. Raises NotFound."""
    _locked(developer_id)


def _locked(developer_id: str) -> Developer:
    row = Developer.objects.select_for_update(no_key=True).filter(id=developer_id).first()
    if row is None:
        raise NotFound(_("There is no developer %(developer_id)s.") % {"developer_id": developer_id})
    return row


def _locked_member(member_id: str) -> Member:
    found = Member.objects.filter(id=member_id).values_list("developer_id", flat=True).first()
    if found is not None:
        _locked(found)  # one change of a developer's members at a time, or two owners could leave at once
    row = Member.objects.filter(id=member_id).first()
    if row is None:
        raise NotFound(_("There is no member %(member_id)s.") % {"member_id": member_id})
    return row


def _keep_an_owner(row: Member) -> None:
    others = Member.objects.filter(developer_id=row.developer_id, role=Role.OWNER).exclude(id=row.id)
    if row.role == Role.OWNER and not others.exists():
        raise Conflict(_("A developer keeps at least one owner."), code="last_owner")


def _narrow_tokens(row: Member, scopes: frozenset[str], *, now: datetime, actor: str) -> None:
    """Revoke the tokens that a member issued and that have more than `scopes`."""
    rows = DeveloperToken.objects.filter(
        developer_id=row.developer_id, created_by=f"user:{row.user_id}", revoked_at=None
    )
    for token in rows.order_by("id"):
        if not set(token.scopes) <= scopes:
            revoke_token(token.id, now=now, actor=actor)


def _check_role(role: str) -> None:
    if role not in Role.values:
        raise BadRequest(_("There is no role %(role)s.") % {"role": role}, param="role")


@transaction.atomic
def _set_status(developer_id: str, status: Status, action: str, now: datetime, actor: str) -> None:
    row = _locked(developer_id)
    if row.status != status:
        row.status = status
        row.save(update_fields=["status"])
        record(action, "developer", row.id, actor=actor, now=now, developer_id=row.id)


@transaction.atomic
def _switch(developer_id: str, status: Status, action: str, now: datetime, actor: str) -> None:
    if _locked(developer_id).status == Status.DISABLED:
        raise Forbidden(_("The operator has disabled this developer."), code="developer_disabled")
    _set_status(developer_id, status, action, now, actor)
