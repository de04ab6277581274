"""What a failed automatic top-up leads to: a wait, a notice, and after several in a row a pause."""

from datetime import datetime, timedelta

from django.db.models import F

from apps.billing.models.top_ups import AutoTopUp
from apps.billing.services.notices import notify

MOST_FAILURES = 3
FAILED = "auto_top_up_failed"
PAUSED = "auto_top_up_paused"
# A card that was declined is not tried again at once: banks count that against us.
_WAITS = (timedelta(hours=1), timedelta(days=1))


def note_failure(account_id: int, *, top_up_id: str, code: str, now: datetime) -> None:
    """Count a failure, tell the owner, and pause after MOST_FAILURES in a row; in the caller's transaction."""
    AutoTopUp.objects.filter(pk=account_id).update(failures=F("failures") + 1, updated_at=now)
    row = AutoTopUp.objects.filter(pk=account_id).first()
    if row is None:
        return
    data = {"top_up_id": top_up_id, "error_code": code, "failures": row.failures}
    notify(account_id, FAILED, period_key=top_up_id, data=data, now=now)
    if row.failures >= MOST_FAILURES:
        pause(account_id, reason=(code or "declined")[:64], period_key=top_up_id, now=now)
        return
    AutoTopUp.objects.filter(pk=account_id).update(not_before=now + _WAITS[min(row.failures, len(_WAITS)) - 1])


def pause(account_id: int, *, reason: str, period_key: str, now: datetime) -> bool:
    """Pause a wallet's automatic top-ups until its owner sets them again, tell so, and return whether that is news."""
    rows = AutoTopUp.objects.filter(pk=account_id, paused_reason="", enabled=True)
    if not rows.update(paused_reason=reason, updated_at=now):
        return False
    notify(account_id, PAUSED, period_key=period_key, data={"reason": reason}, now=now)
    return True
