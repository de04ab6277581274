"""Our postings on the Stripe account against Stripe's own books: each line with one of theirs, and the balance.

Both sides are matched by the objects they came from (payment, invoice, refund, dispute, transfer) and the amount.
What stays alone longer than its grace is a difference; and the differences together must come to exactly what Stripe's
balance and ours are apart.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, Sum

from apps.billing import stripe_api
from apps.billing.models.disputes import Dispute
from apps.billing.models.invoice_returns import InvoiceReturn
from apps.billing.models.payouts import Payout
from apps.billing.models.plans import SubscriptionInvoice
from apps.billing.models.reconciliation import (
    BalanceTransaction,
    BalanceTransactionState,
    DifferenceKind,
    ReconciliationKind,
    ReconciliationRun,
    RunStatus,
)
from apps.billing.models.top_ups import Refund, TopUp
from apps.billing.services.balance_transactions import import_balance_transactions, stripe_balance
from apps.billing.services.differences import Found, begin_run, fail_run, finish_run
from apps.core.errors import FaucetError
from apps.core.money import NANO_PER_CENT, usd
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account

# Reads of Stripe's books until they and its balance agree: something may be booked between the two.
READS = 3
_CHUNK = 1_000

# One statement, so one snapshot: the sum of the account, and its entries that match no line of Stripe's.
_OURS = """
SELECT total.amount, t.id, coalesce(t.reverses, t.id), t.reverses IS NOT NULL, t.kind, t.memo ->> 'payout_id',
       e.amount, t.created_at
FROM (SELECT coalesce(sum(amount), 0)::bigint AS amount FROM ledger_entries WHERE account_id = %(account)s) total
LEFT JOIN (
    ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction_id
) ON e.account_id = %(account)s
  AND NOT EXISTS (SELECT FROM balance_transactions b WHERE b.transaction_id = t.id)
  AND NOT EXISTS (SELECT FROM balance_transactions b WHERE b.fee_transaction_id = t.id)
ORDER BY t.id
"""


@dataclass(slots=True)
class _Ours:
    """A posting on the Stripe account that matches nothing yet. `nano` is what it adds to Stripe's balance."""

    transaction_id: int
    original_id: int
    is_reversal: bool
    kind: str
    payout_id: str | None
    nano: int
    created_at: datetime
    references: set[str] = field(default_factory=set)
    developer_id: str = ""


def reconcile_stripe(begin: date, end: date, *, now: datetime, actor: str) -> str:
    """Read Stripe's books, match them with ours, note the differences, and return the run's id.

    The period (both days included) is what the run is named after: whatever is open is looked at, of any time. Raises
    Conflict (reconciliation_running) and what Stripe's API raises; the run is then marked as failed.
    """
    run_id = begin_run(ReconciliationKind.STRIPE, "", begin, end, now=now, actor=actor)
    try:
        theirs, sum_of_lines = _read(now)
        _compare(run_id, theirs, sum_of_lines, now)
    except FaucetError as error:
        fail_run(run_id, error.message, now=now)
        raise
    except Exception as error:
        fail_run(run_id, type(error).__name__, now=now)
        raise
    return run_id


def reconcile_daily(*, now: datetime, actor: str) -> str | None:
    """Reconcile yesterday (UTC) with Stripe unless that was done, and return the run's id."""
    if not stripe_api.enabled():
        return None
    day = now.astimezone(UTC).date() - timedelta(days=1)
    done = ReconciliationRun.objects.filter(
        kind=ReconciliationKind.STRIPE, status=RunStatus.FINISHED, period_end__gte=day
    )
    return None if done.exists() else reconcile_stripe(day, day, now=now, actor=actor)


def _read(now: datetime) -> tuple[int, int]:
    """Import until Stripe's lines sum to its balance, and return both in cents: equal, or as far as it got."""
    balance = total = 0
    for _ in range(READS):
        balance = stripe_balance()
        import_balance_transactions(now=now)
        total = BalanceTransaction.objects.aggregate(sum=Sum("net_cents"))["sum"] or 0
        if balance == total:
            break
    return balance, total


