"""Top-ups: credit bought through Stripe, credited once whoever notices first that it was paid.

A row is written before Stripe is asked. The success page, the webhook and the sweeper all call `settle_top_up`, which
asks Stripe for the present state and acts on that; `record_paid` is the one place that posts.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from apps.billing import stripe_api
from apps.billing.models.top_ups import WAITING, AutoTopUp, TopUp, TopUpSource, TopUpStatus
from apps.billing.queries.top_ups import TopUpInfo, top_up_info
from apps.billing.services import checkout, credits, off_session
from apps.billing.services.auto_failures import note_failure
from apps.billing.services.customers import Owner, forget_customer, remember_card
from apps.billing.services.payments import Payment, payment_of_intent, payment_of_session, problem_of
from apps.billing.services.schedule import next_look
from apps.billing.services.top_up_rows import get, store
from apps.core.errors import FaucetError
from apps.core.money import NANO_PER_CENT
from apps.developers.services import audit
from apps.ledger.models import AccountKind, TransactionKind
from apps.ledger.services.accounts import open_accounts
from apps.ledger.services.batches import Leg, post
from apps.usage.services.alerts import raise_alert

logger = logging.getLogger(__name__)

SYSTEM = "system:top_ups"
STRIPE = "stripe"
OPERATOR = "operator"
# A payment that Stripe never heard of is asked for again until then, and given up after.
SEND_AGAIN = timedelta(hours=1)
# A page that is still open after that is closed.
CLOSE_AFTER = timedelta(days=1)
# A difference is not going to heal by itself; somebody may correct it at Stripe.
LOOK_AT_PROBLEM = timedelta(days=1)
NOT_SENT = "not_sent"
# An operator has looked at its problem and closed it: nothing is credited any more.
CLOSED = "closed"
_ENDED = {TopUpStatus.FAILED, TopUpStatus.EXPIRED, TopUpStatus.CANCELED}


def start_top_up(
    account_id: int,
    *,
    amount_cents: int,
    owner: Owner,
    return_url: str = "",
    base_url: str = "",
    save_card: bool = False,
    idempotency_key: str,
    now: datetime,
    actor: str,
) -> TopUpInfo:
    """Open a payment page of Stripe's for credit of `amount_cents` and return the top-up, whose `checkout_url` it is.

    The same key again returns the same top-up and opens no second page. `base_url` is this instance as the payer
    reaches it. Raises Unavailable (payments_off), BadRequest (invalid_amount, balance_limit), Forbidden
    (wallet_frozen), Conflict (idempotency_key_reused), StripeRefused and StripeUnknown: then the same key goes on.
    """
    stripe_api.require_enabled()
    content = {"source": TopUpSource.CHECKOUT.value, "save_card": save_card, "return_url": return_url}
    row, is_new = store(account_id, amount_cents, owner, idempotency_key, content, base_url, now=now, actor=actor)
    return _started(row, is_new, now)


def charge_saved_card(
    account_id: int,
    *,
    amount_cents: int,
    owner: Owner,
    idempotency_key: str,
    now: datetime,
    actor: str,
) -> TopUpInfo:
    """Buy credit of `amount_cents` with the saved card, and return the top-up: paid, or pending.

    Raises what `start_top_up` raises, Conflict (no_saved_card), and CardDeclined: then nothing was paid.
    """
    stripe_api.require_enabled()
    content = {"source": TopUpSource.SAVED_CARD.value, "save_card": False, "return_url": ""}
    row, is_new = store(account_id, amount_cents, owner, idempotency_key, content, "", now=now, actor=actor)
    return _started(row, is_new, now)


def settle_top_up(top_up_id: str, *, now: datetime) -> TopUpInfo:
    """Ask Stripe how a top-up stands, act on that, and return it: credited once, whoever calls and however often.

    Call it outside any transaction. Raises NotFound, Unavailable (payments_off) and StripeUnknown.
    """
    row = get(top_up_id)
    if row.status == TopUpStatus.PAID or row.error_code == CLOSED:
        return top_up_info(row)
    try:
        payment = look_at(row, now=now)
    except stripe_api.StripeRefused as error:
        if not error.missing:
            raise
        return flag(row, "Stripe does not know it any more: another account, or the other mode?", now=now)
    return top_up_info(row) if payment is None else _record(row, payment, now=now)


@transaction.atomic
def record_paid(top_up_id: str, *, payment_intent_id: str, tax_cents: int, now: datetime) -> TopUpInfo:
    """Credit a top-up that was paid, once, and return it: the only place that does.

    The posting's key lets one of several callers through at a time; the row's change decides which of them counts.
    """
    row = get(top_up_id)
    if row.status == TopUpStatus.PAID:
        return top_up_info(row)
    funding, tax = money_accounts(now)
    legs = [Leg(funding, -(row.credit_nano + tax_cents * NANO_PER_CENT)), Leg(row.account_id, row.credit_nano)]
    if tax_cents:
        legs.append(Leg(tax, tax_cents * NANO_PER_CENT))
    posted = post(
        kind=TransactionKind.TOP_UP,
        legs=legs,
        idempotency_key=f"top_up:{row.id}",
        memo={"top_up": row.id, "payment_intent": payment_intent_id},
        now=now,
        actor=SYSTEM,
    )
    changed = TopUp.objects.filter(pk=row.pk, transaction_id=None).update(
        status=TopUpStatus.PAID,
        transaction_id=posted,
        payment_intent_id=payment_intent_id,
        tax_cents=tax_cents,
        problem="",
        error_code="",
        next_look_at=None,
        paid_at=now,
        updated_at=now,
    )
    if changed:
        credits.add_lot(
            row.account_id, kind="paid", amount=row.credit_nano, transaction_id=posted, reference=row.id, now=now
        )
        if row.source == TopUpSource.AUTO:
            AutoTopUp.objects.filter(pk=row.account_id).update(failures=0, not_before=None)
    return top_up_info(get(top_up_id))


def settle_due(*, now: datetime, limit: int = 50) -> int:
    """Look at the top-ups whose time has come, and return how many were settled.

    What Stripe never heard of is asked for again within SEND_AGAIN, under the same key, and then given up.
    """
    settled = 0
    due = TopUp.objects.filter(next_look_at__lte=now).order_by("next_look_at")[:limit]
    for row in due:
        moved = TopUp.objects.filter(pk=row.pk, next_look_at=row.next_look_at).update(
            looks=row.looks + 1, next_look_at=next_look(row.looks, now)
        )
        if not moved:
            continue  # another worker took it
        try:
            settled += go_on(row.id, now=now).status not in WAITING
        except stripe_api.StripeUnknown:
            break  # Stripe is out of reach: the others wait as well
        except FaucetError as error:
            logger.warning("top-up not settled", extra={"top_up": row.id, "problem": error.message})
    return settled


def go_on(top_up_id: str, *, now: datetime) -> TopUpInfo:
    """Settle a top-up, and ask Stripe again where it never heard of it: after a crash, or an answer that was lost.

    Raises as `settle_top_up` does, and StripeRefused.
    """
    info = settle_top_up(top_up_id, now=now)
    if info.status != TopUpStatus.SENDING or info.problem:
        return info
    row = get(top_up_id)
    if now - row.created_at > SEND_AGAIN:
        _end(row, TopUpStatus.FAILED, NOT_SENT, now=now)
        return top_up_info(get(top_up_id))
    return _send(row, now)


def send(top_up_id: str, *, now: datetime) -> TopUpInfo:
    """Ask Stripe for what a stored row asks for. Raises StripeRefused and StripeUnknown."""
    return _send(get(top_up_id), now)


def _started(row: TopUp, is_new: bool, now: datetime) -> TopUpInfo:
    if is_new:
        return _send(row, now)
    return go_on(row.id, now=now) if row.status == TopUpStatus.SENDING else top_up_info(row)


def _send(row: TopUp, now: datetime) -> TopUpInfo:
    """Ask Stripe for what the row says, under the row's id as key, and write what came of it."""
    try:
        owner = Owner(row.owner_kind, row.owner_id, row.app_id)
        if row.source == TopUpSource.CHECKOUT:
            payment = payment_of_session(checkout.open_session(row, owner=owner, now=now))
        else:
            payment = payment_of_intent(off_session.charge(row, now=now), tax_cents=get(row.id).tax_cents)
    except stripe_api.StripeRefused as error:
        code = error.decline_code or error.stripe_code or error.code
        _end(row, TopUpStatus.FAILED, code, payment_intent_id=error.payment_intent_id, now=now)
        if error.missing:
            forget_customer(row.account_id, now=now)  # deleted at Stripe: the next top-up makes another
        raise
    return _record(get(row.id), payment, now=now)


