"""End users: known by a keyed hash only."""

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from apps.core.errors import NotFound
from apps.core.hashing import keyed_hash
from apps.core.ids import new_id
from apps.developers.services import audit
from apps.features.models import EndUser, Status
from apps.features.services import inputs


def ensure_end_user(*, app_id: str, external_id: str, anonymous: bool, now: datetime) -> str:
    """Return the id of the end user that an app knows as `external_id`, made on first sight.

    `external_id` is the app's own user id, or a device id when `anonymous`. The two are hashed apart: a device
    that calls itself `alice` is not the user `alice`, and one person in two apps is two end users. Calls that
    race agree on one id. Raises BadRequest when `external_id` is empty or too long.
    """
    inputs.clean_external_id(external_id)
    external_hash = keyed_hash("device" if anonymous else "end_user", f"{app_id}\0{external_id}")
    found = EndUser.objects.filter(app_id=app_id, external_hash=external_hash).values_list("id", flat=True)
    known = found.first()
    if known is not None:
        return known
    user = EndUser(id=new_id("usr"), app_id=app_id, external_hash=external_hash, anonymous=anonymous, created_at=now)
    # Read again afterwards: when another call was first, its row stands and ours was not written.
    EndUser.objects.bulk_create([user], ignore_conflicts=True)
    return found.get()


@transaction.atomic
def disable_end_user(*, end_user_id: str, now: datetime, actor: str) -> None:
    """Refuse every request of this end user from now on; raises NotFound (end_user_not_found)."""
    _set_status(end_user_id, Status.DISABLED, "end_user.disable", now=now, actor=actor)


@transaction.atomic
def enable_end_user(*, end_user_id: str, now: datetime, actor: str) -> None:
    """Serve this end user again; raises NotFound (end_user_not_found)."""
    _set_status(end_user_id, Status.ACTIVE, "end_user.enable", now=now, actor=actor)


def _set_status(end_user_id: str, status: Status, action: str, *, now: datetime, actor: str) -> None:
    users = EndUser.objects.select_for_update(of=("self",)).select_related("app")
    user = users.filter(pk=end_user_id).first()
    if user is None:
        raise NotFound(_("There is no such end user."), code="end_user_not_found", param="end_user_id")
    if user.status == status:
        return
    user.status = status.value
    user.save(update_fields=["status"])
    audit.record(
        action=action,
        subject_type="end_user",
        subject_id=user.id,
        actor=actor,
        now=now,
        developer_id=user.app.developer_id,
    )