def _compare(run_id: str, balance: int, sum_of_lines: int, now: datetime) -> None:
    with transaction.atomic():
        account_id = open_account(kind=AccountKind.FUNDING, owner_id="stripe", now=now)
        posted, ours = _unmatched(account_id)
        _name(ours)
        theirs = list(
            BalanceTransaction.objects.filter(state=BalanceTransactionState.OPEN).order_by("created_at", "id")
        )
        pairs, differing, lone_theirs, lone_ours = _pair(theirs, ours)
        _store(pairs, now)
        late = now - timedelta(seconds=settings.RECONCILE_GRACE)
        found = [
            *(_differs(line, posting) for line, posting in differing),
            *_missing_here([line for line in lone_theirs if line.created_at <= late]),
            *(_missing_there(posting) for posting in _without_cancelled(lone_ours) if posting.created_at <= late),
        ]
        if balance != sum_of_lines:
            found.append(_balance_differs(balance, sum_of_lines))
        open_theirs = [*lone_theirs, *(line for line, _ in differing)]
        open_ours = [*lone_ours, *(posting for _, posting in differing)]
        explained = sum(line.amount_cents for line in open_theirs) * NANO_PER_CENT
        explained -= sum(posting.nano for posting in open_ours)
        explained += (balance - sum_of_lines) * NANO_PER_CENT
        finish_run(
            run_id,
            found,
            covered=None,
            matched=len(pairs),
            waiting=sum(line.created_at > late for line in lone_theirs)
            + sum(posting.created_at > late for posting in lone_ours),
            theirs=balance * NANO_PER_CENT,
            ours=-posted,
            explained=explained,
            now=now,
        )


def _unmatched(account_id: int) -> tuple[int, list[_Ours]]:
    """Return the sum of the account's entries, and its postings that match nothing."""
    with connection.cursor() as cursor:
        cursor.execute(_OURS, {"account": account_id})
        rows = cursor.fetchall()
    ours = [
        _Ours(pk, original, back, kind, payout, -amount, at)
        for _, pk, original, back, kind, payout, amount, at in rows
        if pk
    ]
    return rows[0][0], ours


def _name(ours: Sequence[_Ours]) -> None:
    """Add to each posting the ids of Stripe's objects by which a line may know it, and the developer concerned."""
    by_original: dict[int, list[_Ours]] = defaultdict(list)
    by_payout: dict[str, list[_Ours]] = defaultdict(list)
    for posting in ours:
        by_original[posting.original_id].append(posting)
        if posting.payout_id:
            by_payout[posting.payout_id].append(posting)

    def add(postings: Sequence[_Ours], references: Sequence[str | None], developer_id: str = "") -> None:
        for posting in postings:
            posting.references.update(reference for reference in references if reference)
            posting.developer_id = developer_id

    ids = list(by_original)
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        for top_up in TopUp.objects.filter(transaction_id__in=chunk):
            own = top_up.owner_id if top_up.owner_kind == AccountKind.DEVELOPER_CREDIT else ""
            add(by_original[top_up.transaction_id or 0], (top_up.payment_intent_id, top_up.charge_id), own)
        for refund in Refund.objects.filter(transaction_id__in=chunk):
            add(by_original[refund.transaction_id], (refund.stripe_refund_id,))
        for dispute in Dispute.objects.filter(transaction_id__in=chunk):
            add(by_original[dispute.transaction_id or 0], (dispute.stripe_dispute_id,))
        for invoice in SubscriptionInvoice.objects.filter(transaction_id__in=chunk):
            add(by_original[invoice.transaction_id or 0], (invoice.id,), invoice.developer_id)
        for gone in InvoiceReturn.objects.filter(transaction_id__in=chunk):
            add(by_original[gone.transaction_id or 0], (gone.id,), gone.developer_id)
    for payout in Payout.objects.filter(pk__in=list(by_payout)):
        add(by_payout[payout.pk], (payout.transfer_id, payout.transfer_group), payout.developer_id)


_Pairs = list[tuple[BalanceTransaction, _Ours]]


def _pair(
    theirs: Sequence[BalanceTransaction], ours: Sequence[_Ours]
) -> tuple[_Pairs, _Pairs, list[BalanceTransaction], list[_Ours]]:
    """Return what matches, what matches but for the amount, and what is left over on each side.

    A reference and the amount decide; then a reference and the direction. No line or posting is used twice.
    """
    known: dict[str, list[_Ours]] = defaultdict(list)
    for posting in ours:
        for reference in posting.references:
            known[reference].append(posting)
    used: set[int] = set()

    def take(lines: Sequence[BalanceTransaction], exact: bool) -> tuple[_Pairs, list[BalanceTransaction]]:
        pairs: _Pairs = []
        left: list[BalanceTransaction] = []
        for line in lines:
            nano = line.amount_cents * NANO_PER_CENT
            found = next(
                (
                    posting
                    for reference in line.references
                    for posting in known.get(reference, ())
                    if posting.transaction_id not in used
                    and (posting.nano == nano if exact else (posting.nano > 0) == (nano > 0))
                ),
                None,
            )
            if found is None:
                left.append(line)
            else:
                used.add(found.transaction_id)
                pairs.append((line, found))
        return pairs, left

    pairs, left = take(theirs, True)
    differing, left = take(left, False)
    return pairs, differing, left, [posting for posting in ours if posting.transaction_id not in used]


