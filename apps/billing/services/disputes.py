"""Disputes: a payer's bank takes a payment back. Separate charges and transfers: the platform bears it first.

Every event leads to `settle_dispute`, which asks Stripe how the dispute stands and moves the row there, whatever was
missed or came in another order. All that moves a wallet's disputes holds the lock of that wallet.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from apps.billing import stripe_api
from apps.billing.models.disputes import Dispute, DisputeClawback, DisputeStatus
from apps.billing.models.top_ups import TopUp
from apps.billing.queries.disputes import DisputeInfo, dispute_info
from apps.billing.services import credits, invoice_returns
from apps.billing.services.clawbacks import Share, chosen_shares
from apps.billing.services.events import Event
from apps.billing.services.notices import notify
from apps.billing.services.risk_actions import frozen_by_risk
from apps.billing.services.top_up_events import settle_payment
from apps.billing.services.top_ups import OPERATOR, money_accounts
from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT, usd
from apps.developers.services import audit
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import (
    freeze_wallet,
    lock_wallets,
    open_account,
    open_accounts,
    unfreeze_wallet,
)
from apps.ledger.services.batches import Leg, post
from apps.ledger.services.transfers import reverse
from apps.usage.services.alerts import raise_alert

logger = logging.getLogger(__name__)

SYSTEM = "system:disputes"
OPENED_NOTICE, WON_NOTICE = "dispute_opened", "dispute_won"
_INQUIRY = {"warning_needs_response", "warning_under_review"}
_WITHDRAWN = {"needs_response", "under_review"}
_NOTHING = {"warning_closed", "prevented"}
_POSTED = {DisputeStatus.OPEN, DisputeStatus.LOST, DisputeStatus.WRITTEN_OFF}


def on_dispute(event: Event) -> None:
    """Follow a dispute that was opened, changed or closed, or whose money moved. Raises Later and StripeUnknown."""
    settle_dispute(event.object["id"], now=event.now)


def settle_dispute(stripe_dispute_id: str, *, now: datetime) -> DisputeInfo | None:
    """Ask Stripe how a dispute stands, act on that, and return it; None where it is of no top-up of ours.

    One of a plan's invoice is posted, too.

    Call it outside any transaction, as often as you like. Raises Later where the top-up is ours and not credited yet,
    StripeRefused and StripeUnknown.
    """
    found = stripe_api.call(lambda api: api.v1.disputes.retrieve(stripe_dispute_id)).to_dict()
    row = Dispute.objects.filter(stripe_dispute_id=stripe_dispute_id).first()
    if row is not None:
        top_up: TopUp | None = TopUp.objects.get(pk=row.top_up_id)
    else:
        top_up = settle_payment(found["payment_intent"], now=now) if found.get("payment_intent") else None
    if top_up is None:
        invoice_returns.follow_dispute(found, now=now)
        return None
    moved = _move(top_up, found, now=now)
    if moved.status == DisputeStatus.LOST and moved.clawed_at is None:
        moved = claw_back(moved.id, now=now)
    return dispute_info(moved)


def claw_back(dispute_id: str, *, now: datetime) -> Dispute:
    """Take back what developers earned with the money of a lost dispute, once, and return the dispute.

    Newest calls first, of those after the top-up, within each developer's hold window, and no more than the wallet
    owes because of this dispute.
    """
    found = _get(dispute_id)
    top_up = TopUp.objects.get(pk=found.top_up_id)
    candidates = chosen_shares(top_up, most=found.credit_cents * NANO_PER_CENT, now=now)
    developers = {share.developer_id for share in candidates}
    with transaction.atomic():
        accounts = open_accounts([(AccountKind.DEVELOPER.value, name) for name in developers], now=now)
        by_developer = {owner: account for (_, owner), account in accounts.items()}
        funds = lock_wallets([found.account_id, *by_developer.values()])[found.account_id]
        row = Dispute.objects.select_for_update().get(pk=dispute_id)
        if row.status != DisputeStatus.LOST or row.clawed_at is not None:
            return row
        debt = min(max(-funds.posted, 0), row.credit_cents * NANO_PER_CENT)
        shares = _covering(candidates, debt)
        if shares:
            _post_clawback(row, shares, by_developer, now=now)
        Dispute.objects.filter(pk=row.pk).update(clawed_at=now, updated_at=now)
    return _get(dispute_id)


def write_off_lost(*, now: datetime, limit: int = 200) -> int:
    """Write off what wallets still owe DISPUTE_WRITE_OFF_DAYS after their disputes were lost; return how many disputes.

    Also finishes claw-backs that a crash left undone.
    """
    for dispute_id in Dispute.objects.filter(status=DisputeStatus.LOST, clawed_at=None).values_list("pk", flat=True):
        claw_back(dispute_id, now=now)
    until = now - timedelta(days=settings.DISPUTE_WRITE_OFF_DAYS)
    due = Dispute.objects.filter(status=DisputeStatus.LOST, lost_at__lte=until).order_by("lost_at")
    ids = list(due.values_list("pk", flat=True)[:limit])
    return sum(_write_off(dispute_id, now=now) for dispute_id in ids)


@transaction.atomic
def _move(top_up: TopUp, found: Mapping[str, Any], *, now: datetime) -> Dispute:
    """Bring our row to where Stripe says the dispute is: post, freeze, give back, in this order of states."""
    funding, taxes = money_accounts(now)
    row = _locked(top_up, found, [top_up.account_id, funding, taxes], now=now)
    status = found["status"]
    posted = row.transaction_id is not None and row.reversal_id is None
    if row.status == DisputeStatus.WON and status not in ("won", *_NOTHING):
        _problem(row, f"Stripe says {status} after it was won", now=now)
    elif found.get("currency") != "usd":
        _problem(row, f"the currency is {found.get('currency')}", now=now)
    elif status in _WITHDRAWN or status == "lost":
        if not posted:
            _post_dispute(row, funding, taxes, now=now)
        if status == "lost" and row.status in (DisputeStatus.INQUIRY, DisputeStatus.OPEN):
            row.status, row.lost_at = DisputeStatus.LOST, now
    elif status == "won" or status in _NOTHING:
        _give_back(row, won=status == "won", now=now)
    elif status in _INQUIRY:
        pass
    else:
        _problem(row, f"Stripe says {status}, which is not known here", now=now)
    row.stripe_status, row.updated_at = status, now
    row.save()
    return row


def _locked(top_up: TopUp, found: Mapping[str, Any], wallets: list[int], *, now: datetime) -> Dispute:
    """Return the row of a dispute, made if need be, with all wallets locked that it may move."""
    clawed = DisputeClawback.objects.filter(dispute__stripe_dispute_id=found["id"])
    developers = [(AccountKind.DEVELOPER.value, name) for name in set(clawed.values_list("developer_id", flat=True))]
    loss = open_account(kind=AccountKind.PLATFORM_LOSS, owner_id=OPERATOR, now=now)
    lock_wallets({*wallets, loss, *open_accounts(developers, now=now).values()})
    row = Dispute.objects.select_for_update().filter(stripe_dispute_id=found["id"]).first()
    if row is not None:
        return row
    amount = found["amount"]
    credit = amount * top_up.amount_cents // (top_up.amount_cents + top_up.tax_cents)
    due = (found.get("evidence_details") or {}).get("due_by")
    row = Dispute(
        id=new_id("dsp"),
        stripe_dispute_id=found["id"],
        top_up_id=top_up.id,
        account_id=top_up.account_id,
        app_id=top_up.app_id,
        status=DisputeStatus.INQUIRY,
        stripe_status=found["status"],
        reason=str(found.get("reason") or "")[:64],
        amount_cents=amount,
        credit_cents=credit,
        tax_cents=amount - credit,
        evidence_due_at=None if due is None else datetime.fromtimestamp(due, UTC),
        opened_at=datetime.fromtimestamp(found["created"], UTC),
        created_at=now,
        updated_at=now,
    )
    row.save(force_insert=True)
    data = {"dispute_id": row.id, "amount_cents": amount, "reason": row.reason, "status": found["status"]}
    raise_alert("dispute", row.id, developer_id=None, scope="top_up", scope_id=top_up.id, data=data, now=now)
    return row


def _post_dispute(row: Dispute, funding: int, taxes: int, *, now: datetime) -> None:
    """Debit the wallet, below zero if need be, and freeze it."""
    credit, tax = row.credit_cents * NANO_PER_CENT, row.tax_cents * NANO_PER_CENT
    legs = [Leg(row.account_id, -credit), Leg(taxes, -tax), Leg(funding, credit + tax)]
    row.transaction_id = post(
        kind="dispute",
        legs=[leg for leg in legs if leg.amount],
        idempotency_key=f"dispute:{row.stripe_dispute_id}",
        memo={"dispute": row.id, "top_up": row.top_up_id},
        now=now,
        actor=SYSTEM,
    )
    row.status = DisputeStatus.OPEN
    if credit:
        credits.take_back(
            row.account_id,
            reference=row.top_up_id,
            amount=credit,
            kind="disputed",
            transaction_id=row.transaction_id,
            now=now,
        )
    row.froze = freeze_wallet(row.account_id, now=now, actor=SYSTEM, reason=f"dispute {row.id}")
    data = {"dispute_id": row.id, "top_up_id": row.top_up_id, "amount_usd": usd(credit), "reason": row.reason}
    notify(row.account_id, OPENED_NOTICE, period_key=row.id, data=data, now=now)


def _give_back(row: Dispute, *, won: bool, now: datetime) -> None:
    """Reverse all that the dispute moved, and unfreeze the wallet unless another dispute keeps it frozen."""
    if row.status in (DisputeStatus.WON, DisputeStatus.CLOSED):
        return
    if row.transaction_id is None:
        row.status, row.closed_at = (DisputeStatus.WON if won else DisputeStatus.CLOSED), now
        return
    for later in (row.write_off_id, row.clawback_id):
        if later is not None:
            reverse(later, cause="won", now=now, actor=SYSTEM)
    row.reversal_id = reverse(row.transaction_id, cause="won", now=now, actor=SYSTEM)
    if row.credit_cents:
        credits.give_back(
            row.account_id,
            taken_by=row.transaction_id,
            transaction_id=row.reversal_id,
            amount=row.credit_cents * NANO_PER_CENT,
            now=now,
        )
    credits.draw(row.account_id, now=now)
    row.status, row.closed_at = DisputeStatus.WON, now
    notify(row.account_id, WON_NOTICE, period_key=row.id, data={"dispute_id": row.id}, now=now)
    _unfreeze(row, now=now)


def _unfreeze(row: Dispute, *, now: datetime) -> None:
    """Unfreeze a wallet that disputes froze, unless one is open, lost with a debt left, or an operator froze it."""
    others = Dispute.objects.filter(account_id=row.account_id).exclude(pk=row.pk)
    owes = balance(row.account_id).posted < 0
    lost = others.filter(status__in=[DisputeStatus.LOST, DisputeStatus.WRITTEN_OFF])
    if others.filter(status=DisputeStatus.OPEN).exists() or (owes and lost.exists()):
        return
    if frozen_by_risk(row.account_id):
        return  # undoing that unfreezes it
    if row.froze or others.filter(froze=True).exists():
        unfreeze_wallet(row.account_id, now=now, actor=SYSTEM, reason=f"dispute {row.id} was won")
        row.froze = False
        others.update(froze=False)


def _post_clawback(row: Dispute, shares: list[Share], accounts: Mapping[str, int], *, now: datetime) -> None:
    total = sum(share.amount for share in shares)
    by_developer: dict[str, int] = {}
    for share in shares:
        by_developer[share.developer_id] = by_developer.get(share.developer_id, 0) + share.amount
    legs = [Leg(accounts[name], -amount) for name, amount in sorted(by_developer.items())]
    posted = post(
        kind="clawback",
        legs=[*legs, Leg(row.account_id, total)],
        idempotency_key=f"clawback:{row.stripe_dispute_id}",
        memo={"dispute": row.id, "top_up": row.top_up_id, "calls": len(shares)},
        now=now,
        actor=SYSTEM,
    )
    DisputeClawback.objects.bulk_create(
        DisputeClawback(
            id=new_id("dcb"),
            dispute=row,
            request_id=share.request_id,
            developer_id=share.developer_id,
            amount_nano=share.amount,
            transaction_id=posted,
            created_at=now,
        )
        for share in shares
    )
    Dispute.objects.filter(pk=row.pk).update(clawback_id=posted, clawed_back_nano=total)
    for name, amount in by_developer.items():
        audit.record(
            "dispute.claw_back",
            "dispute",
            row.id,
            actor=SYSTEM,
            now=now,
            developer_id=name,
            detail={"amount_usd": usd(amount)},
        )
        data = {"dispute_id": row.id, "amount_usd": usd(amount)}
        raise_alert("clawback", row.id, developer_id=name, scope="developer", scope_id=name, data=data, now=now)


@transaction.atomic
def _write_off(dispute_id: str, *, now: datetime) -> bool:
    found = _get(dispute_id)
    loss = open_account(kind=AccountKind.PLATFORM_LOSS, owner_id=OPERATOR, now=now)
    funds = lock_wallets([found.account_id, loss])[found.account_id]
    row = Dispute.objects.select_for_update().get(pk=dispute_id)
    if row.status != DisputeStatus.LOST:
        return False
    left = min(max(-funds.posted, 0), row.credit_cents * NANO_PER_CENT - row.clawed_back_nano)
    row.status, row.closed_at, row.updated_at = DisputeStatus.WRITTEN_OFF, now, now
    if left:
        row.write_off_id = post(
            kind="write_off",
            legs=[Leg(loss, -left), Leg(row.account_id, left)],
            idempotency_key=f"write_off:{row.stripe_dispute_id}",
            memo={"dispute": row.id, "top_up": row.top_up_id},
            now=now,
            actor=SYSTEM,
        )
        row.written_off_nano = left
    row.save()
    audit.record(
        "dispute.write_off", "dispute", row.id, actor=SYSTEM, now=now, detail={"amount_usd": usd(row.written_off_nano)}
    )
    return True


def _covering(candidates: list[Share], debt: int) -> list[Share]:
    """Return the first shares that together cover a debt, the last one cut to what is left of it."""
    taken: list[Share] = []
    clawed = set(
        DisputeClawback.objects.filter(request_id__in=[share.request_id for share in candidates]).values_list(
            "request_id", flat=True
        )
    )
    for share in candidates:
        if debt <= 0:
            break
        if share.request_id not in clawed:
            taken.append(Share(share.request_id, share.developer_id, min(share.amount, debt)))
            debt -= share.amount
    return taken


def _problem(row: Dispute, problem: str, *, now: datetime) -> None:
    if row.problem == problem:
        return
    row.problem = problem[:300]
    logger.error("dispute differs", extra={"dispute": row.id, "problem": problem})
    data = {"dispute_id": row.id, "problem": problem}
    audit.record("dispute.problem", "dispute", row.id, actor=SYSTEM, now=now, detail=data)
    who: dict[str, Any] = {"developer_id": None, "scope": "top_up", "scope_id": row.top_up_id}
    raise_alert("dispute", f"{row.id}:{problem}"[:100], **who, data=data, now=now)


def _get(dispute_id: str) -> Dispute:
    try:
        return Dispute.objects.get(pk=dispute_id)
    except Dispute.DoesNotExist:
        raise NotFound("There is no such dispute.", code="dispute_not_found") from None
