"""Sessions and virtual keys: opened, issued, revoked. A token is returned once and stored as a keyed hash."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.translation import gettext

from apps.core.errors import BadRequest, Forbidden, NotFound
from apps.core.hashing import keyed_hash
from apps.core.ids import new_id, new_token
from apps.developers.services import audit
from apps.developers.services.developers import lock_developer
from apps.features.models import App, AppFeature, Assurance, EndUser, VirtualKey, VirtualSession
from apps.features.principals import DEFAULT_FEATURE, refuse_disabled
from apps.features.services import inputs
from apps.features.services.entitlements import require_room_for_key

MAX_SESSION_TTL = 86_400


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session just opened; `token` is shown here and never again, `expires_in` is in seconds."""

    token: str = field(repr=False)
    session_id: str
    expires_in: int


@transaction.atomic
def open_session(
    *, app_id: str, feature_key: str | None, end_user_id: str, assurance: str, ttl: int, now: datetime
) -> OpenedSession:
    """Open a session of `ttl` seconds for an end user; without a feature it is for the app's `default`.

    An anonymous session is only opened for an anonymous end user of an app that grants an allowance, and only
    there: knowing a public app id never spends a named user's money. Raises BadRequest, NotFound
    (feature_not_found, end_user_not_found) and Forbidden (developer_disabled, app_disabled, feature_disabled,
    end_user_disabled, anonymous_not_allowed).
    """
    if not 1 <= ttl <= MAX_SESSION_TTL:
        raise BadRequest(
            gettext("A session lives 1 to %(max_session_ttl)s seconds.") % {"max_session_ttl": MAX_SESSION_TTL},
            param="ttl",
        )
    if assurance not in Assurance.values:
        raise BadRequest("There is no such proof of identity.", param="assurance")
    feature_id, feature_status, allowance, app_status, developer_status = _feature(app_id, feature_key)
    user = EndUser.objects.filter(pk=end_user_id, app_id=app_id).values_list("status", "anonymous").first()
    if user is None:
        raise NotFound(gettext("This app has no such end user."), code="end_user_not_found")
    user_status, user_anonymous = user
    refuse_disabled(developer=developer_status, app=app_status, feature=feature_status, end_user=user_status)
    anonymous = assurance == Assurance.ANONYMOUS
    if anonymous != user_anonymous or (anonymous and allowance == 0):
        raise Forbidden("This app takes no anonymous session here.", code="anonymous_not_allowed")
    token = new_token("mf_sess")
    session = VirtualSession.objects.create(
        id=new_id("sess"),
        token_hash=keyed_hash("token", token),
        app_id=app_id,
        feature_id=feature_id if feature_key is not None else None,
        end_user_id=end_user_id,
        assurance=assurance,
        expires_at=now + timedelta(seconds=ttl),
        created_at=now,
    )
    return OpenedSession(token=token, session_id=session.id, expires_in=ttl)


@transaction.atomic
def issue_virtual_key(
    *,
    app_id: str,
    name: str,
    now: datetime,
    actor: str,
    feature_key: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[str, str]:
    """Issue a key that spends the credit of the app's developer; return (key, its id). The key is shown once.

    Raises BadRequest, NotFound (app_not_found, feature_not_found), Forbidden (developer_disabled, app_disabled,
    feature_disabled) and InsufficientFunds (plan_limit_reached: the developer's plan has no further key).
    """
    app = App.objects.filter(pk=app_id).first()
    if app is None:
        raise NotFound(gettext("There is no such app."), code="app_not_found", param="app_id")
    if expires_at is not None and expires_at <= now:
        raise BadRequest(gettext("expires_at must lie in the future."), param="expires_at")
    feature_id, feature_status, _, app_status, developer_status = _feature(app_id, feature_key)
    refuse_disabled(developer=developer_status, app=app_status, feature=feature_status, end_user=None)
    lock_developer(app.developer_id)  # one key at a time, or two could both be the last that the plan has
    require_room_for_key(app.developer_id, now=now)
    token = new_token("mf_key")
    key = VirtualKey.objects.create(
        id=new_id("key"),
        token_hash=keyed_hash("token", token),
        hint=token[-4:],
        name=inputs.clean_name(name),
        app=app,
        feature_id=feature_id if feature_key is not None else None,
        developer_id=app.developer_id,
        expires_at=expires_at,
        created_at=now,
    )
    audit.record(
        action="virtual_key.issue",
        subject_type="virtual_key",
        subject_id=key.id,
        actor=actor,
        now=now,
        developer_id=app.developer_id,
        detail={"name": key.name, "app_id": app_id, "feature_key": feature_key},
    )
    return token, key.id


@transaction.atomic
def revoke_session(*, session_id: str, now: datetime, actor: str) -> None:
    """Refuse this session from now on; again changes nothing. Raises NotFound (session_not_found)."""
    session = VirtualSession.objects.select_for_update(of=("self",)).select_related("app").filter(pk=session_id).first()
    if session is None:
        raise NotFound("There is no such session.", code="session_not_found", param="session_id")
    _revoke(session, "session", session.app.developer_id, now=now, actor=actor)


@transaction.atomic
def revoke_virtual_key(*, key_id: str, now: datetime, actor: str) -> None:
    """Refuse this key from now on; again changes nothing. Raises NotFound (virtual_key_not_found)."""
    key = VirtualKey.objects.select_for_update(of=("self",)).filter(pk=key_id).first()
    if key is None:
        raise NotFound(gettext("There is no such virtual key."), code="virtual_key_not_found", param="key_id")
    _revoke(key, "virtual_key", key.developer_id, now=now, actor=actor)


def _revoke(row: VirtualSession | VirtualKey, what: str, developer_id: str, *, now: datetime, actor: str) -> None:
    if row.revoked_at is not None:
        return
    row.revoked_at = now
    row.save(update_fields=["revoked_at"])
    audit.record(
        action=f"{what}.revoke",
        subject_type=what,
        subject_id=row.id,
        actor=actor,
        now=now,
        developer_id=developer_id,
    )


def _feature(app_id: str, feature_key: str | None) -> tuple[str, str, int, str, str]:
    """Return (feature id, feature status, the app's allowance, app status, developer status)."""
    key = DEFAULT_FEATURE if feature_key is None else feature_key
    row = (
        AppFeature.objects.filter(app_id=app_id, key=key)
        .values_list("id", "status", "app__anonymous_allowance", "app__status", "app__developer__status")
        .first()
        if inputs.storable(key)
        else None
    )
    if row is None:
        raise NotFound(gettext("This app has no such feature."), code="feature_not_found", param="feature_key")
    return row
