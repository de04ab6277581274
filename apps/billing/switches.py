"""What of this room can be switched off; all payouts at once are in `services/payout_stop.py`."""

from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.billing.models.payouts import PayoutAccount
from apps.billing.services.payout_accounts import resume_payouts, stop_payouts
from apps.core.switches import Switch


def _resume(developer_id: Any, *, reason: str, now: datetime, actor: str) -> bool:
    return resume_payouts(developer_id, now=now, actor=actor)


SWITCHES = (
    Switch(
        "payouts",
        _("payouts of a developer"),
        _("Nothing is proposed, approved or sent to the developer; what waits is held."),
        PayoutAccount,
        stop_payouts,
        _resume,
        Q(stopped_at__isnull=False),
        since="stopped_at",
        why="stopped_reason",
    ),
)
