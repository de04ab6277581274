"""Decisions about payouts. Each is a row with a reason and a name; nothing is sent or marked as paid without approval.

The database says the same: see the triggers of migration 0005.
"""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.billing.models.payouts import Decision, Payout, PayoutReview, PayoutStatus, Rail
from apps.billing.services.payout_checks import check_payout
from apps.billing.services.payout_postings import lock_accounts, post_approval, post_return, post_sent
from apps.billing.services.payout_risk import developer_risk
from apps.billing.services.payouts import note
from apps.core.errors import BadRequest, Conflict, Forbidden, NotFound
from apps.core.money import usd
from apps.developers.queries import memberships
from apps.developers.services import audit

MOST_REASON = 500


def approve(payout_id: str, *, reason: str, now: datetime, actor: str) -> str:
    """Approve a payout and return its status: `approved`, or `proposed` where a second approval is still needed.

    With the last approval it needs its amount is set aside in the ledger. Who proposed it cannot be the only one to
    approve it, and nobody approves a payout to a developer that they act for. Raises Forbidden (own_payout), Conflict
    (payout_state, already_approved, whatever stands against it), BadRequest (reason_required) and NotFound.
    """
    _check_reason(reason)
    row = _find(payout_id)
    _check_reviewer(row, actor)
    _check_state(row, PayoutStatus.PROPOSED)
    checks = check_payout(row, now=now)
    checks.require()
    with transaction.atomic():
        balance = lock_accounts(row, now=now)
        row = _locked(payout_id)
        _check_state(row, PayoutStatus.PROPOSED)
        if balance < checks.payable.balance:  # a claw-back since it was looked at
            raise Conflict(_("The balance has just fallen; look at the payout again."), code="balance_changed")
        approvals = PayoutReview.objects.filter(payout=row, round=row.round, decision=Decision.APPROVE)
        if approvals.filter(reviewer=actor).exists():
            raise Conflict(
                _("You have approved this payout already; another operator has to."), code="already_approved"
            )
        note(row.pk, Decision.APPROVE, reason, actor=actor, now=now, round=row.round)
        names = set(approvals.values_list("reviewer", flat=True))
        if len(names) >= row.approvals_needed and names != {row.requested_by}:
            row.payout_transaction_id = post_approval(row, now=now, actor=actor)
            row.status = PayoutStatus.APPROVED
            row.approved_at = now
            row.next_attempt_at = None
            row.save(update_fields=["payout_transaction_id", "status", "approved_at", "next_attempt_at"])
        _audit("payout.approve", row, reason, now=now, actor=actor)
    return row.status


def reject(payout_id: str, *, reason: str, now: datetime, actor: str) -> None:
    """Reject a payout that was not sent; what was set aside goes back to the developer. Raises as `approve` does."""
    _check_reason(reason)
    with transaction.atomic():
        row = _locked_with_wallets(payout_id, now)
        _check_reviewer(row, actor)
        _check_state(row, PayoutStatus.PROPOSED, PayoutStatus.HELD, PayoutStatus.APPROVED)
        note(row.pk, Decision.REJECT, reason, actor=actor, now=now, round=row.round)
        _close(row, PayoutStatus.REJECTED, cause="rejected", now=now, actor=actor)
        _audit("payout.reject", row, reason, now=now, actor=actor)


def hold(payout_id: str, *, reason: str, now: datetime, actor: str) -> None:
    """Keep a payout from being approved or sent until it is released. What was set aside stays so. Raises as above."""
    _check_reason(reason)
    with transaction.atomic():
        row = _locked(payout_id)
        _check_reviewer(row, actor)
        _check_state(row, PayoutStatus.PROPOSED, PayoutStatus.APPROVED)
        note(row.pk, Decision.HOLD, reason, actor=actor, now=now, round=row.round)
        row.status = PayoutStatus.HELD
        row.save(update_fields=["status"])
        _audit("payout.hold", row, reason, now=now, actor=actor)


def release(payout_id: str, *, reason: str, now: datetime, actor: str) -> None:
    """Let a held payout be approved; earlier approvals count no more, the present risk score is accepted.

    Raises as `approve` does.
    """
    _check_reason(reason)
    _check_reviewer(_find(payout_id), actor)
    with transaction.atomic():
        row = _locked(payout_id)
        _check_state(row, PayoutStatus.HELD)
        note(row.pk, Decision.RELEASE, reason, actor=actor, now=now, round=row.round)
        risk = developer_risk(row.developer_id)
        row.status = PayoutStatus.PROPOSED
        row.round += 1
        row.accepted_risk = None if risk is None else risk.score
        row.save(update_fields=["status", "round", "accepted_risk"])
        _audit("payout.release", row, reason, now=now, actor=actor)


