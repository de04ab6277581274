"""Refunds of top-ups: credit that was bought and not used goes back to who paid, with its tax.

The wallet is debited in the transaction that stores the refund; only then Stripe is asked. What Stripe cannot give back
is credited again. A refund made at Stripe is posted when Stripe tells of it, once.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext

from apps.billing import stripe_api
from apps.billing.models.disputes import Dispute, DisputeStatus
from apps.billing.models.top_ups import Refund, RefundSource, RefundStatus, TopUp, TopUpStatus
from apps.billing.queries.credits import unused_top_ups
from apps.billing.queries.top_ups import RefundInfo, TopUpInfo, refund_info, top_up_info
from apps.billing.services import credits, invoice_returns
from apps.billing.services.events import Event
from apps.billing.services.marks import marked, marks
from apps.billing.services.notices import notify
from apps.billing.services.schedule import FIRST_LOOK, next_look
from apps.billing.services.top_up_events import settle_payment
from apps.billing.services.top_ups import SYSTEM, money_accounts
from apps.core.errors import BadRequest, Conflict, FaucetError, Forbidden, NotFound
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT, usd
from apps.developers.services import audit
from apps.ledger.queries import Balance, balance
from apps.ledger.services.accounts import lock_wallets
from apps.ledger.services.batches import Leg, post
from apps.ledger.services.transfers import reverse
from apps.usage.services.alerts import raise_alert

logger = logging.getLogger(__name__)

KIND = "refund"
FAILED_NOTICE = "refund_failed"
_LOST = {"failed", "canceled"}


def refund_top_up(
    top_up_id: str,
    *,
    amount_cents: int | None = None,
    source: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
    actor: str,
) -> RefundInfo:
    """Give back credit of a top-up that was not used, by default all of it, and return the refund: under way, or done.

    Its tax goes back in proportion. `source` operator is bound by what is unused and available alone; owner also by
    REFUND_DAYS and a wallet that is not frozen. Raises Unavailable (payments_off), NotFound, BadRequest
    (reason_required, refund_too_large), Conflict (not_refundable, nothing_to_refund, disputed,
    idempotency_key_reused), Forbidden (refund_too_late, wallet_frozen) and StripeRefused: then the wallet has it back.
    """
    stripe_api.require_enabled()
    if source == RefundSource.OPERATOR and not reason.strip():
        raise BadRequest(gettext("A refund needs a reason."), code="reason_required", param="reason")
    top_up = TopUp.objects.filter(pk=top_up_id).first()
    if top_up is None:
        raise NotFound(gettext("There is no such top-up."), code="top_up_not_found")
    known = Refund.objects.filter(account_id=top_up.account_id, idempotency_key=idempotency_key).first()
    if known is None:
        try:
            refund_id = _store(top_up, amount_cents, source, reason, idempotency_key, now=now, actor=actor)
        except IntegrityError:
            known = Refund.objects.filter(account_id=top_up.account_id, idempotency_key=idempotency_key).first()
            if known is None:
                raise
    if known is not None:
        if known.top_up_id != top_up_id or amount_cents not in (None, known.amount_cents):
            raise Conflict(gettext("This Idempotency-Key was used for another refund."), code="idempotency_key_reused")
        return refund_info(known)
    try:
        return _send(refund_id, now=now)
    except stripe_api.StripeUnknown:
        return refund_info(Refund.objects.get(pk=refund_id))  # it is under way: the sweeper looks


def settle_refund(refund_id: str, *, now: datetime) -> RefundInfo:
    """Ask Stripe how a refund stands, or for the refund where it never heard of it, and act on that.

    Call it outside any transaction. Raises NotFound, StripeUnknown and StripeRefused.
    """
    row = _get(refund_id)
    if row.status == RefundStatus.FAILED:
        return refund_info(row)
    if row.status == RefundStatus.REQUESTED:
        return _send(refund_id, now=now)
    found = _find(row)
    return _send(refund_id, now=now) if found is None else _record(row, found, now=now)


def settle_due(*, now: datetime, limit: int = 50) -> int:
    """Settle the refunds whose time has come, and return how many ended."""
    ended = 0
    for row in Refund.objects.filter(next_look_at__lte=now).order_by("next_look_at")[:limit]:
        moved = Refund.objects.filter(pk=row.pk, next_look_at=row.next_look_at).update(
            looks=row.looks + 1, next_look_at=next_look(row.looks, now)
        )
        if not moved:
            continue
        try:
            ended += settle_refund(row.id, now=now).status in (RefundStatus.SUCCEEDED, RefundStatus.FAILED)
        except stripe_api.StripeUnknown:
            break
        except FaucetError as error:
            logger.warning("refund not settled", extra={"refund": row.id, "problem": error.message})
    return ended


def on_refund(event: Event) -> None:
    """Follow a refund that was made, changed or failed, whoever made it."""
    refund_id = event.object["id"]
    found = stripe_api.call(lambda api: api.v1.refunds.retrieve(refund_id)).to_dict()
    row = Refund.objects.filter(stripe_refund_id=refund_id).first()
    if row is None and (own := marked(found, "refund")) is not None:
        row = Refund.objects.filter(pk=own).first()
    if row is not None:
        _record(row, found, now=event.now)
        return
    if invoice_returns.follow_refund(found, now=event.now):
        return
    if found.get("status") in _LOST or not found.get("payment_intent"):
        return
    top_up = settle_payment(found["payment_intent"], now=event.now)
    if top_up is not None:
        _post_foreign(top_up, found, now=event.now)


def refundable_cents(top_up_id: str) -> int:
    """Return the cents of credit that may go back now, the owner's own limits apart; 0 for a top-up not paid."""
    row = TopUp.objects.filter(pk=top_up_id, status=TopUpStatus.PAID).first()
    return 0 if row is None else max(most_refundable(row, balance(row.account_id)), 0)


