"""The tables that can be had as CSV, by name, for those who may have them.

usage     one line a call
revenue   rated calls summed by day, app, feature and route mode
payouts   one line a payout
ledger    one line an entry
tax       one line a top-up, refund or plan invoice, with the tax in it (operators)
differences  one line a difference of the reconciliation (operators)
"""

from datetime import datetime
from typing import Any

from apps.core.csv_stream import Cell, Column, Export
from apps.core.errors import NotFound
from apps.features.queries import apps_of_developer
from apps.ledger import exports as ledger
from apps.ledger.models import AccountKind
from apps.usage import exports as usage

DEVELOPER_KINDS = ("usage", "revenue", "payouts", "ledger")
OPERATOR_KINDS = (*DEVELOPER_KINDS, "tax", "differences")

_PAYOUT = (
    Column("payout_id", "p.id"),
    Column("developer_id", "p.developer_id"),
    Column("period", "p.period"),
    Column("status", "p.status"),
    Column("amount_usd", "p.amount_nano", Cell.USD),
    Column("returned_usd", "p.returned_nano", Cell.USD),
    Column("rail", "p.rail"),
    Column("destination_hint", "p.destination_hint"),
    Column("reference", "p.reference"),
    Column("transfer_id", "p.transfer_id"),
    Column("matured_until", "p.cutoff_at", Cell.TIME),
    Column("proposed_at", "p.created_at", Cell.TIME),
    Column("approved_at", "p.approved_at", Cell.TIME),
    Column("sent_at", "p.sent_at", Cell.TIME),
    Column("paid_at", "p.paid_at", Cell.TIME),
    Column("closed_at", "p.closed_at", Cell.TIME),
)
_PAYOUT_OPERATOR = (
    Column("origin", "p.origin"),
    Column("requested_by", "p.requested_by"),
    Column("transfer_group", "p.transfer_group"),
    Column("payout_transaction_id", "p.payout_transaction_id", Cell.NUMBER),
    Column("sent_transaction_id", "p.sent_transaction_id", Cell.NUMBER),
    Column("last_error", "p.last_error"),
)
_DIFFERENCE = (
    Column("id", "d.id"),
    Column("run", "d.run_id"),
    Column("compared_with", "d.source"),
    Column("kind", "d.kind"),
    Column("reference", "d.reference"),
    Column("theirs_usd", "d.theirs_nano", Cell.USD),
    Column("ours_usd", "d.ours_nano", Cell.USD),
    Column("balance_transaction", "d.balance_transaction_id"),
    Column("transaction_id", "d.transaction_id", Cell.NUMBER),
    Column("developer_id", "d.developer_id"),
    Column("note", "d.note"),
    Column("found_at", "d.created_at", Cell.TIME),
    Column("resolved_at", "d.resolved_at", Cell.TIME),
    Column("resolved_by", "d.resolved_by"),
    Column("resolution", "d.resolution"),
)
# What moved tax is what an invoice or a return of tax has a line for: the postings on the tax account, with their kind.
_TAX = (
    Column("transaction_id", "t.id", Cell.NUMBER),
    Column("at", "t.effective_at", Cell.TIME),
    Column("posted_at", "t.created_at", Cell.TIME),
    Column("kind", "t.kind"),
    Column("reference", "t.idempotency_key"),
    Column("payer_kind", "CASE WHEN i.developer_id IS NULL THEN payer.kind ELSE 'developer' END"),
    Column("payer", "coalesce(i.developer_id, payer.owner_id)"),
    Column("net_usd", "-funding.amount - coalesce(tax.amount, 0)", Cell.USD),
    Column("tax_usd", "coalesce(tax.amount, 0)", Cell.USD),
    Column("gross_usd", "-funding.amount", Cell.USD),
    Column("currency", "'USD'"),
)


def developer_export(kind: str, developer_id: str, *, begin: datetime | None, end: datetime | None) -> Export:
    """Return what a developer may have of its own: usage, revenue, payouts or ledger. Raises NotFound (unknown_url)."""
    if kind == "usage":
        return usage.developer_usage(developer_id, begin=begin, end=end)
    if kind == "revenue":
        return usage.revenue(developer_id, begin=begin, end=end)
    if kind == "payouts":
        return _payouts(developer_id, begin, end, operator=False)
    if kind == "ledger":
        return ledger.entries(_own_accounts(developer_id), begin=begin, end=end)
    raise NotFound(f"There is no export {kind}.", code="unknown_url")


def payer_export(
    *, end_user_id: str | None, key_id: str | None, begin: datetime | None, end: datetime | None
) -> Export:
    """Return an end user's calls, or those of a virtual key."""
    return usage.payer_usage(end_user_id=end_user_id, key_id=key_id, begin=begin, end=end)


