"""Stripe's payment page for one top-up: how it is asked for, and found again."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from apps.billing import stripe_api
from apps.billing.models.top_ups import BillingCustomer, TopUp
from apps.billing.services.customers import Owner, ensure_customer
from apps.billing.services.marks import marked, marks
from apps.billing.services.payments import EXPAND_SESSION

# How long the page can be paid on; Stripe takes half an hour to a day, counted when it gets the call.
LIFETIME = timedelta(hours=2)
# Clocks differ.
_SKEW = 300


def open_session(row: TopUp, *, owner: Owner, now: datetime) -> dict[str, Any]:
    """Have Stripe open the payment page of a top-up and return the session; the same row, the same session.

    Everything that is sent follows from the row, or a repetition would be another request under the same key.
    """
    customer = ensure_customer(row.account_id, owner=owner, now=now)
    page = f"{row.base_url}/top-ups/{row.id}"
    found = marks(top_up=row.id)
    intent: dict[str, Any] = {"metadata": found, "description": _description(row)}
    if row.save_card:
        intent["setup_future_usage"] = "off_session"
    params: dict[str, Any] = {
        "mode": "payment",
        "customer": customer,
        "client_reference_id": row.id,
        "metadata": found,
        "payment_intent_data": intent,
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": row.amount_cents,
                    "tax_behavior": "exclusive",
                    "product_data": {"name": _description(row)},
                },
            }
        ],
        "success_url": f"{page}/done",
        "cancel_url": f"{page}/canceled",
        "expires_at": int((row.created_at + LIFETIME).timestamp()),
        # What is paid must be what was asked for, in USD.
        "adaptive_pricing": {"enabled": False},
        "expand": EXPAND_SESSION,
    }
    if settings.STRIPE_AUTOMATIC_TAX:
        params |= {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
    return stripe_api.call(
        lambda api: api.v1.checkout.sessions.create(params, {"idempotency_key": row.id})  # type: ignore[arg-type]
    ).to_dict()


def find_session(row: TopUp) -> dict[str, Any] | None:
    """Return a top-up's Checkout session as it is now, None where Stripe has none: by its id, or else by its mark.

    Raises StripeRefused where Stripe does not know the id, and StripeUnknown.
    """
    session_id = row.checkout_session_id or _marked_session(row)
    if session_id is None:
        return None
    return stripe_api.call(
        lambda api: api.v1.checkout.sessions.retrieve(session_id, {"expand": EXPAND_SESSION})
    ).to_dict()


def expire_session(session_id: str) -> dict[str, Any]:
    """Close a payment page that nobody paid at, and return the session as it is then.

    Raises StripeUnknown, and StripeRefused where Stripe will not: it was paid this moment.
    """
    stripe_api.call(lambda api: api.v1.checkout.sessions.expire(session_id))
    return stripe_api.call(
        lambda api: api.v1.checkout.sessions.retrieve(session_id, {"expand": EXPAND_SESSION})
    ).to_dict()


def _marked_session(row: TopUp) -> str | None:
    customer = BillingCustomer.objects.filter(pk=row.account_id).values_list("customer_id", flat=True).first()
    if customer is None:
        return None  # the page is asked for after the customer is known
    since = int(row.created_at.timestamp()) - _SKEW
    params: dict[str, Any] = {"customer": customer, "created": {"gte": since}, "limit": 100}

    def look(api: Any) -> str | None:
        for session in api.v1.checkout.sessions.list(params).auto_paging_iter():
            if marked(session.to_dict(), "top_up") == row.id:
                return str(session.id)
        return None

    return stripe_api.call(look)


def _description(row: TopUp) -> str:
    return f"Credit of {row.amount_cents / 100:.2f} USD"
