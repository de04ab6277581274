"""App secrets: issued once, shown once, revoked."""

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from apps.core.errors import NotFound
from apps.core.hashing import keyed_hash
from apps.core.ids import new_id, new_token
from apps.developers.services import audit
from apps.features import queries as features
from apps.vault.models import AppSecret


@transaction.atomic
def issue_app_secret(app_id: str, *, now: datetime, actor: str) -> str:
    """Issue a secret for the app and return it (`mf_app_…`); it is shown once. Older ones stay valid.

    Raises NotFound (app_not_found).
    """
    app = features.app_by_id(app_id)
    if app is None:
        raise NotFound(_("There is no such app."), code="app_not_found", param="app_id")
    secret = new_token("mf_app")
    row = AppSecret(
        id=new_id("sec"),
        app_id=app_id,
        secret=secret,
        secret_hash=keyed_hash("app_secret", secret),
        hint=secret[-4:],
        created_at=now,
    )
    row.save(force_insert=True)
    _record("app_secret.issue", row, app.developer_id, now=now, actor=actor)
    return secret


@transaction.atomic
def revoke_app_secret(secret_id: str, *, now: datetime, actor: str) -> None:
    """Refuse this secret, and user tokens signed with it, from now on; again changes nothing.

    Sessions already open stay open. Raises NotFound (app_secret_not_found).
    """
    row = AppSecret.objects.select_for_update().filter(pk=secret_id).first()
    if row is None:
        raise NotFound(_("There is no such app secret."), code="app_secret_not_found", param="secret_id")
    if row.revoked_at is not None:
        return
    row.revoked_at = now
    row.save(update_fields=["revoked_at"])
    app = features.app_by_id(row.app_id)
    _record("app_secret.revoke", row, app.developer_id if app else None, now=now, actor=actor)


def _record(action: str, row: AppSecret, developer_id: str | None, *, now: datetime, actor: str) -> None:
    audit.record(
        action,
        "app_secret",
        row.id,
        actor=actor,
        now=now,
        developer_id=developer_id,
        detail={"app_id": row.app_id, "hint": row.hint},
    )
