"""Refunds and disputes of plan invoices: posted when Stripe tells of them, undone when they fail or are won.

Nobody else earned of a plan, so nothing is clawed back. A plan whose last invoice went back for good, by a refund of
all of it or a lost dispute, is cancelled at Stripe at once: it is not in force for nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Sum

from apps.billing import stripe_api
from apps.billing.models.invoice_returns import InvoiceReturn, ReturnKind, ReturnStatus
from apps.billing.models.plans import LIVE, Subscription, SubscriptionInvoice
from apps.billing.services.events import Later
from apps.billing.services.plan_invoices import OPERATOR, STRIPE, settle_invoice
from apps.billing.services.subscriptions import follow
from apps.core.errors import Conflict
from apps.core.money import NANO_PER_CENT, usd
from apps.developers.services import audit
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_accounts
from apps.ledger.services.batches import Leg, post
from apps.ledger.services.transfers import reverse
from apps.usage.services.alerts import raise_alert

SYSTEM = "system:plans"
_RETURNED = {"succeeded", "pending", "requires_action", "needs_response", "under_review", "lost"}
_RESTORED = {"failed", "canceled", "won", "warning_closed", "prevented"}


def follow_refund(found: Mapping[str, Any], *, now: datetime) -> bool:
    """Follow a refund as it stands at Stripe; tell whether it is of an invoice of ours. Raises as `_follow`."""
    return _follow(ReturnKind.REFUND, found, now=now)


def follow_dispute(found: Mapping[str, Any], *, now: datetime) -> bool:
    """Follow a dispute as it stands at Stripe; tell whether it is of an invoice of ours. Raises as `_follow`."""
    return _follow(ReturnKind.DISPUTE, found, now=now)


def _follow(kind: ReturnKind, found: Mapping[str, Any], *, now: datetime) -> bool:
    """Post, or undo, what a return does to the invoice that it is of. Call it outside any transaction.

    Raises Later where the invoice is ours and not posted yet, Conflict (refund_differs) where more goes back than was
    paid, StripeRefused and StripeUnknown.
    """
    invoice = _invoice_of(found, now=now)
    if invoice is None:
        return False
    _write(kind, invoice.pk, found, now=now)
    _cancel_if_gone(invoice, now=now)
    return True


def _invoice_of(found: Mapping[str, Any], *, now: datetime) -> SubscriptionInvoice | None:
    known = InvoiceReturn.objects.filter(pk=found["id"]).values_list("invoice_id", flat=True).first()
    if known is not None:
        return SubscriptionInvoice.objects.get(pk=known)
    if not found.get("payment_intent"):
        return None
    payment: Any = {"type": "payment_intent", "payment_intent": found["payment_intent"]}
    paid = stripe_api.call(lambda api: api.v1.invoice_payments.list({"payment": payment}))
    for row in paid.data:
        named = row.to_dict()["invoice"]
        invoice_id = str(named["id"] if isinstance(named, Mapping) else named)
        invoice = SubscriptionInvoice.objects.filter(pk=invoice_id).first()
        if (invoice is None or not invoice.paid) and not settle_invoice(invoice_id, now=now):
            continue
        invoice = SubscriptionInvoice.objects.filter(pk=invoice_id).first()
        if invoice is None or invoice.transaction_id is None:
            raise Later(f"{invoice_id} is not posted")
        return invoice
    return None


@transaction.atomic
def _write(kind: ReturnKind, invoice_id: str, found: Mapping[str, Any], *, now: datetime) -> None:
    invoice = SubscriptionInvoice.objects.select_for_update().get(pk=invoice_id)
    status = str(found.get("status"))
    row = InvoiceReturn.objects.filter(pk=found["id"]).first()
    if row is None and kind == ReturnKind.REFUND and status in _RESTORED:
        return  # it came to nothing before we heard of it
    if row is None:
        row = _new(kind, invoice, found, now=now)
    if row.status == ReturnStatus.WAITING and status in _RETURNED:
        row.transaction_id, row.status = _post(row, now=now), ReturnStatus.RETURNED
    elif row.status == ReturnStatus.RETURNED and status in _RESTORED:
        assert row.transaction_id is not None
        cause = "won" if kind == ReturnKind.DISPUTE else "refund_failed"
        row.reversal_id = reverse(row.transaction_id, cause=cause, now=now, actor=SYSTEM)
        row.status = ReturnStatus.RESTORED
    row.stripe_status, row.updated_at = status[:40], now
    row.save()


def _new(kind: ReturnKind, invoice: SubscriptionInvoice, found: Mapping[str, Any], *, now: datetime) -> InvoiceReturn:
    """Return the row of a return that was not known: its tax makes that of all returns of the invoice right."""
    gone = InvoiceReturn.objects.filter(invoice_id=invoice.pk).exclude(status=ReturnStatus.RESTORED)
    sums = gone.aggregate(net=Sum("amount_nano"), tax=Sum("tax_nano"))
    net, tax = int(sums["net"] or 0), int(sums["tax"] or 0)
    amount, whole = found["amount"] * NANO_PER_CENT, invoice.amount_nano + invoice.tax_nano
    if found.get("currency") != "usd" or net + tax + amount > whole:
        raise Conflict(f"{found['id']} is more than what is left of {invoice.pk}", code="refund_differs")
    # In whole cents, as all of Stripe's amounts are.
    due = invoice.tax_nano * (net + tax + amount) // whole // NANO_PER_CENT * NANO_PER_CENT - tax
    part = min(max(due, 0), amount)
    data = {"stripe_id": found["id"], "invoice_id": invoice.pk, "amount_usd": usd(amount), "kind": kind.value}
    audit.record(
        f"invoice.{kind.value}",
        "invoice",
        invoice.pk,
        actor=SYSTEM,
        now=now,
        developer_id=invoice.developer_id,
        detail=data,
    )
    if kind == ReturnKind.DISPUTE:
        who: dict[str, Any] = {"developer_id": None, "scope": "invoice", "scope_id": invoice.subscription_id}
        raise_alert("dispute", found["id"], **who, data=data, now=now)
    return InvoiceReturn(
        id=found["id"],
        kind=kind,
        invoice_id=invoice.pk,
        subscription_id=invoice.subscription_id,
        developer_id=invoice.developer_id,
        status=ReturnStatus.WAITING,
        amount_nano=amount - part,
        tax_nano=part,
        created_at=now,
    )


def _post(row: InvoiceReturn, *, now: datetime) -> int:
    owners = (
        (AccountKind.FUNDING.value, STRIPE),
        (AccountKind.PLATFORM.value, OPERATOR),
        (AccountKind.TAX.value, OPERATOR),
    )
    accounts = open_accounts(owners, now=now)
    amounts = (row.amount_nano + row.tax_nano, -row.amount_nano, -row.tax_nano)
    return post(
        kind=f"subscription_{row.kind}",
        legs=[Leg(accounts[owner], amount) for owner, amount in zip(owners, amounts, strict=True) if amount],
        idempotency_key=f"invoice_{row.kind}:{row.pk}",
        now=now,
        actor=SYSTEM,
        memo={"invoice": row.invoice_id, "developer_id": row.developer_id},
    )


def _cancel_if_gone(invoice: SubscriptionInvoice, *, now: datetime) -> None:
    """Cancel a subscription at Stripe whose last paid invoice was refunded as a whole or lost to a dispute."""
    paid = SubscriptionInvoice.objects.filter(subscription_id=invoice.subscription_id, transaction_id__isnull=False)
    if paid.latest("created_at", "paid_at").pk != invoice.pk:
        return
    gone = InvoiceReturn.objects.filter(invoice_id=invoice.pk, status=ReturnStatus.RETURNED)
    # A refund may still fail, and a dispute be won, while they are under way.
    final = [row for row in gone if row.stripe_status in ("succeeded", "lost")]
    if sum(row.amount_nano + row.tax_nano for row in final) < invoice.amount_nano + invoice.tax_nano:
        return
    live = Subscription.objects.filter(pk=invoice.subscription_id, status__in=LIVE).first()
    if live is None or live.stripe_subscription_id is None:
        return
    stripe_id = live.stripe_subscription_id
    try:
        stripe_api.call(lambda api: api.v1.subscriptions.cancel(stripe_id, {"invoice_now": False, "prorate": False}))
    except stripe_api.StripeRefused as error:
        if not error.missing:
            raise  # else it is cancelled already
    follow(stripe_id, now=now)
