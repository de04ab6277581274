"""The switch that stops every payout at once, whoever's."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from apps.billing.models.payouts import Payout, PayoutAccount, PayoutStatus, PayoutStop
from apps.core.errors import BadRequest
from apps.developers.services import audit


@dataclass(frozen=True, slots=True)
class StopInfo:
    """Since when, why and by whose hand nothing is paid out."""

    reason: str
    stopped_at: datetime
    stopped_by: str


def payouts_stopped() -> StopInfo | None:
    """Return the stop of all payouts, None where they go out."""
    row = PayoutStop.objects.values_list("reason", "stopped_at", "stopped_by").first()
    return None if row is None else StopInfo(*row)


def stop_all_payouts(*, reason: str, now: datetime, actor: str) -> bool:
    """Let nothing be proposed, approved or sent to anybody from now on; return whether that is news.

    What is approved waits and is looked at again afterwards; what Stripe already was asked for goes its way. Raises
    BadRequest (reason_required).
    """
    reason = reason.strip()
    if not reason or len(reason) > 500:
        raise BadRequest(_("Say why, in at most 500 characters."), code="reason_required", param="reason")
    with transaction.atomic():
        # Whoever is about to send holds the lock of the account: after this none is between its look and its sending.
        list(PayoutAccount.objects.select_for_update(no_key=True).filter(pk__in=_about_to_be_sent()).order_by("pk"))
        stop = PayoutStop(reason=reason, stopped_at=now, stopped_by=actor)
        if payouts_stopped() is not None:
            return False
        PayoutStop.objects.bulk_create([stop], ignore_conflicts=True)
        audit.record("payouts.stop_all", "payouts", "all", actor=actor, now=now, detail={"reason": reason})
    return True


def resume_all_payouts(*, now: datetime, actor: str) -> bool:
    """Let payouts go out again and return whether that is news; single developers that are stopped stay so."""
    with transaction.atomic():
        gone, _tables = PayoutStop.objects.all().delete()
        if gone:
            audit.record("payouts.resume_all", "payouts", "all", actor=actor, now=now)
    return bool(gone)


def _about_to_be_sent() -> list[str]:
    return list(Payout.objects.filter(status=PayoutStatus.APPROVED).values_list("developer_id", flat=True))