def refundable_top_ups(account_id: int, *, limit: int) -> list[tuple[TopUpInfo, int]]:
    """Return the latest top-ups of a wallet of which cents may go back now, as `refundable_cents`, with those."""
    funds = balance(account_id)
    unused = unused_top_ups(account_id, funds)
    rows = TopUp.objects.filter(account_id=account_id, status=TopUpStatus.PAID).order_by("-id")[:limit]
    found = [(top_up_info(row), _most(row, funds, unused.get(row.id, 0))) for row in rows]
    return [(row, cents) for row, cents in found if cents > 0]


def most_refundable(top_up: TopUp, funds: Balance) -> int:
    """Return the cents of credit that may still go back: unused, available, and not refunded before."""
    return _most(top_up, funds, credits.unused_paid(top_up.account_id, top_up.id))


def _most(top_up: TopUp, funds: Balance, unused: int) -> int:
    free = max(min(unused, funds.posted - funds.held), 0) // NANO_PER_CENT
    return min(free, top_up.amount_cents - top_up.refunded_cents)


@transaction.atomic
def _store(
    top_up: TopUp, amount_cents: int | None, source: str, reason: str, key: str, *, now: datetime, actor: str
) -> str:
    """Debit the wallet and store the refund; return its id."""
    row, funds = _locked(top_up, now)
    if row.status != TopUpStatus.PAID:
        raise Conflict(gettext("This top-up is not paid."), code="not_refundable")
    if Dispute.objects.filter(top_up_id=row.id).exclude(status__in=[DisputeStatus.WON, DisputeStatus.CLOSED]).exists():
        raise Conflict(gettext("The payment is disputed with the bank."), code="disputed")
    if source == RefundSource.OWNER:
        if funds.frozen:
            raise Forbidden(gettext("The wallet is frozen."), code="wallet_frozen")
        assert row.paid_at is not None
        if now > row.paid_at + timedelta(days=settings.REFUND_DAYS):
            days = settings.REFUND_DAYS
            raise Forbidden(
                gettext("Credit is refunded within %(days)s days of its purchase.") % {"days": days},
                code="refund_too_late",
            )
    credits.draw(row.account_id, now=now)
    most = most_refundable(row, funds)
    if most <= 0:
        raise Conflict(gettext("Nothing of this top-up is unused and available."), code="nothing_to_refund")
    amount = most if amount_cents is None else amount_cents
    if not 0 < amount <= most:
        raise BadRequest(
            gettext("At most %(amount)s USD of this top-up can be refunded.") % {"amount": usd(most * NANO_PER_CENT)},
            code="refund_too_large",
            param="amount_usd",
            details={"refundable_usd": usd(most * NANO_PER_CENT)},
        )
    tax = row.tax_cents * (row.refunded_cents + amount) // row.amount_cents - row.refunded_tax_cents
    refund = _post(row, amount, max(tax, 0), source=source, reason=reason, key=key, now=now, actor=actor)
    return refund.id


