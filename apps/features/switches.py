"""What of this room can be switched off."""

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.switches import Switch, plain
from apps.features.models import App, AppFeature, Bridge, EndUser, Status, VirtualKey, VirtualSession
from apps.features.services.apps import resume_app, suspend_app
from apps.features.services.bridges import revoke_bridge
from apps.features.services.end_users import disable_end_user, enable_end_user
from apps.features.services.features import disable_feature, enable_feature
from apps.features.services.tokens import revoke_session, revoke_virtual_key

_DISABLED = Q(status=Status.DISABLED)
_REVOKED = Q(revoked_at__isnull=False)

SWITCHES = (
    Switch(
        "app",
        _("app"),
        _("Every call of the app is refused until you allow it again; its developer cannot."),
        App,
        plain(suspend_app, "app_id"),
        plain(resume_app, "app_id"),
        _DISABLED,
    ),
    Switch(
        "feature",
        _("feature"),
        _("Every call of the feature is refused; the app's other features go on."),
        AppFeature,
        plain(disable_feature, "feature_id"),
        plain(enable_feature, "feature_id"),
        _DISABLED,
    ),
    Switch(
        "end_user",
        _("end user"),
        _("Every call of the end user is refused; the wallet keeps what it has."),
        EndUser,
        plain(disable_end_user, "end_user_id"),
        plain(enable_end_user, "end_user_id"),
        _DISABLED,
    ),
    Switch(
        "session",
        _("session"),
        _("The session ends for good; its user may open another."),
        VirtualSession,
        plain(revoke_session, "session_id"),
        None,
        _REVOKED,
        since="revoked_at",
    ),
    Switch(
        "key",
        _("virtual key"),
        _("The key ends for good; its developer may issue another."),
        VirtualKey,
        plain(revoke_virtual_key, "key_id"),
        None,
        _REVOKED,
        since="revoked_at",
    ),
    Switch(
        "bridge",
        _("bridge"),
        _("The bridge ends for good and its connection is closed; its end user may make another."),
        Bridge,
        plain(revoke_bridge, "bridge_id"),
        None,
        _REVOKED,
        since="revoked_at",
    ),
)