def mark_paid(payout_id: str, *, reference: str, reason: str, now: datetime, actor: str) -> None:
    """Note that an approved payout of the manual rail has been paid, under the bank's reference.

    Raises Conflict (wrong_rail) for Stripe's, BadRequest (reference_required), and as `approve` does.
    """
    _check_reason(reason)
    if not reference.strip() or len(reference) > 200 or not reference.isprintable():
        raise BadRequest(_("Give the bank's reference."), code="reference_required", param="reference")
    row = _find(payout_id)
    if row.rail != Rail.MANUAL:
        raise Conflict(_("Stripe says when this payout is paid."), code="wrong_rail")
    _check_reviewer(row, actor)
    _check_state(row, PayoutStatus.APPROVED)
    check_payout(row, now=now).require()
    with transaction.atomic():
        row = _locked_with_wallets(payout_id, now)
        _check_state(row, PayoutStatus.APPROVED)
        note(row.pk, Decision.MARK_PAID, reason, actor=actor, now=now, round=row.round)
        row.sent_transaction_id = post_sent(row, now=now, actor=actor)
        row.status = PayoutStatus.PAID
        row.reference = reference
        row.sent_at = row.paid_at = now
        row.save(update_fields=["sent_transaction_id", "status", "reference", "sent_at", "paid_at"])
        _audit("payout.mark_paid", row, reason, now=now, actor=actor, reference=reference)


def mark_failed(payout_id: str, *, reason: str, now: datetime, actor: str) -> None:
    """Note that the bank sent a payout of the manual rail back; the developer has its balance again."""
    _check_reason(reason)
    with transaction.atomic():
        row = _locked_with_wallets(payout_id, now)
        _check_reviewer(row, actor)
        if row.rail != Rail.MANUAL:
            raise Conflict(_("Stripe says when this payout failed."), code="wrong_rail")
        _check_state(row, PayoutStatus.PAID)
        note(row.pk, Decision.MARK_FAILED, reason, actor=actor, now=now, round=row.round)
        _close(row, PayoutStatus.FAILED, cause="failed", now=now, actor=actor)
        _audit("payout.mark_failed", row, reason, now=now, actor=actor)


def _close(row: Payout, status: PayoutStatus, *, cause: str, now: datetime, actor: str) -> None:
    if row.payout_transaction_id is not None:
        post_return(row, row.amount_nano, cause=cause, now=now, actor=actor)
        row.returned_nano = row.amount_nano
    row.status = status
    row.closed_at = now
    row.save(update_fields=["status", "returned_nano", "closed_at"])


def _find(payout_id: str) -> Payout:
    row = Payout.objects.filter(pk=payout_id).first()
    if row is None:
        raise NotFound(_("There is no payout %(payout_id)s.") % {"payout_id": payout_id}, code="payout_not_found")
    return row


def _locked(payout_id: str) -> Payout:
    row = Payout.objects.select_for_update(no_key=True).filter(pk=payout_id).first()
    if row is None:
        raise NotFound(_("There is no payout %(payout_id)s.") % {"payout_id": payout_id}, code="payout_not_found")
    return row


def _locked_with_wallets(payout_id: str, now: datetime) -> Payout:
    lock_accounts(_find(payout_id), now=now)
    return _locked(payout_id)


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > MOST_REASON or "\0" in reason:
        raise BadRequest(_("Say why, in at most 500 characters."), code="reason_required", param="reason")


def _check_state(row: Payout, *allowed: PayoutStatus) -> None:
    if row.status not in allowed:
        raise Conflict(
            _("The payout is in the state “%(state)s”; this cannot be done to it.")
            % {"state": row.get_status_display()},
            code="payout_state",
        )


def _check_reviewer(row: Payout, actor: str) -> None:
    kind, _colon, number = actor.partition(":")
    if kind != "user" or not number.isdecimal():
        raise Forbidden(_("Only an operator decides about payouts."), code="operator_required")
    if any(membership.developer_id == row.developer_id for membership in memberships(int(number))):
        raise Forbidden(_("You act for this developer: somebody else has to decide."), code="own_payout")


def _audit(action: str, row: Payout, reason: str, *, now: datetime, actor: str, **more: Any) -> None:
    detail = {"amount_usd": usd(row.amount_nano), "reason": reason, "status": row.status, **more}
    audit.record(action, "payout", row.pk, actor=actor, now=now, developer_id=row.developer_id, detail=detail)