def operator_export(kind: str, developer_id: str | None, *, begin: datetime | None, end: datetime | None) -> Export:
    """Return a table of the whole instance, or of one developer, for an operator. Raises NotFound (unknown_url)."""
    if kind == "usage":
        return usage.operator_usage(developer_id, begin=begin, end=end)
    if kind == "revenue":
        return usage.revenue(developer_id, begin=begin, end=end)
    if kind == "payouts":
        return _payouts(developer_id, begin, end, operator=True)
    if kind == "ledger":
        owners = None if developer_id is None else _own_accounts(developer_id)
        return ledger.entries(owners, begin=begin, end=end, operator=True)
    if kind == "tax":
        return _tax(developer_id, begin, end)
    if kind == "differences":
        return _differences(developer_id, begin, end)
    raise NotFound(f"There is no export {kind}.", code="unknown_url")


def _own_accounts(developer_id: str) -> list[tuple[str, str]]:
    """Return kind and owner of every account whose money is the developer's."""
    own = [(kind.value, developer_id) for kind in (AccountKind.DEVELOPER, AccountKind.DEVELOPER_CREDIT)]
    own.append((AccountKind.PAYOUT.value, developer_id))
    return own + [(AccountKind.APP_ALLOWANCE.value, app.id) for app in apps_of_developer(developer_id)]


def _payouts(developer_id: str | None, begin: datetime | None, end: datetime | None, *, operator: bool) -> Export:
    where, parameters = _period("p.created_at", begin, end)
    if developer_id is not None:
        where += " AND p.developer_id = %(developer_id)s"
        parameters["developer_id"] = developer_id
    columns = (*_PAYOUT, *_PAYOUT_OPERATOR) if operator else _PAYOUT
    return Export("payouts", columns, f"FROM payouts p WHERE {where} ORDER BY p.created_at, p.id", parameters)


def _differences(developer_id: str | None, begin: datetime | None, end: datetime | None) -> Export:
    where, parameters = _period("d.created_at", begin, end)
    if developer_id is not None:
        where += " AND d.developer_id = %(developer_id)s"
        parameters["developer_id"] = developer_id
    source = f"FROM reconciliation_items d WHERE {where} ORDER BY d.created_at, d.id"
    return Export("differences", _DIFFERENCE, source, parameters)


def _tax(developer_id: str | None, begin: datetime | None, end: datetime | None) -> Export:
    """Return money that came in or went back through Stripe for a payer, net, tax and gross; no payout to anybody."""
    where, parameters = _period("t.effective_at", begin, end)
    if developer_id is not None:
        where += " AND coalesce(i.developer_id, CASE payer.kind WHEN 'developer_credit' THEN payer.owner_id END)"
        where += " = %(developer_id)s"
        parameters["developer_id"] = developer_id
    source = """
        FROM ledger_entries funding
        JOIN ledger_accounts stripe ON stripe.id = funding.account_id
             AND stripe.kind = 'funding' AND stripe.owner_id = 'stripe'
        JOIN ledger_transactions t ON t.id = funding.transaction_id
        LEFT JOIN ledger_transactions original ON original.id = t.reverses
        LEFT JOIN LATERAL (
            SELECT developer_id FROM subscription_invoices WHERE transaction_id = coalesce(t.reverses, t.id)
            UNION ALL
            SELECT developer_id FROM invoice_returns WHERE transaction_id = coalesce(t.reverses, t.id)
        ) i ON true
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS amount FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = t.id AND a.kind = 'tax'
        ) tax ON true
        LEFT JOIN LATERAL (
            SELECT a.kind, a.owner_id FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = t.id AND a.kind IN ('end_user', 'developer_credit', 'app_allowance', 'platform')
            ORDER BY e.id LIMIT 1
        ) payer ON true
        WHERE coalesce(original.kind, t.kind) IN (
            'top_up', 'refund', 'dispute', 'subscription', 'subscription_refund', 'subscription_dispute'
        )
    """
    source += f" AND {where} ORDER BY t.id"
    return Export("tax", _TAX, source, parameters)


def _period(column: str, begin: datetime | None, end: datetime | None) -> tuple[str, dict[str, Any]]:
    conditions, parameters = ["true"], dict[str, Any]()
    if begin is not None:
        conditions.append(f"{column} >= %(begin)s")
        parameters["begin"] = begin
    if end is not None:
        conditions.append(f"{column} < %(end)s")
        parameters["end"] = end
    return " AND ".join(conditions), parameters