@transaction.atomic
def _post_foreign(top_up: TopUp, found: Mapping[str, Any], *, now: datetime) -> None:
    """Post a refund that was made at Stripe, once; the wallet may go below zero, for the money is gone."""
    row, _ = _locked(top_up, now)
    if Refund.objects.filter(stripe_refund_id=found["id"]).exists():
        return
    total = row.refunded_cents + row.refunded_tax_cents + found["amount"]
    credit = row.amount_cents * total // (row.amount_cents + row.tax_cents) - row.refunded_cents
    credit = max(min(credit, found["amount"], row.amount_cents - row.refunded_cents), 0)
    tax = found["amount"] - credit
    if found.get("currency") != "usd" or tax > row.tax_cents - row.refunded_tax_cents:
        logger.error("refund differs", extra={"top_up": row.id, "stripe_refund": found["id"]})
        raise Conflict(
            gettext("%(found)s is more than what is left of %(id)s") % {"found": found["id"], "id": row.id},
            code="refund_differs",
        )
    refund = _post(
        row,
        credit,
        tax,
        source=RefundSource.STRIPE,
        reason="made at Stripe",
        key=found["id"],
        now=now,
        actor="system:stripe",
        stripe_refund_id=found["id"],
    )
    _record(refund, found, now=now)


def _post(
    row: TopUp,
    amount: int,
    tax: int,
    *,
    source: str,
    reason: str,
    key: str,
    now: datetime,
    actor: str,
    stripe_refund_id: str | None = None,
) -> Refund:
    """Post a refund of `amount` and `tax` cents and insert its row; the wallets and the top-up are locked."""
    refund_id = new_id("rfd")
    funding, taxes = money_accounts(now)
    legs = [
        Leg(row.account_id, -amount * NANO_PER_CENT),
        Leg(taxes, -tax * NANO_PER_CENT),
        Leg(funding, (amount + tax) * NANO_PER_CENT),
    ]
    posted = post(
        kind=KIND,
        legs=[leg for leg in legs if leg.amount],
        idempotency_key=f"refund:{refund_id}",
        memo={"top_up": row.id, "refund": refund_id},
        now=now,
        actor=actor,
    )
    if amount:
        credits.take_back(
            row.account_id,
            reference=row.id,
            amount=amount * NANO_PER_CENT,
            kind="refunded",
            transaction_id=posted,
            now=now,
        )
    TopUp.objects.filter(pk=row.pk).update(
        refunded_cents=F("refunded_cents") + amount, refunded_tax_cents=F("refunded_tax_cents") + tax, updated_at=now
    )
    refund = Refund(
        id=refund_id,
        top_up=row,
        account_id=row.account_id,
        source=source,
        status=RefundStatus.REQUESTED if stripe_refund_id is None else RefundStatus.SENDING,
        amount_cents=amount,
        tax_cents=tax,
        stripe_refund_id=stripe_refund_id,
        transaction_id=posted,
        reason=reason[:500],
        idempotency_key=key,
        next_look_at=now + FIRST_LOOK,
        created_at=now,
        updated_at=now,
        actor=actor,
    )
    refund.save(force_insert=True)
    detail = {"top_up": row.id, "amount_cents": amount, "tax_cents": tax, "source": str(source), "reason": reason[:500]}
    audit.record("refund.request", "refund", refund.id, actor=actor, now=now, detail=detail)
    return refund


def _send(refund_id: str, *, now: datetime) -> RefundInfo:
    """Ask Stripe for a stored refund, under its id as key; what Stripe refuses for good is credited again."""
    Refund.objects.filter(pk=refund_id, status=RefundStatus.REQUESTED).update(
        status=RefundStatus.SENDING, updated_at=now
    )
    row = _get(refund_id)
    if row.status != RefundStatus.SENDING:
        return refund_info(row)
    params = {
        "payment_intent": row.top_up.payment_intent_id,
        "amount": row.amount_cents + row.tax_cents,
        "reason": "requested_by_customer",
        "metadata": marks(refund=row.id, top_up=row.top_up_id),
    }
    try:
        found = stripe_api.call(
            lambda api: api.v1.refunds.create(params, {"idempotency_key": row.id})  # type: ignore[arg-type]
        ).to_dict()
    except stripe_api.StripeRefused as error:
        _fail(row, error.stripe_code or error.code, now=now)
        raise
    return _record(row, found, now=now)


