"""Sending approved payouts through Stripe, and learning what became of them.

A payout takes two steps there: a transfer to the developer's connected account, and from there a payout to its bank,
which carries our id. What is about to happen is committed before Stripe is asked; a worker that takes a row leases it
(`next_attempt_at`). Before a transfer is made it is looked for by its group, always: idempotency keys may be forgotten
after a day. If the bank sends the money back, the transfer is taken back too, and then the ledger is.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from apps.billing import stripe_api
from apps.billing.models.payouts import Decision, Payout, PayoutAccount, PayoutStatus, Rail
from apps.billing.services.payout_checks import check_payout
from apps.billing.services.payout_postings import lock_accounts, post_return, post_sent
from apps.billing.services.payout_stop import payouts_stopped
from apps.billing.services.payouts import SYSTEM, note
from apps.billing.stripe_api import StripeRefused, StripeUnknown
from apps.core.money import NANO_PER_CENT
from apps.developers.services import audit

logger = logging.getLogger(__name__)

ACTOR = "stripe"
# How long a worker may take over one payout, and how long an unanswered call may still have an effect.
LEASE = timedelta(minutes=5)
UNCERTAIN = timedelta(minutes=15)
PAUSE = timedelta(hours=1)
# Looks at what was sent, in case a webhook is lost; banks send back for five business days.
LOOK_SENT = timedelta(hours=6)
LOOK_PAID = timedelta(days=1)
WATCHED = timedelta(days=10)
# Refusals of the payout to the bank after which the transfer is taken back.
PATIENCE = 5
# What says that the operator's balance, not the payout, is at fault.
OUR_FAULT = frozenset({"balance_insufficient", "insufficient_funds"})


def send_approved(*, now: datetime, limit: int = 100) -> int:
    """Take the next step with every payout that is due, and return how many there were. Never sends one twice."""
    if not stripe_api.enabled():
        return 0
    count = 0
    while count < limit and (payout_id := _claim(now)) is not None:
        count += 1
        try:
            _step(payout_id, now)
        except StripeUnknown as error:  # the lease runs out, and then it is looked for
            _note_error(payout_id, error.message)
        except StripeRefused as error:
            _refused(payout_id, error.message, now, give_up=False)
        except Exception:  # one payout's trouble is not the others'
            logger.exception("payout step failed", extra={"payout_id": payout_id})
            _note_error(payout_id, "internal error, see the log")
    return count


def apply_transfer(transfer_group: str | None, transfer_id: str, returned_cents: int, *, now: datetime) -> str | None:
    """Record how much of a transfer came back, and return the payout's id; None if it is none of ours.

    `returned_cents` is the sum of all its reversals. Raises LookupError while its sending is not recorded yet.
    """
    row = Payout.objects.filter(Q(transfer_id=transfer_id) | Q(transfer_group=transfer_group or "")).first()
    if row is None:
        return None
    if row.transfer_id is None:
        raise LookupError(f"the transfer of payout {row.pk} is not recorded yet")
    _returned(row.pk, returned_cents * NANO_PER_CENT, now)
    return row.pk


def apply_bank_payout(payout_id: str, account_id: str, state: dict[str, Any], *, now: datetime) -> bool:
    """Act on the state of a connected account's payout that carries our payout's id; False if it is none of ours.

    Paid: so is ours. Failed or cancelled: its transfer is taken back. Raises LookupError while the sending is not
    recorded yet, and what Stripe raises.
    """
    row = Payout.objects.filter(pk=payout_id, rail=Rail.STRIPE, destination=account_id).first()
    if row is None:
        return False
    if row.stripe_payout_id is None:  # never taken from the event: who owns the account can write our id on any
        raise LookupError(f"the payout to the bank of payout {row.pk} is not recorded yet")
    _apply_bank(row.pk, state, now)
    return True


def _claim(now: datetime) -> str | None:
    """Lease one due payout and return its id."""
    due = Q(next_attempt_at__lte=now)
    wanted = (
        Q(status=PayoutStatus.APPROVED) & (due | Q(next_attempt_at=None))
        | Q(status__in=(PayoutStatus.SENDING, PayoutStatus.SENT)) & (due | Q(next_attempt_at=None))
        | Q(status=PayoutStatus.PAID) & due
    )
    with transaction.atomic():
        rows = Payout.objects.select_for_update(skip_locked=True, no_key=True).filter(wanted, rail=Rail.STRIPE)
        row = rows.order_by("id").first()
        if row is None:
            return None
        row.next_attempt_at = now + LEASE
        row.attempts += 1
        row.save(update_fields=["next_attempt_at", "attempts"])
        return row.pk


def _step(payout_id: str, now: datetime) -> None:
    row = Payout.objects.get(pk=payout_id)
    if row.status == PayoutStatus.APPROVED:
        if payouts_stopped() is not None or not _begin(row, now):
            return
        row.refresh_from_db()
    if row.status == PayoutStatus.SENDING:
        _send(row, now)
        row.refresh_from_db()
    if row.status in (PayoutStatus.SENT, PayoutStatus.PAID):
        if row.return_cause:
            _take_back(row, now)
        elif row.stripe_payout_id is None:
            _pay_out(row, now)
        else:
            _look(row, now)


def _begin(row: Payout, now: datetime) -> bool:
    """Look once more whether an approved payout may be sent; it is then being sent, or held."""
    problems = check_payout(row, now=now).problems
    with transaction.atomic():
        # The switch is looked at under its lock: what is stopped now is not sent now.
        account = PayoutAccount.objects.select_for_update(no_key=True).get(pk=row.developer_id)
        locked = Payout.objects.select_for_update(no_key=True).get(pk=row.pk)
        if locked.status != PayoutStatus.APPROVED:
            return False
        if payouts_stopped() is not None:
            return False  # it is to go on by itself once payouts do
        if account.stopped_at is not None and not problems:
            problems = (("stopped", "Payouts of this developer are stopped."),)
        if problems:
            _hold(locked, "; ".join(sentence for _, sentence in problems), now)
            return False
        locked.status = PayoutStatus.SENDING
        locked.sending_at = now
        locked.save(update_fields=["status", "sending_at"])
    return True


def _send(row: Payout, now: datetime) -> None:
    transfer = _find_transfer(row)
    if transfer is None:
        # Another worker's call, or an earlier one of ours, may be under way still: hold only when none can be.
        assert row.sending_at is not None
        if row.attempts > 1 and (problems := check_payout(row, now=now).problems):
            sentence = "; ".join(sentence for _, sentence in problems)
            if now - row.sending_at < UNCERTAIN:
                _note_error(row.pk, sentence)
                return
            _not_sent(row.pk, PayoutStatus.HELD, sentence, now)
            return
        try:
            transfer = stripe_api.call(
                lambda api: api.v1.transfers.create(
                    {
                        "amount": row.amount_nano // NANO_PER_CENT,
                        "currency": "usd",
                        "destination": row.destination,
                        "transfer_group": row.transfer_group,
                        "metadata": {"payout_id": row.pk, "developer_id": row.developer_id},
                    },
                    {"idempotency_key": f"{row.pk}:transfer:{row.refusals}"},
                )
            )
        except StripeRefused as error:
            if error.stripe_code in OUR_FAULT:
                logger.error("balance too low for a payout", extra={"payout_id": row.pk})
                _not_sent(row.pk, PayoutStatus.APPROVED, error.message, now)
            else:
                _not_sent(row.pk, PayoutStatus.FAILED, error.message, now)
            return
    _record_sent(row.pk, transfer.id, now)


def _find_transfer(row: Payout) -> Any:
    found = stripe_api.call(lambda api: api.v1.transfers.list({"transfer_group": row.transfer_group, "limit": 10}))
    if len(found.data) > 1:
        logger.error("more than one transfer for a payout", extra={"payout_id": row.pk})
    return found.data[-1] if found.data else None


def _record_sent(payout_id: str, transfer_id: str, now: datetime) -> None:
    with transaction.atomic():
        row = _locked_with_wallets(payout_id, now)
        if row.transfer_id is not None:
            return
        row.transfer_id = transfer_id
        row.sent_transaction_id = post_sent(row, now=now, actor=ACTOR)
        row.status = PayoutStatus.SENT
        row.sent_at = now
        row.attempts, row.last_error = 0, ""
        row.save(update_fields=["transfer_id", "sent_transaction_id", "status", "sent_at", "attempts", "last_error"])
        _audit("payout.send", row, now, transfer_id=transfer_id)


def _not_sent(payout_id: str, status: PayoutStatus, problem: str, now: datetime) -> None:
    """Record that nothing was sent, for certain: it is tried again later, held, or failed."""
    with transaction.atomic():
        row = _locked_with_wallets(payout_id, now)
        if row.status != PayoutStatus.SENDING:
            return
        if status == PayoutStatus.HELD:
            _hold(row, problem, now)
            return
        row.status, row.last_error = status, problem[:500]
        row.refusals += 1
        row.next_attempt_at = now + PAUSE
        if status == PayoutStatus.FAILED:
            post_return(row, row.amount_nano, cause="failed", now=now, actor=ACTOR)
            row.returned_nano, row.closed_at, row.next_attempt_at = row.amount_nano, now, None
            _audit("payout.fail", row, now, problem=problem)
        row.save(update_fields=["status", "last_error", "refusals", "next_attempt_at", "returned_nano", "closed_at"])


def _pay_out(row: Payout, now: datetime) -> None:
    """Send what was transferred on to the developer's bank, under our payout's id."""
    payout = _find_bank_payout(row)
    if payout is None:
        try:
            payout = stripe_api.call(
                lambda api: api.v1.payouts.create(
                    {
                        "amount": (row.amount_nano - row.returned_nano) // NANO_PER_CENT,
                        "currency": "usd",
                        "metadata": {"payout_id": row.pk},
                    },
                    {"stripe_account": row.destination, "idempotency_key": f"{row.pk}:payout:{row.refusals}"},
                )
            )
        except StripeRefused as error:
            _refused(row.pk, error.message, now, give_up=row.refusals + 1 >= PATIENCE)
            return
    with transaction.atomic():
        locked = Payout.objects.select_for_update(no_key=True).get(pk=row.pk)
        if locked.stripe_payout_id is None:
            locked.stripe_payout_id, locked.last_error = payout.id, ""
            locked.next_attempt_at = now + LOOK_SENT
            locked.save(update_fields=["stripe_payout_id", "last_error", "next_attempt_at"])


def _find_bank_payout(row: Payout) -> Any:
    def look(api: Any) -> Any:
        pages = api.v1.payouts.list({"limit": 100}, {"stripe_account": row.destination}).auto_paging_iter()
        return next((found for found in pages if found.to_dict()["metadata"].get("payout_id") == row.pk), None)

    return stripe_api.call(look)


def _look(row: Payout, now: datetime) -> None:
    """Ask for the present state of what was sent."""
    assert row.transfer_id is not None and row.stripe_payout_id is not None
    transfer_id, bank_id = row.transfer_id, row.stripe_payout_id
    transfer = stripe_api.call(lambda api: api.v1.transfers.retrieve(transfer_id))
    if transfer.amount_reversed:
        _returned(row.pk, transfer.amount_reversed * NANO_PER_CENT, now)
    found = stripe_api.call(lambda api: api.v1.payouts.retrieve(bank_id, None, {"stripe_account": row.destination}))
    _apply_bank(row.pk, found.to_dict(), now)


def _apply_bank(payout_id: str, state: dict[str, Any], now: datetime) -> None:
    with transaction.atomic():
        row = Payout.objects.select_for_update(no_key=True).get(pk=payout_id)
        if row.status not in (PayoutStatus.SENT, PayoutStatus.PAID):
            return
        if row.stripe_payout_id != state["id"]:
            return  # not the one that we made
        row.next_attempt_at = now + LOOK_SENT
        if state["status"] == "paid":
            if row.status == PayoutStatus.SENT:
                row.status, row.paid_at = PayoutStatus.PAID, now
                _audit("payout.paid", row, now)
            assert row.paid_at is not None
            row.next_attempt_at = now + LOOK_PAID if now - row.paid_at < WATCHED else None
        failed = state["status"] in ("failed", "canceled")
        if failed and not row.return_cause:
            row.return_cause, row.attempts = "failed", 0
            row.last_error = f"bank: {state.get('failure_message') or state['status']}"[:500]
            row.next_attempt_at = now
        row.save(
            update_fields=[
                "next_attempt_at", "status", "paid_at", "return_cause", "attempts", "last_error",
            ]
        )  # fmt: skip
    if failed:
        _take_back(row, now)


def _take_back(row: Payout, now: datetime) -> None:
    """Reverse what is left of a transfer whose money did not reach the bank, then what was posted."""
    assert row.transfer_id is not None
    transfer_id = row.transfer_id
    transfer = stripe_api.call(lambda api: api.v1.transfers.retrieve(transfer_id))
    if left := transfer.amount - transfer.amount_reversed:
        try:
            stripe_api.call(
                lambda api: api.v1.transfers.reversals.create(
                    transfer_id,
                    {"amount": left, "metadata": {"payout_id": row.pk}},
                    {"idempotency_key": f"{row.pk}:reversal:{transfer.amount_reversed}:{row.refusals}"},
                )
            )
        except StripeRefused as error:
            logger.error("transfer cannot be taken back", extra={"payout_id": row.pk})
            _refused(row.pk, error.message, now, give_up=False)
            return
    _returned(row.pk, transfer.amount * NANO_PER_CENT, now)


def _returned(payout_id: str, returned: int, now: datetime) -> None:
    """Record that `returned` nano-USD of a transfer came back in all; all of it ends the payout."""
    with transaction.atomic():
        row = _locked_with_wallets(payout_id, now)
        if row.status not in (PayoutStatus.SENT, PayoutStatus.PAID) or returned <= row.returned_nano:
            return
        cause = row.return_cause or "reversed"
        post_return(row, returned, cause=cause, now=now, actor=ACTOR)
        row.returned_nano = returned
        if returned == row.amount_nano:
            row.status = PayoutStatus.FAILED if cause == "failed" else PayoutStatus.REVERSED
            row.closed_at, row.next_attempt_at = now, None
        row.save(update_fields=["returned_nano", "status", "closed_at", "next_attempt_at"])
        _audit("payout.return", row, now, cause=cause)


def _refused(payout_id: str, problem: str, now: datetime, *, give_up: bool) -> None:
    with transaction.atomic():
        row = Payout.objects.select_for_update(no_key=True).get(pk=payout_id)
        row.refusals += 1
        row.last_error = problem[:500]
        row.next_attempt_at = now + PAUSE
        if give_up:
            row.return_cause, row.next_attempt_at = "failed", now
        row.save(update_fields=["refusals", "last_error", "next_attempt_at", "return_cause"])


def _hold(row: Payout, problem: str, now: datetime) -> None:
    row.status, row.last_error, row.next_attempt_at = PayoutStatus.HELD, problem[:500], None
    row.save(update_fields=["status", "last_error", "next_attempt_at"])
    note(row.pk, Decision.HOLD, problem[:500], actor=SYSTEM, now=now, round=row.round)
    _audit("payout.hold", row, now, problem=problem)


def _locked_with_wallets(payout_id: str, now: datetime) -> Payout:
    lock_accounts(Payout.objects.get(pk=payout_id), now=now)
    return Payout.objects.select_for_update(no_key=True).get(pk=payout_id)


def _note_error(payout_id: str, problem: str) -> None:
    Payout.objects.filter(pk=payout_id).update(last_error=problem[:500])


def _audit(action: str, row: Payout, now: datetime, **detail: Any) -> None:
    content = {"status": row.status, **detail}
    audit.record(action, "payout", row.pk, actor=ACTOR, now=now, developer_id=row.developer_id, detail=content)
