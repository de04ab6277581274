"""Developer tokens: issued once, stored as hashes, narrowed by every descent, revoked with their children."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, Forbidden, NotFound, Unauthorized
from apps.core.hashing import keyed_hash
from apps.core.ids import new_id, new_token
from apps.developers.models import Developer, DeveloperToken, Scope, Status
from apps.developers.services.audit import record

__all__ = ["DeveloperIdentity", "Scope", "authenticate_token", "issue_token", "revoke_token"]

TOKEN_PREFIX = "mf_dev"  # noqa: S105  (the public prefix of every developer token)
# How fine last_used_at is: a write per use would make every read a write.
LAST_USED_STEP = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class DeveloperIdentity:
    """Who a developer token speaks for, and what it may do."""

    developer_id: str
    token_id: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Raise Forbidden (insufficient_scope) unless the token has `scope`."""
        if scope not in self.scopes:
            raise Forbidden(_("This token lacks the scope %(scope)s.") % {"scope": scope}, code="insufficient_scope")


@transaction.atomic
def issue_token(
    developer_id: str,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    parent_id: str | None = None,
    *,
    now: datetime,
    actor: str,
) -> tuple[str, str]:
    """Issue a token and return (token, id). The token is not kept: this is the only time it is seen.

    A child (issued by the token `parent_id`) has no scope its parent lacks and does not outlive it. Raises
    BadRequest, NotFound (developer or parent) and Forbidden (developer disabled; parent revoked, expired or not
    allowed to issue tokens).
    """
    wanted = frozenset(scopes)
    if not name.strip():
        raise BadRequest(_("A token needs a name."), param="name")
    if not wanted or not wanted <= set(Scope.values):
        raise BadRequest(_("Scopes are one or more of %(names)s.") % {"names": ", ".join(Scope.values)}, param="scopes")
    if expires_at is not None and expires_at <= now:
        raise BadRequest(_("A token expires in the future."), param="expires_at")
    if _lock(developer_id).status != Status.ACTIVE:
        raise Forbidden(_("This developer is disabled."), code="developer_disabled")
    if parent_id is not None:
        _check_parent(parent_id, developer_id, wanted, expires_at, now)
    token = new_token(TOKEN_PREFIX)
    row = DeveloperToken.objects.create(
        id=new_id("dtok"),
        developer_id=developer_id,
        name=name,
        token_hash=_hash(token),
        hint=token[-4:],
        scopes=sorted(wanted),
        parent_id=parent_id,
        expires_at=expires_at,
        created_at=now,
        created_by=actor,
    )
    detail = {
        "name": name,
        "scopes": sorted(wanted),
        "parent_id": parent_id,
        "expires_at": expires_at and expires_at.isoformat(),
    }
    record("token.issue", "developer_token", row.id, actor=actor, now=now, developer_id=developer_id, detail=detail)
    return token, row.id


@transaction.atomic
def revoke_token(token_id: str, *, now: datetime, actor: str) -> tuple[str, ...]:
    """Revoke a token and everything descended from it; return the ids revoked now. Raises NotFound."""
    found = DeveloperToken.objects.filter(id=token_id).values_list("developer_id", flat=True).first()
    if found is None:
        raise NotFound(_("There is no token %(token_id)s.") % {"token_id": token_id})
    _lock(found)  # no child is issued while its ancestors are being revoked
    family, generation = [token_id], [token_id]
    while generation:
        generation = list(DeveloperToken.objects.filter(parent_id__in=generation).values_list("id", flat=True))
        family.extend(generation)
    live = tuple(
        DeveloperToken.objects.filter(id__in=family, revoked_at=None).order_by("id").values_list("id", flat=True)
    )
    DeveloperToken.objects.filter(id__in=live).update(revoked_at=now)
    for revoked in live:
        detail = None if revoked == token_id else {"because_of": token_id}
        record("token.revoke", "developer_token", revoked, actor=actor, now=now, developer_id=found, detail=detail)
    return live


def authenticate_token(token: str, *, now: datetime) -> DeveloperIdentity:
    """Return who `token` speaks for.

    Raises Unauthorized (invalid_token, token_revoked, token_expired) and Forbidden (developer_disabled).
    """
    row = None
    if token.startswith(f"{TOKEN_PREFIX}_"):
        row = DeveloperToken.objects.select_related("developer").filter(token_hash=_hash(token)).first()
    if row is None:
        raise Unauthorized("This is not a valid developer token.", code="invalid_token")
    if row.revoked_at is not None:
        raise Unauthorized("This developer token was revoked.", code="token_revoked")
    if row.expires_at is not None and row.expires_at <= now:
        raise Unauthorized("This developer token has expired.", code="token_expired")
    if row.developer.status != Status.ACTIVE:
        raise Forbidden(_("This developer is disabled."), code="developer_disabled")
    if row.last_used_at is None or row.last_used_at <= now - LAST_USED_STEP:
        stale = Q(last_used_at=None) | Q(last_used_at__lte=now - LAST_USED_STEP)
        DeveloperToken.objects.filter(stale, id=row.id).update(last_used_at=now)
    return DeveloperIdentity(row.developer_id, row.id, frozenset(row.scopes))


def _hash(token: str) -> str:
    return keyed_hash("developer_token", token)


def _lock(developer_id: str) -> Developer:
    row = Developer.objects.select_for_update(no_key=True).filter(id=developer_id).first()
    if row is None:
        raise NotFound(_("There is no developer %(developer_id)s.") % {"developer_id": developer_id})
    return row


def _check_parent(
    parent_id: str, developer_id: str, scopes: frozenset[str], expires_at: datetime | None, now: datetime
) -> None:
    parent = DeveloperToken.objects.filter(id=parent_id, developer_id=developer_id).first()
    if parent is None:
        raise NotFound(_("This developer has no token %(parent_id)s.") % {"parent_id": parent_id}, param="parent_id")
    if parent.revoked_at is not None or (parent.expires_at is not None and parent.expires_at <= now):
        raise Forbidden(_("The parent token is revoked or has expired."), code="parent_not_valid")
    if Scope.TOKENS_WRITE not in parent.scopes:
        raise Forbidden(
            _("The parent token lacks the scope %(tokens_write)s.") % {"tokens_write": Scope.TOKENS_WRITE},
            code="insufficient_scope",
        )
    if excess := scopes - set(parent.scopes):
        raise BadRequest(_("The parent token lacks %(names)s.") % {"names": ", ".join(sorted(excess))}, param="scopes")
    if parent.expires_at is not None and (expires_at is None or expires_at > parent.expires_at):
        raise BadRequest(_("A token does not outlive its parent."), param="expires_at")