def _store(pairs: _Pairs, now: datetime) -> None:
    for line, posting in pairs:
        line.transaction_id = posting.transaction_id
        line.state, line.matched_at = BalanceTransactionState.MATCHED, now
    lines = [line for line, _ in pairs]
    BalanceTransaction.objects.bulk_update(lines, ["transaction_id", "state", "matched_at"], batch_size=_CHUNK)


def _without_cancelled(ours: Sequence[_Ours]) -> list[_Ours]:
    """Leave out postings whose own reversal is alone, too: what Stripe refused was undone, and it booked neither."""
    sums: dict[int, int] = defaultdict(int)
    for posting in ours:
        sums[posting.original_id] += posting.nano
    return [posting for posting in ours if sums[posting.original_id] != 0]


def _differs(line: BalanceTransaction, posting: _Ours) -> Found:
    return Found(
        DifferenceKind.AMOUNT_DIFFERS,
        line.pk,
        line.amount_cents * NANO_PER_CENT,
        posting.nano,
        note=f"{line.type} {line.source}; ours is {posting.kind} {posting.transaction_id}",
        balance_transaction_id=line.pk,
        transaction_id=posting.transaction_id,
        developer_id=posting.developer_id,
    )


def _missing_there(posting: _Ours) -> Found:
    named = ", ".join(sorted(posting.references)) or "no object of Stripe's"
    return Found(
        DifferenceKind.MISSING_THERE,
        f"transaction {posting.transaction_id}",
        None,
        posting.nano,
        note=f"{posting.kind} of {named}",
        transaction_id=posting.transaction_id,
        developer_id=posting.developer_id,
    )


def _missing_here(lines: Sequence[BalanceTransaction]) -> list[Found]:
    """Return the lines that we have not posted: as another state where a row of ours knows the object."""
    known = _rows_by_reference({reference for line in lines for reference in line.references})
    found = []
    for line in lines:
        row = next((known[reference] for reference in line.references if reference in known), None)
        ours = f"; ours is {row[0]}" if row is not None else ""
        found.append(
            Found(
                DifferenceKind.MISSING_HERE if row is None else DifferenceKind.STATE_DIFFERS,
                line.pk,
                line.amount_cents * NANO_PER_CENT,
                None,
                note=f"{line.type} {line.source}{ours}",
                balance_transaction_id=line.pk,
                developer_id="" if row is None else row[1],
            )
        )
    return found


def _rows_by_reference(references: set[str]) -> dict[str, tuple[str, str]]:
    """Return by Stripe's id what row of ours knows it: its name and state, and the developer concerned."""
    known: dict[str, tuple[str, str]] = {}
    for top_up in TopUp.objects.filter(payment_intent_id__in=references):
        own = top_up.owner_id if top_up.owner_kind == AccountKind.DEVELOPER_CREDIT else ""
        known[top_up.payment_intent_id or ""] = f"top-up {top_up.pk}, {top_up.status}", own
    for refund in Refund.objects.filter(stripe_refund_id__in=references):
        known[refund.stripe_refund_id or ""] = f"refund {refund.pk}, {refund.status}", ""
    for dispute in Dispute.objects.filter(stripe_dispute_id__in=references):
        known[dispute.stripe_dispute_id] = f"dispute {dispute.pk}, {dispute.status}", ""
    for invoice in SubscriptionInvoice.objects.filter(pk__in=references):
        state = "paid" if invoice.paid else "not paid"
        known[invoice.pk] = f"invoice {invoice.pk}, {state}", invoice.developer_id
    for gone in InvoiceReturn.objects.filter(pk__in=references):
        known[gone.pk] = f"{gone.kind} of invoice {gone.invoice_id}, {gone.status}", gone.developer_id
    for payout in Payout.objects.filter(Q(transfer_group__in=references) | Q(transfer_id__in=references)):
        for reference in (payout.transfer_group, payout.transfer_id or ""):
            known[reference] = f"payout {payout.pk}, {payout.status}", payout.developer_id
    return known


def _balance_differs(balance: int, sum_of_lines: int) -> Found:
    return Found(
        DifferenceKind.AMOUNT_DIFFERS,
        "balance",
        balance * NANO_PER_CENT,
        sum_of_lines * NANO_PER_CENT,
        note=f"Stripe says its balance is {usd(balance * NANO_PER_CENT)} USD; its own lines sum to "
        f"{usd(sum_of_lines * NANO_PER_CENT)} USD.",
    )
