"""What changes apps, features, end users and tokens. Every function is one transaction."""

from apps.features.services.apps import (
    create_app,
    disable_app,
    enable_app,
    resume_app,
    set_app_terms,
    suspend_app,
    update_app,
)
from apps.features.services.bridges import create_bridge, revoke_bridge
from apps.features.services.end_users import disable_end_user, enable_end_user, ensure_end_user
from apps.features.services.features import (
    create_feature,
    disable_feature,
    enable_feature,
    set_feature_terms,
    update_feature,
)
from apps.features.services.manifests import put_manifest, roll_back
from apps.features.services.terms import TermsInput
from apps.features.services.tokens import (
    OpenedSession,
    issue_virtual_key,
    open_session,
    revoke_session,
    revoke_virtual_key,
)

__all__ = [
    "OpenedSession",
    "TermsInput",
    "create_app",
    "create_bridge",
    "create_feature",
    "disable_app",
    "disable_end_user",
    "disable_feature",
    "enable_app",
    "enable_end_user",
    "enable_feature",
    "ensure_end_user",
    "issue_virtual_key",
    "open_session",
    "put_manifest",
    "resume_app",
    "revoke_bridge",
    "revoke_session",
    "revoke_virtual_key",
    "roll_back",
    "set_app_terms",
    "set_feature_terms",
    "suspend_app",
    "update_app",
    "update_feature",
]
