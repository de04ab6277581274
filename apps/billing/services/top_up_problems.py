"""Top-ups whose payment differs from what was asked for: an operator credits what was received, or closes them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.billing import stripe_api
from apps.billing.models.top_ups import TopUp, TopUpStatus
from apps.billing.queries.top_ups import TopUpInfo, top_up_info
from apps.billing.services.payments import Payment
from apps.billing.services.top_up_rows import get
from apps.billing.services.top_ups import CLOSED, credit_payment, look_at
from apps.core.errors import BadRequest, Conflict
from apps.core.money import NANO_PER_CENT, usd
from apps.developers.services import audit


def credit_received(top_up_id: str, *, reason: str, now: datetime, actor: str) -> TopUpInfo:
    """Credit a flagged top-up with what Stripe really received for it, once, and return it.

    The amount of the top-up becomes that. Call it outside any transaction. Raises NotFound, BadRequest
    (reason_required), Conflict (no_problem, not_creditable), StripeRefused and StripeUnknown.
    """
    row = _flagged(top_up_id, reason)
    if row.status == TopUpStatus.PAID:
        raise Conflict(_("It is credited; give the second payment back at Stripe."), code="not_creditable")
    payment = look_at(row, now=now)
    if payment is None or (problem := _not_creditable(row, payment)):
        raise Conflict(problem if payment else "Stripe knows no payment for it.", code="not_creditable")
    credit = payment.total - payment.tax
    with transaction.atomic():
        present = TopUp.objects.select_for_update().get(pk=row.pk)
        if present.transaction_id is not None:
            raise Conflict(_("It was credited meanwhile."), code="not_creditable")
        TopUp.objects.filter(pk=row.pk).update(amount_cents=credit, credit_nano=credit * NANO_PER_CENT)
        credited = credit_payment(get(row.pk), payment, now=now)
        _audit("credit", row, reason, {"usd": usd(credit * NANO_PER_CENT)}, now=now, actor=actor)
    return credited


def close_problem(top_up_id: str, *, reason: str, now: datetime, actor: str) -> TopUpInfo:
    """Close a flagged top-up, whose money went back at Stripe or never came, and return it; nothing is posted.

    What was credited stays credited. Call it outside any transaction. Raises NotFound, BadRequest (reason_required),
    Conflict (no_problem; not_refunded while money for it is with us) and StripeUnknown.
    """
    row = _flagged(top_up_id, reason)
    if row.status != TopUpStatus.PAID:
        try:
            payment = look_at(row, now=now)
        except stripe_api.StripeRefused as error:
            if not error.missing:
                raise
            payment = None  # of another Stripe account, or deleted test data
        if payment is not None and payment.refunded < payment.total:
            left = usd((payment.total - payment.refunded) * NANO_PER_CENT)
            raise Conflict(
                _("%(left)s %(value)s of it were not refunded.") % {"left": left, "value": payment.currency.upper()},
                code="not_refunded",
            )
    with transaction.atomic():
        present = TopUp.objects.select_for_update().get(pk=row.pk)
        if present.transaction_id is None:
            TopUp.objects.filter(pk=row.pk).update(
                status=TopUpStatus.FAILED,
                error_code=CLOSED,
                checkout_url="",
                problem="",
                next_look_at=None,
                updated_at=now,
            )
        else:
            TopUp.objects.filter(pk=row.pk).update(problem="", updated_at=now)
        _audit("close", row, reason, {}, now=now, actor=actor)
    return top_up_info(get(row.pk))


def _flagged(top_up_id: str, reason: str) -> TopUp:
    if not reason.strip():
        raise BadRequest(_("This needs a reason."), code="reason_required", param="reason")
    row = get(top_up_id)
    if not row.problem:
        raise Conflict(_("Nothing about this top-up differs."), code="no_problem")
    return row


def _not_creditable(row: TopUp, payment: Payment) -> str:
    if payment.status != TopUpStatus.PAID or payment.payment_intent_id is None:
        return "Stripe has received no payment for it."
    if payment.top_up_id != row.id or payment.currency != "usd":
        return "The payment is another's, or not in USD."
    if payment.refunded or payment.total <= payment.tax:
        return "The payment was refunded, or there is nothing to credit."
    taken = TopUp.objects.filter(payment_intent_id=payment.payment_intent_id).exclude(pk=row.pk)
    return "The payment was credited to another top-up." if taken.exists() else ""


def _audit(what: str, row: TopUp, reason: str, more: Mapping[str, Any], *, now: datetime, actor: str) -> None:
    detail = {"problem": row.problem, "reason": reason[:500], **more}
    audit.record(f"top_up.{what}_problem", "top_up", row.pk, actor=actor, now=now, detail=detail)