def look_at(row: TopUp, *, now: datetime) -> Payment | None:
    """Return how a top-up stands at Stripe, by its id there or else by its mark; None where Stripe has none."""
    if row.source == TopUpSource.CHECKOUT:
        session = checkout.find_session(row)
        if session is not None and session.get("status") == "open" and row.created_at <= now - CLOSE_AFTER:
            session = checkout.expire_session(session["id"])  # it should have expired by itself, long ago
        return None if session is None else payment_of_session(session)
    intent = off_session.find_charge(row)
    return None if intent is None else payment_of_intent(intent, tax_cents=row.tax_cents)


def _record(row: TopUp, payment: Payment, *, now: datetime) -> TopUpInfo:
    """Write what Stripe says: credit what was paid as asked, flag what was paid otherwise, follow the rest."""
    known = {"checkout_session_id": payment.session_id} if row.checkout_session_id is None else {}
    if row.source != TopUpSource.CHECKOUT:
        known["payment_intent_id"] = payment.payment_intent_id
    row.checkout_session_id = row.checkout_session_id or payment.session_id
    if payment.status == TopUpStatus.PAID:
        problem = problem_of(row, payment)
        if problem:
            return flag(row, problem, now=now)
        assert payment.payment_intent_id is not None
        try:
            return credit_payment(row, payment, known, now=now)
        except IntegrityError:
            if TopUp.objects.filter(payment_intent_id=payment.payment_intent_id).exclude(pk=row.pk).exists():
                return flag(row, f"{payment.payment_intent_id} paid for another top-up", now=now)
            raise
    if payment.status in _ENDED:
        _end(row, payment.status, payment.error_code, **known, now=now)
    else:
        TopUp.objects.filter(pk=row.pk, transaction_id=None).update(
            status=payment.status,
            checkout_url=payment.checkout_url,
            next_look_at=row.next_look_at or next_look(row.looks, now),
            updated_at=now,
            **known,
        )
    return top_up_info(get(row.id))


