"""Invitations to a team: a link to one address, accepted once by whoever proves to have that address."""

from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.core.hashing import keyed_hash
from apps.core.ids import new_id, new_token
from apps.developers.models import Developer, Invitation, Member, Role, Status
from apps.developers.roles import check_manages
from apps.developers.services.audit import record
from apps.developers.services.developers import add_member, lock_developer

TOKEN_PREFIX = "mf_inv"  # noqa: S105  (the public prefix of every invitation)
LIFETIME = timedelta(days=7)
# Open at a time: each is a mail to somebody who did not ask for it.
AT_MOST = 50


@transaction.atomic
def invite(
    developer_id: str, email: str, role: str, *, by_role: str | None, now: datetime, actor: str
) -> tuple[str, str]:
    """Invite an address for seven days and return (token, id); an older open invitation of it ends.

    `by_role` is the role of who invites, None an operator's. Raises BadRequest, NotFound, Forbidden
    (role_not_allowed) and Conflict (already_exists: is a member; too_many_invitations).
    """
    address = clean_email(email)
    if role not in Role.values:
        raise BadRequest(_("There is no role %(role)s.") % {"role": role}, param="role")
    check_manages(by_role, role)
    lock_developer(developer_id)
    if Member.objects.filter(developer_id=developer_id, user__email__iexact=address).exists():
        raise Conflict(_("Somebody with this address is in the team already."), code="already_exists", param="email")
    for older in Invitation.objects.filter(_open(developer_id), email=address):
        _revoke(older, now=now, actor=actor)
    if Invitation.objects.filter(_open(developer_id), expires_at__gt=now).count() >= AT_MOST:
        raise Conflict(
            _("%(at_most)s invitations are open: withdraw one first.") % {"at_most": AT_MOST},
            code="too_many_invitations",
        )
    token = new_token(TOKEN_PREFIX)
    row = Invitation.objects.create(
        id=new_id("inv"),
        developer_id=developer_id,
        email=address,
        role=role,
        token_hash=hash_of(token),
        invited_by=actor,
        expires_at=now + LIFETIME,
        created_at=now,
    )
    detail = {"email": address, "role": role}
    record("invitation.send", "invitation", row.id, actor=actor, now=now, developer_id=developer_id, detail=detail)
    return token, row.id


@transaction.atomic
def accept_invitation(invitation_id: str, *, user_id: int, email: str, now: datetime, actor: str) -> str:
    """Let a user join in the role of an invitation and return the membership's id.

    `email` is an address that the caller knows to be the user's. Raises NotFound (invitation_not_found: unknown, used,
    withdrawn, expired), Forbidden (invitation_for_another, developer_disabled) and Conflict (already_exists).
    """
    found = Invitation.objects.filter(pk=invitation_id).first()
    if found is None:
        raise _gone()
    lock_developer(found.developer_id)
    row = Invitation.objects.select_for_update().get(pk=invitation_id)
    if row.accepted_at is not None or row.revoked_at is not None or row.expires_at <= now:
        raise _gone()
    if clean_email(email) != row.email:
        raise Forbidden(_("This invitation is for another address."), code="invitation_for_another")
    if Developer.objects.get(pk=row.developer_id).status == Status.DISABLED:
        raise Forbidden(_("This developer is disabled."), code="developer_disabled")
    member_id = add_member(row.developer_id, user_id, row.role, now=now, actor=actor)
    row.accepted_at, row.accepted_by_id = now, user_id
    row.save(update_fields=["accepted_at", "accepted_by"])
    detail = {"user_id": user_id, "role": row.role}
    record(
        "invitation.accept", "invitation", row.id, actor=actor, now=now, developer_id=row.developer_id, detail=detail
    )
    return member_id


@transaction.atomic
def revoke_invitation(invitation_id: str, *, by_role: str | None, now: datetime, actor: str) -> None:
    """Let nobody accept an invitation any more; again changes nothing.

    Raises NotFound (invitation_not_found), Forbidden (role_not_allowed) and Conflict (invitation_accepted).
    """
    row = Invitation.objects.select_for_update().filter(pk=invitation_id).first()
    if row is None:
        raise _gone()
    check_manages(by_role, row.role)
    if row.accepted_at is not None:
        raise Conflict(_("This invitation was accepted: remove the member."), code="invitation_accepted")
    if row.revoked_at is None:
        _revoke(row, now=now, actor=actor)


def hash_of(token: str) -> str:
    """Return under what an invitation's token is stored."""
    return keyed_hash("invitation", token)


def clean_email(email: str) -> str:
    """Return an address in small letters. Raises BadRequest."""
    address = email.strip().lower()
    try:
        validate_email(address)
    except ValidationError as error:
        raise BadRequest(_("This is no e-mail address."), param="email") from error
    return address


def _revoke(row: Invitation, *, now: datetime, actor: str) -> None:
    row.revoked_at = now
    row.save(update_fields=["revoked_at"])
    detail = {"email": row.email, "role": row.role}
    record(
        "invitation.revoke", "invitation", row.id, actor=actor, now=now, developer_id=row.developer_id, detail=detail
    )


def _open(developer_id: str) -> Q:
    return Q(developer_id=developer_id, accepted_at=None, revoked_at=None)


def _gone() -> NotFound:
    return NotFound(_("This invitation is not valid, or not any more."), code="invitation_not_found")
