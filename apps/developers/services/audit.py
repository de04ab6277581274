"""The audit trail: who did what to which thing."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apps.core.ids import new_id
from apps.developers.models import AuditEvent

# Our own tokens, bearer headers, and the usual shape of a provider's key.
_SECRET = re.compile(r"mf_(?:sess|key|dev|app|inv|brg|local)_[\w-]{16,}|[Bb]earer\s+\S{8,}|\bsk-[\w-]{16,}")


def record(
    action: str,
    subject_type: str,
    subject_id: str | int,
    *,
    actor: str,
    now: datetime,
    developer_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> str:
    """Append an event such as `app.disable` and return its id; call it in the transaction of the change.

    `actor` is `user:…`, `token:dtok_…`, `system` or the like; `developer_id` is the developer concerned. Raises
    ValueError when `detail` holds what looks like a secret: the trail can never be cleaned afterwards.
    """
    if detail and _SECRET.search(json.dumps(detail, default=str)):
        raise ValueError(f"the detail of {action} holds a secret")
    event = AuditEvent.objects.create(
        id=new_id("aud"),
        at=now,
        actor=actor,
        developer_id=developer_id,
        action=action,
        subject_type=subject_type,
        subject_id=str(subject_id),
        detail=dict(detail or {}),
    )
    return event.id