@transaction.atomic
def credit_payment(row: TopUp, payment: Payment, known: Mapping[str, Any] | None = None, *, now: datetime) -> TopUpInfo:
    """Credit a top-up with its payment, and write what Stripe says of that."""
    assert payment.payment_intent_id is not None
    record_paid(row.id, payment_intent_id=payment.payment_intent_id, tax_cents=payment.tax, now=now)
    TopUp.objects.filter(pk=row.pk).update(
        charge_id=payment.charge_id, receipt_url=payment.receipt_url, checkout_url="", **(known or {})
    )
    if row.save_card and payment.card is not None:
        remember_card(row.account_id, payment.card, now=now)
    return top_up_info(get(row.id))


def _end(row: TopUp, status: TopUpStatus, code: str, *, now: datetime, **known: Any) -> None:
    """Write that a top-up ended without money, unless it was credited; a failure of an automatic one counts once."""
    known = {name: value for name, value in known.items() if value is not None}
    with transaction.atomic():
        ended = TopUp.objects.filter(pk=row.pk, status__in=WAITING).update(
            status=status, error_code=(code or "")[:64], checkout_url="", next_look_at=None, updated_at=now, **known
        )
        if ended and row.source == TopUpSource.AUTO and status != TopUpStatus.EXPIRED:
            note_failure(row.account_id, top_up_id=row.id, code=code, now=now)


def flag(row: TopUp, problem: str, *, now: datetime) -> TopUpInfo:
    """Credit nothing, and tell the operator: what was paid is not what was asked for."""
    with transaction.atomic():
        rows = TopUp.objects.filter(pk=row.pk)
        rows.filter(transaction_id=None).update(
            status=TopUpStatus.PENDING, next_look_at=now + LOOK_AT_PROBLEM, updated_at=now
        )
        if rows.exclude(problem=problem[:300]).update(problem=problem[:300], updated_at=now):
            logger.error("top-up differs", extra={"top_up": row.id, "problem": problem})
            detail = {"top_up_id": row.id, "problem": problem}
            audit.record("top_up.problem", "top_up", row.id, actor=SYSTEM, now=now, detail=detail)
            who: dict[str, Any] = {"developer_id": None, "scope": "top_up", "scope_id": row.id}
            raise_alert("top_up", f"{row.id}:{problem}"[:100], **who, data=detail, now=now)
    return top_up_info(get(row.id))


def money_accounts(now: datetime) -> tuple[int, int]:
    """Return the accounts of Stripe's money and of tax."""
    funding, tax = (AccountKind.FUNDING, STRIPE), (AccountKind.TAX, OPERATOR)
    opened = open_accounts([funding, tax], now=now)
    return opened[funding], opened[tax]