def _find(row: Refund) -> dict[str, Any] | None:
    """Return a refund as it is at Stripe now: by its id, or else by its mark; None where Stripe has none."""
    if row.stripe_refund_id is not None:
        refund_id = row.stripe_refund_id
        return stripe_api.call(lambda api: api.v1.refunds.retrieve(refund_id)).to_dict()
    params: dict[str, Any] = {"payment_intent": row.top_up.payment_intent_id, "limit": 100}

    def look(api: Any) -> dict[str, Any] | None:
        for found in api.v1.refunds.list(params).auto_paging_iter():
            if marked(found.to_dict(), "refund") == row.id:
                content: dict[str, Any] = found.to_dict()
                return content
        return None

    return stripe_api.call(look)


def _record(row: Refund, found: Mapping[str, Any], *, now: datetime) -> RefundInfo:
    """Write what Stripe says of a refund. A refund that succeeded may still fail, weeks later."""
    Refund.objects.filter(pk=row.pk, stripe_refund_id=None).update(stripe_refund_id=found["id"], updated_at=now)
    status = found.get("status")
    if row.status == RefundStatus.FAILED and status not in _LOST:
        _alarm(row, f"Stripe says {status} of {found['id']}, and the wallet was credited again", now=now)
    elif status in _LOST:
        _fail(row, str(found.get("failure_reason") or status), now=now)
    elif status == "succeeded":
        Refund.objects.filter(pk=row.pk, status__in=[RefundStatus.REQUESTED, RefundStatus.SENDING]).update(
            status=RefundStatus.SUCCEEDED, next_look_at=None, updated_at=now
        )
    return refund_info(_get(row.pk))


def _alarm(row: Refund, problem: str, *, now: datetime) -> None:
    logger.error("refund differs", extra={"refund": row.pk, "problem": problem})
    data = {"refund_id": row.pk, "problem": problem}
    who: dict[str, Any] = {"developer_id": None, "scope": "top_up", "scope_id": row.top_up_id}
    raise_alert("refund", row.pk, **who, data=data, now=now)


@transaction.atomic
def _fail(row: Refund, code: str, *, now: datetime) -> None:
    """Credit the wallet again with a refund that did not come about, once."""
    top_up, _ = _locked(row.top_up, now)
    present = _get(row.pk)
    if present.status == RefundStatus.FAILED:
        return
    reversal = reverse(present.transaction_id, cause="refund_failed", now=now, actor=SYSTEM)
    if present.amount_cents:
        credits.give_back(
            present.account_id,
            taken_by=present.transaction_id,
            transaction_id=reversal,
            amount=present.amount_cents * NANO_PER_CENT,
            now=now,
        )
    Refund.objects.filter(pk=row.pk).update(
        status=RefundStatus.FAILED, reversal_id=reversal, error_code=code[:64], next_look_at=None, updated_at=now
    )
    TopUp.objects.filter(pk=top_up.pk).update(
        refunded_cents=F("refunded_cents") - present.amount_cents,
        refunded_tax_cents=F("refunded_tax_cents") - present.tax_cents,
        updated_at=now,
    )
    data = {"refund_id": row.pk, "top_up_id": top_up.id, "amount_usd": usd(present.amount_cents * NANO_PER_CENT)}
    notify(present.account_id, FAILED_NOTICE, period_key=row.pk, data=data, now=now)


def _locked(top_up: TopUp, now: datetime) -> tuple[TopUp, Balance]:
    """Lock the wallets that a refund moves, then its top-up; return that and the owner's balance."""
    funding, taxes = money_accounts(now)
    funds = lock_wallets([top_up.account_id, funding, taxes])[top_up.account_id]
    return TopUp.objects.select_for_update().get(pk=top_up.pk), funds


def _get(refund_id: str) -> Refund:
    try:
        return Refund.objects.select_related("top_up").get(pk=refund_id)
    except Refund.DoesNotExist:
        raise NotFound(gettext("There is no such refund."), code="refund_not_found") from None
