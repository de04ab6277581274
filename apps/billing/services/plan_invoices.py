"""Invoices of subscriptions: their money is posted once, when Stripe says that they are paid."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from apps.billing import stripe_api
from apps.billing.models.plans import Subscription, SubscriptionInvoice
from apps.billing.services.events import Event, Later
from apps.billing.services.notices import notify
from apps.billing.services.subscriptions import follow, subscription_row
from apps.core.money import NANO_PER_CENT, divide_half_up, usd
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account, open_accounts
from apps.ledger.services.batches import Leg, post

KIND = "subscription"
STRIPE, OPERATOR = "stripe", "operator"
FAILED_NOTICE = "plan_payment_failed"


def on_subscription(event: Event) -> None:
    """Follow a subscription that began, changed or ended."""
    follow(event.object["id"], now=event.now)


def on_invoice(event: Event) -> None:
    """Post an invoice that is paid, note one whose payment failed, and follow its subscription."""
    settle_invoice(event.object["id"], now=event.now)


def settle_invoice(invoice_id: str, *, now: datetime) -> bool:
    """Ask Stripe how an invoice stands and act on that; tell whether it is of a subscription of ours.

    Call it outside any transaction. Raises Later where the subscription is not known here yet, StripeRefused and
    StripeUnknown.
    """
    found = stripe_api.call(lambda api: api.v1.invoices.retrieve(invoice_id)).to_dict()
    details = (found.get("parent") or {}).get("subscription_details") or {}
    subscription_id = details.get("subscription")
    if subscription_id is None:
        return False
    subscription_id = subscription_id["id"] if isinstance(subscription_id, Mapping) else subscription_id
    row = subscription_row(subscription_id, details)
    if row is None:
        return False
    record_invoice(row, found, now=now)
    follow(subscription_id, now=now)
    return True


@transaction.atomic
def record_invoice(row: Subscription, found: Mapping[str, Any], *, now: datetime) -> None:
    """Write down an invoice as it stands at Stripe, and post it once it is paid: the only place that does."""
    if found["currency"] != "usd":
        raise Later(f"invoice {found['id']} is not in USD")
    # Locked, so that one of several that come at once posts, and the others see that it did.
    Subscription.objects.select_for_update().get(pk=row.pk)
    invoice = SubscriptionInvoice.objects.filter(pk=found["id"]).first() or SubscriptionInvoice(
        id=found["id"],
        subscription_id=row.id,
        developer_id=row.developer_id,
        created_at=datetime.fromtimestamp(found["created"], UTC),
    )
    if invoice.paid:
        return
    paid = found["status"] == "paid"
    total = found["amount_paid"] if paid else found["amount_due"]
    tax = _tax_of(found, total)
    invoice.amount_nano, invoice.tax_nano = (total - tax) * NANO_PER_CENT, tax * NANO_PER_CENT
    invoice.paid = paid
    invoice.failures = max(invoice.failures or 0, found["attempt_count"] - paid)
    if paid:
        invoice.paid_at = now
        invoice.transaction_id = _post(invoice, now=now) if total else None
    elif invoice.failures:
        account = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=row.developer_id, now=now)
        data = {"plan": row.plan_key, "amount_usd": usd(total * NANO_PER_CENT), "invoice_id": invoice.id}
        notify(account, FAILED_NOTICE, period_key=f"{invoice.id}:{invoice.failures}", data=data, now=now)
    invoice.save()


def _post(invoice: SubscriptionInvoice, *, now: datetime) -> int:
    owners = (
        (AccountKind.FUNDING.value, STRIPE),
        (AccountKind.PLATFORM.value, OPERATOR),
        (AccountKind.TAX.value, OPERATOR),
    )
    accounts = open_accounts(owners, now=now)
    amounts = (-(invoice.amount_nano + invoice.tax_nano), invoice.amount_nano, invoice.tax_nano)
    return post(
        kind=KIND,
        legs=[Leg(accounts[owner], amount) for owner, amount in zip(owners, amounts, strict=True) if amount],
        idempotency_key=f"invoice:{invoice.id}",
        now=now,
        actor="system",
        memo={
            "invoice": invoice.id,
            "subscription": invoice.subscription_id,
            "developer_id": invoice.developer_id,
        },
    )


def _tax_of(found: Mapping[str, Any], total: int) -> int:
    """Return the tax in what was paid, in cents: all of it, or its part where a credit of Stripe's paid the rest."""
    tax = sum(entry["amount"] for entry in found.get("total_taxes") or ())
    if total == found["total"] or found["total"] <= 0:
        return min(tax, total)
    return min(divide_half_up(tax * total, found["total"]), total)
