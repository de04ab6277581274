"""What other rooms may know of developers."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q

from apps.core.csv_stream import Cell, Column, Export
from apps.core.hashing import keyed_hash
from apps.developers.models import AuditEvent, Developer, DeveloperToken, Invitation, Member, Status


@dataclass(frozen=True, slots=True)
class DeveloperInfo:
    """A developer as other rooms see it; `stopped` by its own team."""

    id: str
    name: str
    email: str
    active: bool
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """One developer that a user acts for, and as what (owner, admin, analyst, finance); `stopped` by its own team."""

    developer_id: str
    developer_name: str
    role: str
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A developer token as other rooms see it; `hint` is its last four characters."""

    id: str
    developer_id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    parent_id: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A member of a team."""

    id: str
    developer_id: str
    user_id: int
    email: str
    role: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InvitationInfo:
    """An invitation that is open, or has expired without an answer."""

    id: str
    developer_id: str
    developer_name: str
    email: str
    role: str
    invited_by: str
    expires_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuditInfo:
    """An event of the audit trail."""

    id: str
    at: datetime
    actor: str
    action: str
    subject_type: str
    subject_id: str
    detail: dict[str, Any]


def developer(developer_id: str) -> DeveloperInfo | None:
    """Return a developer, disabled ones included."""
    row = Developer.objects.filter(id=developer_id).first()
    if row is None:
        return None
    return DeveloperInfo(
        row.id, row.name, row.email, active=row.status == Status.ACTIVE, stopped=row.status == Status.STOPPED
    )


def joined_at(developer_ids: Collection[str]) -> dict[str, datetime]:
    """Return since when each developer is there, by id; unknown ids are left out."""
    return dict(Developer.objects.filter(id__in=developer_ids).values_list("id", "created_at"))


def developer_ids() -> tuple[str, ...]:
    """Return the ids of all developers, disabled ones included."""
    return tuple(Developer.objects.order_by("id").values_list("id", flat=True))


def developer_names(developer_ids: Collection[str]) -> dict[str, str]:
    """Return the names of developers by id; unknown ids are left out."""
    return dict(Developer.objects.filter(id__in=developer_ids).values_list("id", "name"))


def is_active(developer_id: str) -> bool:
    """Tell whether a developer exists and is neither disabled nor stopped."""
    return Developer.objects.filter(id=developer_id, status=Status.ACTIVE).exists()


def memberships(user_id: int) -> tuple[Membership, ...]:
    """Return the developers that a user acts for, without those that an operator disabled, oldest membership first."""
    rows = (
        Member.objects.filter(user_id=user_id)
        .exclude(developer__status=Status.DISABLED)
        .select_related("developer")
        .order_by("created_at", "id")
    )
    return tuple(
        Membership(row.developer_id, row.developer.name, row.role, stopped=row.developer.status == Status.STOPPED)
        for row in rows
    )


def tokens_of(developer_id: str, *, before: str | None = None, limit: int) -> tuple[TokenInfo, ...]:
    """Return at most `limit` of a developer's tokens, revoked ones included, newest first, older than `before`."""
    rows = DeveloperToken.objects.filter(developer_id=developer_id).order_by("-id")
    if before is not None:
        rows = rows.filter(id__lt=before)
    return tuple(_token_info(row) for row in rows[:limit])


def token_by_id(token_id: str) -> TokenInfo | None:
    """Return a token, revoked or not."""
    row = DeveloperToken.objects.filter(id=token_id).first() if "\0" not in token_id else None
    return None if row is None else _token_info(row)


def members_of(developer_id: str) -> tuple[MemberInfo, ...]:
    """Return a developer's team, oldest membership first."""
    rows = Member.objects.filter(developer_id=developer_id).select_related("user").order_by("created_at", "id")
    return tuple(_member_info(row) for row in rows)


def member_by_id(member_id: str) -> MemberInfo | None:
    """Return a membership."""
    row = Member.objects.select_related("user").filter(id=member_id).first() if "\0" not in member_id else None
    return None if row is None else _member_info(row)


def invitations_of(developer_id: str) -> tuple[InvitationInfo, ...]:
    """Return a developer's invitations that nobody has accepted or withdrawn, newest first."""
    rows = Invitation.objects.filter(developer_id=developer_id, accepted_at=None, revoked_at=None)
    return tuple(_invitation_info(row) for row in rows.select_related("developer").order_by("-id"))


