"""What Stripe's objects say of a payment, in our words. Pure: dicts as the API sends them go in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from apps.billing.models.top_ups import TopUp, TopUpSource, TopUpStatus
from apps.billing.services.marks import marked

# What of a Checkout session and of a payment intent is looked at beyond the object itself.
EXPAND_SESSION = ["payment_intent", "payment_intent.latest_charge", "payment_intent.payment_method"]
EXPAND_INTENT = ["latest_charge", "payment_method"]
_LIVE = {
    "succeeded": TopUpStatus.PAID,
    "processing": TopUpStatus.PENDING,
    "canceled": TopUpStatus.CANCELED,
}


@dataclass(frozen=True, slots=True)
class Card:
    """A saved card, as its holder knows it; `fingerprint` is Stripe's, the same for the same card anywhere."""

    payment_method_id: str
    brand: str
    last4: str
    exp_month: int | None
    exp_year: int | None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Payment:
    """How a top-up stands at Stripe; amounts in cents, `amount` without tax, `total` what was really received
    and `refunded` what of it went back."""

    status: TopUpStatus
    top_up_id: str | None
    session_id: str | None
    checkout_url: str
    payment_intent_id: str | None
    charge_id: str | None
    amount: int
    tax: int
    total: int
    currency: str
    livemode: bool
    error_code: str
    receipt_url: str
    card: Card | None
    refunded: int = 0


def payment_of_session(session: Mapping[str, Any]) -> Payment:
    """Return what a Checkout session says, expanded by EXPAND_SESSION.

    Completed is not paid: only `payment_status` tells (https://docs.stripe.com/checkout/fulfillment).
    """
    intent = _object(session.get("payment_intent"))
    charge = _object(intent.get("latest_charge"))
    return Payment(
        status=_session_status(session, intent),
        top_up_id=marked(session, "top_up"),
        session_id=session["id"],
        checkout_url=session.get("url") or "",
        payment_intent_id=intent.get("id"),
        charge_id=charge.get("id"),
        amount=session.get("amount_subtotal") or 0,
        tax=(session.get("total_details") or {}).get("amount_tax") or 0,
        total=intent.get("amount_received") or 0,
        currency=session.get("currency") or "",
        livemode=bool(session.get("livemode")),
        error_code=_error_code(intent),
        receipt_url=charge.get("receipt_url") or "",
        card=_card(intent.get("payment_method")),
        refunded=charge.get("amount_refunded") or 0,
    )


def payment_of_intent(intent: Mapping[str, Any], *, tax_cents: int) -> Payment:
    """Return what the payment intent of a saved card says, expanded by EXPAND_INTENT; its amount includes the tax.

    Nobody is there to confirm it: what asks for its holder has failed.
    """
    charge = _object(intent.get("latest_charge"))
    return Payment(
        status=_LIVE.get(intent.get("status", ""), TopUpStatus.FAILED),
        top_up_id=marked(intent, "top_up"),
        session_id=None,
        checkout_url="",
        payment_intent_id=intent["id"],
        charge_id=charge.get("id"),
        amount=(intent.get("amount") or 0) - tax_cents,
        tax=tax_cents,
        total=intent.get("amount_received") or 0,
        currency=intent.get("currency") or "",
        livemode=bool(intent.get("livemode")),
        error_code=_error_code(intent),
        receipt_url=charge.get("receipt_url") or "",
        card=_card(intent.get("payment_method")),
        refunded=charge.get("amount_refunded") or 0,
    )


def problem_of(row: TopUp, payment: Payment) -> str:
    """Return how a payment that was received differs from what our row asked for; empty if it does not."""
    if payment.top_up_id != row.id:
        return "the payment carries another top-up's mark, or none of this instance"
    if payment.livemode != settings.STRIPE_LIVEMODE:
        return f"livemode is {payment.livemode}"
    if payment.currency != "usd":
        return f"the currency is {payment.currency}"
    if payment.amount != row.amount_cents:
        return f"the amount is {payment.amount} and not {row.amount_cents} cents"
    if payment.total != payment.amount + payment.tax:
        return f"{payment.total} cents were received and not {payment.amount} and {payment.tax} of tax"
    if row.source == TopUpSource.CHECKOUT and payment.session_id != row.checkout_session_id:
        return "another Checkout session was paid"
    if payment.payment_intent_id is None:
        return "there is no payment"
    return ""


def _session_status(session: Mapping[str, Any], intent: Mapping[str, Any]) -> TopUpStatus:
    if session.get("payment_status") == "paid":
        return TopUpStatus.PAID
    if session.get("status") == "expired":
        return TopUpStatus.EXPIRED
    if session.get("status") != "complete":
        return TopUpStatus.OPEN
    if session.get("payment_status") != "unpaid":
        return TopUpStatus.PAID  # nothing had to be paid: a difference, for `problem_of` to find
    if intent.get("status") in ("requires_payment_method", "canceled"):
        return TopUpStatus.FAILED
    return TopUpStatus.PENDING


def _error_code(intent: Mapping[str, Any]) -> str:
    error = intent.get("last_payment_error") or {}
    if intent.get("status") == "requires_action":
        return "authentication_required"
    return str(error.get("decline_code") or error.get("code") or "")[:64]


def _card(method: Any) -> Card | None:
    found = _object(method)
    if not found.get("id"):
        return None
    card = found.get("card") or {}
    return Card(
        payment_method_id=found["id"],
        brand=str(card.get("display_brand") or card.get("brand") or found.get("type") or "")[:20],
        last4=str(card.get("last4") or "")[:4],
        exp_month=card.get("exp_month"),
        exp_year=card.get("exp_year"),
        fingerprint=str(card.get("fingerprint") or "")[:64],
    )


def _object(value: Any) -> Mapping[str, Any]:
    """Return an expanded object; of one that is only an id, that."""
    if isinstance(value, str):
        return {"id": value}
    return value or {}
