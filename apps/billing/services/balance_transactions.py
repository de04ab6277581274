"""Stripe's books on our balance: read page by page, its fees and bank transfers posted, each line once."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from apps.billing import stripe_api
from apps.billing.models.reconciliation import (
    BalanceTransaction,
    BalanceTransactionState,
    ReconciliationKind,
    ReconciliationRun,
    RunStatus,
)
from apps.billing.models.top_ups import TopUp
from apps.billing.stripe_api import StripeRefused
from apps.core.errors import Conflict
from apps.core.money import NANO_PER_CENT
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_accounts
from apps.ledger.services.batches import Leg, Posting, post_batch

ACTOR = "stripe"
PAGE = 100
# What Stripe still adds to a day that has been read: its clock and ours, and lines that appear late.
OVERLAP = timedelta(days=3)
# Lines whose whole amount is a fee, and lines between the balance and our own bank.
FEES = frozenset({"stripe_fee", "stripe_fx_fee", "tax_fee", "network_cost", "charge_failure_fee", "dispute_fee"})
BANK = frozenset({"payout", "payout_cancel", "payout_failure", "topup", "topup_reversal"})
# Members of a line's source by which one of our rows may know it.
_KNOWN_BY = ("id", "payment_intent", "invoice", "transfer", "transfer_group")

_FUNDING = (AccountKind.FUNDING.value, "stripe")
# A fee that is not posted yet, and lines that are ours to post altogether.
_UNPOSTED = (Q(fee_transaction_id=None) & ~Q(fee_cents=0)) | Q(type__in=[*FEES, *BANK])

_BANK = (AccountKind.FUNDING.value, "bank")
_COST = (AccountKind.PAYMENT_COST.value, "operator")


def import_balance_transactions(*, now: datetime) -> int:
    """Read what Stripe has booked since the last finished run, post its fees and bank transfers; return how many
    lines are new.

    Raises what `stripe_api.call` raises, and Conflict (currency_not_supported) for a line that is not in USD. What was
    read by then stays: reading again adds nothing twice.
    """
    count = 0
    for page in _pages(_since()):
        count += _store(page, now)
    _post_own(now)
    return count


def stripe_balance() -> int:
    """Return what Stripe says our balance is, available and pending, in cents of USD."""
    balance: dict[str, Any] = stripe_api.call(lambda api: api.v1.balance.retrieve()).to_dict()
    parts = [*balance["available"], *balance["pending"]]
    return sum(part["amount"] for part in parts if part["currency"] == "usd")


def _since() -> datetime | None:
    last = (
        ReconciliationRun.objects.filter(kind=ReconciliationKind.STRIPE, status=RunStatus.FINISHED)
        .order_by("-started_at")
        .values_list("started_at", flat=True)
        .first()
    )
    return None if last is None else last - OVERLAP


def _pages(since: datetime | None) -> Iterator[list[dict[str, Any]]]:
    params: dict[str, Any] = {"limit": PAGE, "expand": ["data.source"]}
    if since is not None:
        params["created"] = {"gte": int(since.timestamp())}
    while True:
        asked = dict(params)
        page = stripe_api.call(lambda api, asked=asked: api.v1.balance_transactions.list(asked))  # type: ignore[misc]
        rows = [row.to_dict() for row in page.data]
        yield rows
        if not page.has_more or not rows:
            return
        params["starting_after"] = rows[-1]["id"]


def _store(rows: Sequence[dict[str, Any]], now: datetime) -> int:
    known = set(BalanceTransaction.objects.filter(pk__in=[row["id"] for row in rows]).values_list("pk", flat=True))
    new = [row for row in rows if row["id"] not in known]
    for row in new:
        if row["currency"] != "usd":
            raise Conflict(
                f"Stripe's {row['id']} is in {row['currency']}; only USD can be reconciled.",
                code="currency_not_supported",
            )
    made = [_line(row, now) for row in new]
    _add_invoices(made)
    BalanceTransaction.objects.bulk_create(made, ignore_conflicts=True)
    return len(made)


def _line(row: dict[str, Any], now: datetime) -> BalanceTransaction:
    source = row.get("source")
    members = source if isinstance(source, dict) else {"id": source}
    found = [_id_of(members.get(name)) for name in _KNOWN_BY]
    return BalanceTransaction(
        id=row["id"],
        type=row["type"],
        category=row.get("reporting_category") or "",
        source=_id_of(source),
        references=list(dict.fromkeys(reference for reference in found if reference)),
        amount_cents=row["amount"],
        fee_cents=row["fee"],
        net_cents=row["net"],
        description=(row.get("description") or "")[:300],
        available_on=datetime.fromtimestamp(row["available_on"], UTC),
        created_at=datetime.fromtimestamp(row["created"], UTC),
        state=BalanceTransactionState.OPEN,
        imported_at=now,
    )


def _id_of(value: Any) -> str:
    """Return the id of a member that may be expanded."""
    return str((value.get("id") if isinstance(value, dict) else value) or "")


def _add_invoices(lines: Sequence[BalanceTransaction]) -> None:
    """Name the invoice that a charge paid, where its payment is not a top-up's: a charge itself does not say."""
    intents = {ref: line for line in lines for ref in line.references if ref.startswith("pi_")}
    ours = TopUp.objects.filter(payment_intent_id__in=list(intents)).values_list("payment_intent_id", flat=True)
    for intent in intents.keys() - set(ours):
        payment: Any = {"type": "payment_intent", "payment_intent": intent}
        try:
            paid = stripe_api.call(lambda api, payment=payment: api.v1.invoice_payments.list({"payment": payment}))  # type: ignore[misc]
        except StripeRefused:
            continue  # then it stays without: a difference that an operator sees
        intents[intent].references += [_id_of(row["invoice"]) for row in (row.to_dict() for row in paid.data)]