def invitation_by_id(invitation_id: str) -> InvitationInfo | None:
    """Return an invitation that nobody has accepted or withdrawn."""
    rows = Invitation.objects.select_related("developer").filter(accepted_at=None, revoked_at=None)
    row = rows.filter(id=invitation_id).first() if "\0" not in invitation_id else None
    return None if row is None else _invitation_info(row)


def invitation_by_token(token: str, *, now: datetime) -> InvitationInfo | None:
    """Return the invitation that a link leads to, if it can still be accepted."""
    if not token.isascii():
        return None
    rows = Invitation.objects.select_related("developer").filter(
        token_hash=keyed_hash("invitation", token), accepted_at=None, revoked_at=None, expires_at__gt=now
    )
    row = rows.exclude(developer__status=Status.DISABLED).first()
    return None if row is None else _invitation_info(row)


def audit_of(
    developer_id: str,
    *,
    actor: str = "",
    action: str = "",
    subject: str = "",
    begin: datetime | None = None,
    end: datetime | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int,
) -> tuple[AuditInfo, ...]:
    """Return at most `limit` events of a developer, newest first, from `begin` to `end` (exclusive).

    `actor` and `subject` (an id) match as they are, `action` as a beginning (`app.`). `before` is time and id of the
    last one of the page before.
    """
    rows = AuditEvent.objects.filter(developer_id=developer_id)
    if actor:
        rows = rows.filter(actor=actor)
    if action:
        rows = rows.filter(action__startswith=action)
    if subject:
        rows = rows.filter(subject_id=subject)
    if begin is not None:
        rows = rows.filter(at__gte=begin)
    if end is not None:
        rows = rows.filter(at__lt=end)
    if before is not None:
        rows = rows.filter(Q(at__lt=before[0]) | Q(at=before[0], id__lt=before[1]))
    found = rows.order_by("-at", "-id")[:limit]
    return tuple(
        AuditInfo(row.id, row.at, row.actor, row.action, row.subject_type, row.subject_id, row.detail) for row in found
    )


def audit_export(
    developer_id: str,
    *,
    actor: str = "",
    action: str = "",
    subject: str = "",
    begin: datetime | None = None,
    end: datetime | None = None,
) -> Export:
    """Return what `audit_of` does as a table to write, oldest first."""
    where, parameters = ["developer_id = %(developer_id)s"], dict[str, Any](developer_id=developer_id)
    for condition, name, value in (
        ("actor = %(actor)s", "actor", actor),
        ("starts_with(action, %(action)s)", "action", action),
        ("subject_id = %(subject)s", "subject", subject),
        ("at >= %(begin)s", "begin", begin),
        ("at < %(end)s", "end", end),
    ):
        if value:
            where.append(condition)
            parameters[name] = value
    return Export("audit", _AUDIT, f"FROM audit_events WHERE {' AND '.join(where)} ORDER BY at, id", parameters)


_AUDIT = (
    Column("id", "id"),
    Column("at", "at", Cell.TIME),
    Column("actor", "actor"),
    Column("action", "action"),
    Column("subject_type", "subject_type"),
    Column("subject_id", "subject_id"),
    Column("detail", "detail::text"),
)


def _member_info(row: Member) -> MemberInfo:
    return MemberInfo(
        id=row.id,
        developer_id=row.developer_id,
        user_id=row.user_id,
        email=row.user.email or row.user.get_username(),
        role=row.role,
        created_at=row.created_at,
    )


def _invitation_info(row: Invitation) -> InvitationInfo:
    return InvitationInfo(
        id=row.id,
        developer_id=row.developer_id,
        developer_name=row.developer.name,
        email=row.email,
        role=row.role,
        invited_by=row.invited_by,
        expires_at=row.expires_at,
        created_at=row.created_at,
    )


def _token_info(row: DeveloperToken) -> TokenInfo:
    return TokenInfo(
        id=row.id,
        developer_id=row.developer_id,
        name=row.name,
        hint=row.hint,
        scopes=tuple(row.scopes),
        parent_id=row.parent_id,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
        created_by=row.created_by,
    )
