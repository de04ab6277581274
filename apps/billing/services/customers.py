"""What Stripe knows a wallet's owner by, and the card it keeps for them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.billing import stripe_api
from apps.billing.models.top_ups import BillingCustomer, OwnerKind
from apps.billing.services.marks import marks
from apps.billing.services.payments import Card
from apps.core.errors import Conflict, NotFound
from apps.core.ids import new_id
from apps.developers.queries import developer
from apps.developers.services import audit

_NO_CARD: dict[str, Any] = {
    "payment_method_id": "",
    "card_brand": "",
    "card_last4": "",
    "card_fingerprint": "",
    "card_exp_month": None,
    "card_exp_year": None,
}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose wallet an account is: `kind` is end_user or developer_credit, `app_id` an end user's app."""

    kind: str
    id: str
    app_id: str = ""


def ensure_customer(account_id: int, *, owner: Owner, now: datetime) -> str:
    """Return the id of an owner's customer at Stripe, made if there is none yet; call it outside any transaction.

    Of an end user Stripe learns no name and no address: only our ids. Raises StripeRefused and StripeUnknown.
    """
    row = _row(account_id, now)
    if row.customer_id:
        return row.customer_id
    params = {"metadata": marks(account=str(account_id), owner=owner.id), "description": f"{owner.kind} {owner.id}"}
    found = developer(owner.id) if owner.kind == OwnerKind.DEVELOPER_CREDIT else None
    if found is not None:
        params |= {"name": found.name, "email": found.email}
    made = stripe_api.call(
        lambda api: api.v1.customers.create(params, {"idempotency_key": row.idempotency_key})  # type: ignore[arg-type]
    )
    BillingCustomer.objects.filter(pk=account_id, customer_id=None).update(customer_id=made.id, updated_at=now)
    return BillingCustomer.objects.values_list("customer_id", flat=True).get(pk=account_id) or made.id


def card_of(account_id: int) -> Card | None:
    """Return the card that is saved for a wallet."""
    row = BillingCustomer.objects.filter(pk=account_id).exclude(payment_method_id="").first()
    return None if row is None else _card(row)


def saved_card(account_id: int) -> tuple[str, Card]:
    """Return the customer and card to charge. Raises Conflict (no_saved_card)."""
    row = BillingCustomer.objects.filter(pk=account_id).exclude(payment_method_id="").first()
    if row is None or row.customer_id is None:
        raise Conflict(_("No card is saved: pay once on Stripe's page with save_card."), code="no_saved_card")
    return row.customer_id, _card(row)


def remember_card(account_id: int, card: Card, *, now: datetime) -> None:
    """Keep a card as the one to charge from now on."""
    BillingCustomer.objects.filter(pk=account_id).update(
        payment_method_id=card.payment_method_id,
        card_brand=card.brand,
        card_last4=card.last4,
        card_fingerprint=card.fingerprint,
        card_exp_month=card.exp_month,
        card_exp_year=card.exp_year,
        updated_at=now,
    )


def forget_card(account_id: int, *, now: datetime, actor: str) -> None:
    """Have Stripe forget the saved card, and forget it here. Raises NotFound (payment_method_not_found)."""
    row = BillingCustomer.objects.filter(pk=account_id).exclude(payment_method_id="").first()
    if row is None:
        raise NotFound(_("No card is saved."), code="payment_method_not_found")
    method = row.payment_method_id
    try:
        stripe_api.call(lambda api: api.v1.payment_methods.detach(method))
    except stripe_api.StripeRefused:
        pass  # it is detached already: another call of this came first, or Stripe's own page
    with transaction.atomic():
        kept = BillingCustomer.objects.filter(pk=account_id, payment_method_id=method)
        if kept.update(**_NO_CARD, updated_at=now):
            audit.record("payment_method.forget", "wallet", account_id, actor=actor, now=now)


def forget_customer(account_id: int, *, now: datetime) -> None:
    """Forget a customer, and with it the card, that Stripe does not know any more."""
    BillingCustomer.objects.filter(pk=account_id).update(
        idempotency_key=new_id("bcus"), customer_id=None, **_NO_CARD, updated_at=now
    )


def _row(account_id: int, now: datetime) -> BillingCustomer:
    row = BillingCustomer.objects.filter(pk=account_id).first()
    if row is None:
        row = BillingCustomer(account_id=account_id, idempotency_key=new_id("bcus"), created_at=now, updated_at=now)
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            row = BillingCustomer.objects.get(pk=account_id)
    return row


def _card(row: BillingCustomer) -> Card:
    return Card(row.payment_method_id, row.card_brand, row.card_last4, row.card_exp_month, row.card_exp_year)