def _post_own(now: datetime) -> None:
    """Post what only Stripe's books say: fees, and money between the balance and our bank."""
    accounts = open_accounts([_FUNDING, _BANK, _COST], now=now)
    while True:
        with transaction.atomic():
            lines = list(
                BalanceTransaction.objects.select_for_update()
                .filter(state=BalanceTransactionState.OPEN)
                .filter(_UNPOSTED)
                .order_by("id")[:500]
            )
            if not lines:
                return
            _post_lines(lines, accounts, now)


def _post_lines(lines: Sequence[BalanceTransaction], accounts: dict[tuple[str, str], int], now: datetime) -> None:
    funding, bank, cost = accounts[_FUNDING], accounts[_BANK], accounts[_COST]
    postings: list[Posting] = []

    def book(key: str, kind: str, line: BalanceTransaction, cents: int, other: int) -> None:
        """Take `cents` off the balance, on to `other`."""
        nano = cents * NANO_PER_CENT
        legs = (Leg(funding, nano), Leg(other, -nano))
        postings.append(Posting(key, kind, legs, line.created_at, {"balance_transaction": line.pk}))

    for line in lines:
        fee = -line.net_cents if line.type in FEES else line.fee_cents
        if fee:
            book(f"stripe_fee:{line.pk}", "stripe_fee", line, fee, cost)
        if line.type in BANK and line.amount_cents:
            book(f"stripe_payout:{line.pk}", "bank_transfer", line, -line.amount_cents, bank)
    posted = post_batch(postings, now=now, actor=ACTOR)
    for line in lines:
        line.fee_transaction_id = posted.get(f"stripe_fee:{line.pk}")
        if line.type in FEES or line.type in BANK:
            line.transaction_id = posted.get(f"stripe_payout:{line.pk}")
            line.state, line.matched_at = BalanceTransactionState.MATCHED, now
    BalanceTransaction.objects.bulk_update(lines, ["fee_transaction_id", "transaction_id", "state", "matched_at"])
