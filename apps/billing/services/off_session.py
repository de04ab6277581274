"""Charging a saved card while its holder is not there: how it is asked for, and found again."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from apps.billing import stripe_api
from apps.billing.models.top_ups import BillingCustomer, TopUp
from apps.billing.services.marks import marked, marks
from apps.billing.services.payments import EXPAND_INTENT
from apps.core.errors import Conflict

_SKEW = 300


def charge(row: TopUp, *, now: datetime) -> dict[str, Any]:
    """Charge the card that a row names and return the payment intent; the same row, the same charge.

    The tax is calculated and stored before: a repetition asks for the same amount. Raises StripeRefused (CardDeclined
    where the card or its bank said no) and StripeUnknown.
    """
    customer = _customer(row)
    if customer is None:
        raise Conflict(_("No card is saved."), code="no_saved_card")
    calculation, tax_cents = _tax(row, customer, now)
    params: dict[str, Any] = {
        "amount": row.amount_cents + tax_cents,
        "currency": "usd",
        "customer": customer,
        "payment_method": row.payment_method_id,
        "off_session": True,
        "confirm": True,
        "metadata": marks(top_up=row.id),
        "description": f"Credit of {row.amount_cents / 100:.2f} USD",
        "expand": EXPAND_INTENT,
    }
    if calculation:
        params["hooks"] = {"inputs": {"tax": {"calculation": calculation}}}
    return stripe_api.call(
        lambda api: api.v1.payment_intents.create(params, {"idempotency_key": row.id})  # type: ignore[arg-type]
    ).to_dict()


def find_charge(row: TopUp) -> dict[str, Any] | None:
    """Return a top-up's payment intent as it is now, None where Stripe has none: by its id, or else by its mark.

    Raises StripeRefused where Stripe does not know the id, and StripeUnknown.
    """
    intent_id = row.payment_intent_id or _marked_intent(row)
    if intent_id is None:
        return None
    return stripe_api.call(lambda api: api.v1.payment_intents.retrieve(intent_id, {"expand": EXPAND_INTENT})).to_dict()


def _tax(row: TopUp, customer: str, now: datetime) -> tuple[str, int]:
    """Return the tax calculation of a row and its cents, asked for once where tax is on."""
    if row.tax_calculation_id or not settings.STRIPE_AUTOMATIC_TAX:
        return row.tax_calculation_id, row.tax_cents
    params: dict[str, Any] = {
        "currency": "usd",
        "customer": customer,
        "line_items": [{"amount": row.amount_cents, "reference": row.id, "tax_behavior": "exclusive"}],
    }
    found = stripe_api.call(lambda api: api.v1.tax.calculations.create(params))  # type: ignore[arg-type]
    TopUp.objects.filter(pk=row.pk, tax_calculation_id="", transaction_id=None).update(
        tax_calculation_id=found.id or "", tax_cents=found.tax_amount_exclusive, updated_at=now
    )
    kept = TopUp.objects.get(pk=row.pk)  # of two calculations at once the first stored is the one
    return kept.tax_calculation_id, kept.tax_cents


def _marked_intent(row: TopUp) -> str | None:
    customer = _customer(row)
    if customer is None:
        return None
    since = int(row.created_at.timestamp()) - _SKEW
    params: dict[str, Any] = {"customer": customer, "created": {"gte": since}, "limit": 100}

    def look(api: Any) -> str | None:
        for intent in api.v1.payment_intents.list(params).auto_paging_iter():
            if marked(intent.to_dict(), "top_up") == row.id:
                return str(intent.id)
        return None

    return stripe_api.call(look)


def _customer(row: TopUp) -> str | None:
    return BillingCustomer.objects.filter(pk=row.account_id).values_list("customer_id", flat=True).first()
