"""Stripe's events about top-ups' payments: each names an object, whose top-up is then settled."""

import logging
from datetime import datetime

from django.conf import settings

from apps.billing import stripe_api
from apps.billing.models.top_ups import TopUp, TopUpSource, TopUpStatus
from apps.billing.services.events import Event, Later
from apps.billing.services.marks import marked
from apps.billing.services.top_up_rows import get
from apps.billing.services.top_ups import CLOSED, flag, settle_top_up

logger = logging.getLogger(__name__)


def on_checkout_session(event: Event) -> None:
    """Settle the top-up of a Checkout session that completed, was paid or refused later, or expired."""
    top_up_id = marked(event.object, "top_up")
    if top_up_id is None:
        return
    _require(top_up_id)
    TopUp.objects.filter(pk=top_up_id, checkout_session_id=None).update(checkout_session_id=event.object["id"])
    row = _settle_hooked(top_up_id, event)
    if row.checkout_session_id != event.object["id"] and event.object.get("payment_status") == "paid":
        flag(row, f"{event.object['id']} was paid for this top-up as well", now=event.now)


def on_payment_intent(event: Event) -> None:
    """Settle the top-up of a payment intent that succeeded, failed, is under way or was canceled."""
    top_up_id = marked(event.object, "top_up")
    if top_up_id is None:
        return
    row = _require(top_up_id)
    if row.source != TopUpSource.CHECKOUT:
        TopUp.objects.filter(pk=top_up_id, payment_intent_id=None).update(payment_intent_id=event.object["id"])
    row = _settle_hooked(top_up_id, event)
    other = row.payment_intent_id not in (None, event.object["id"])
    if other and event.object.get("status") == "succeeded":
        flag(row, f"{event.object['id']} was paid for this top-up as well", now=event.now)


def settle_payment(payment_intent_id: str, *, now: datetime) -> TopUp | None:
    """Return the top-up that a payment was credited for, settled if need be.

    None for a payment that is no top-up of ours, or that was not credited because something about it differs. Raises
    Later where it is ours and not yet credited.
    """
    row = TopUp.objects.filter(payment_intent_id=payment_intent_id).first()
    if row is None:
        try:
            intent = stripe_api.call(lambda api: api.v1.payment_intents.retrieve(payment_intent_id)).to_dict()
        except stripe_api.StripeRefused as error:
            if error.missing:
                return None
            raise
        top_up_id = marked(intent, "top_up")
        if top_up_id is None:
            return None
        row = _require(top_up_id)
    if row.status != TopUpStatus.PAID:
        settle_top_up(row.id, now=now)
        row = get(row.id)
    if row.status == TopUpStatus.PAID and row.payment_intent_id == payment_intent_id:
        return row
    if row.problem or row.status == TopUpStatus.PAID or row.error_code == CLOSED:
        logger.warning("payment was not credited", extra={"top_up": row.id, "payment_intent": payment_intent_id})
        return None
    raise Later(f"{row.id} is not credited")


def _settle_hooked(top_up_id: str, event: Event) -> TopUp:
    """Settle the top-up that an event is about and return it; one of the other mode is flagged."""
    if event.livemode != settings.STRIPE_LIVEMODE:
        flag(get(top_up_id), f"livemode of {event.id} is {event.livemode}", now=event.now)
    else:
        settle_top_up(top_up_id, now=event.now)
    return get(top_up_id)


def _require(top_up_id: str) -> TopUp:
    """Return a top-up that Stripe names; ours are stored before Stripe hears of them, so a lost one is an alarm."""
    row = TopUp.objects.filter(pk=top_up_id).first()
    if row is None:
        raise Later(f"{top_up_id} is not known here")
    return row
