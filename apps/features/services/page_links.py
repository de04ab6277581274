"""Links by which an app brings its end user to pages of ours, and what ends when an end user leaves for good."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction

from apps.core.errors import NotFound, Unauthorized
from apps.core.hashing import keyed_hash
from apps.core.ids import new_id, new_token
from apps.features.models import PageLink, VirtualSession
from apps.features.services.inputs import storable
from apps.features.services.tokens import revoke_session

# How long a link opens anything.
LINK_SECONDS = 300
# Rows that open nothing any more are kept so long, to be looked at.
KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class IssuedLink:
    """A link just made; `code` is shown here and never again."""

    code: str = field(repr=False)
    link_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A link that was followed, and the session whose pages it opens until that ends at `expires_at`."""

    link_id: str
    session_id: str
    expires_at: datetime


def issue_page_link(session_id: str, *, now: datetime) -> IssuedLink:
    """Make a link that opens a session's pages once within LINK_SECONDS. Raises NotFound (session_not_found)."""
    if not storable(session_id) or not VirtualSession.objects.filter(pk=session_id).exists():
        raise NotFound("There is no such session.", code="session_not_found", param="session_id")
    code = new_token("mf_page")
    row = PageLink.objects.create(
        id=new_id("page"),
        code_hash=keyed_hash("page_link", code),
        session_id=session_id,
        expires_at=now + timedelta(seconds=LINK_SECONDS),
        created_at=now,
    )
    return IssuedLink(code, row.id, row.expires_at)


def open_page_link(code: str, *, now: datetime) -> OpenedLink:
    """Follow a link; of several that do at once one gets in. Raises Unauthorized (page_link_invalid).

    Whether the session still lives is for `principal_of_session` to say.
    """
    known = (
        PageLink.objects.filter(code_hash=keyed_hash("page_link", code)) if storable(code) else PageLink.objects.none()
    )
    if not known.filter(opened_at=None, expires_at__gt=now, created_at__lte=now).update(opened_at=now):
        raise Unauthorized("This link was used or is too old.", code="page_link_invalid")
    link_id, session_id, expires_at = known.values_list("id", "session_id", "session__expires_at").get()
    return OpenedLink(link_id, session_id, expires_at)


def purge_page_links(*, now: datetime) -> int:
    """Delete links that have opened nothing for long; return how many."""
    return PageLink.objects.filter(expires_at__lt=now - KEPT).delete()[0]


@transaction.atomic
def revoke_sessions_of(end_user_id: str, *, now: datetime, actor: str) -> int:
    """Revoke every session of an end user that still lives; return how many."""
    rows = VirtualSession.objects.filter(end_user_id=end_user_id, revoked_at=None, expires_at__gt=now)
    ids = list(rows.order_by("id").values_list("id", flat=True))
    for session_id in ids:
        revoke_session(session_id=session_id, now=now, actor=actor)
    return len(ids)
