"""All that is held about an end user, as tables to be written: what every room has of them, under one name each."""

from datetime import datetime
from typing import Any

from apps.core.csv_stream import Cell, Column, Export
from apps.core.errors import NotFound
from apps.features import exports as features
from apps.ledger import exports as ledger
from apps.ledger.models import AccountKind
from apps.usage import exports as usage
from apps.vault import exports as vault

_WALLET = "account_id = (SELECT id FROM ledger_accounts WHERE kind = 'end_user' AND owner_id = %(user)s)"


def _cell(name: str, sql: str | None = None, cell: Cell = Cell.TEXT) -> Column:
    return Column(name, f"t.{sql or name}", cell)


def _times(*names: str) -> tuple[Column, ...]:
    return tuple(_cell(name, cell=Cell.TIME) for name in names)


_LOT = (
    _cell("lot_id", "id"),
    _cell("kind"),
    _cell("amount_usd", "amount_nano", Cell.USD),
    _cell("remaining_usd", "remaining_nano", Cell.USD),
    _cell("reference"),
    *_times("expires_at", "created_at", "closed_at"),
)
_TOP_UP = (
    _cell("top_up_id", "id"),
    _cell("source"),
    _cell("status"),
    _cell("credit_usd", "amount_cents", Cell.CENTS),
    _cell("tax_usd", "tax_cents", Cell.CENTS),
    _cell("refunded_usd", "refunded_cents", Cell.CENTS),
    _cell("payment_intent_id"),
    _cell("receipt_url"),
    *_times("created_at", "paid_at"),
)
_REFUND = (
    _cell("refund_id", "id"),
    _cell("top_up_id"),
    _cell("status"),
    _cell("credit_usd", "amount_cents", Cell.CENTS),
    _cell("tax_usd", "tax_cents", Cell.CENTS),
    _cell("reason"),
    *_times("created_at"),
)
_CARD = (
    _cell("stripe_customer", "customer_id"),
    _cell("card_brand"),
    _cell("card_last4"),
    _cell("valid_until_month", "card_exp_month", Cell.NUMBER),
    _cell("valid_until_year", "card_exp_year", Cell.NUMBER),
    *_times("created_at"),
)
_AUTO = (
    _cell("enabled", cell=Cell.FLAG),
    _cell("threshold_usd", "threshold_nano", Cell.USD),
    _cell("amount_usd", "amount_cents", Cell.CENTS),
    _cell("monthly_cap_usd", "monthly_cap_cents", Cell.CENTS),
    *_times("created_at", "updated_at"),
)
_FEE = (
    _cell("subscription_id", "id"),
    _cell("fee_key"),
    _cell("amount_usd", "amount_nano", Cell.USD),
    _cell("text"),
    _cell("status"),
    *_times("acknowledged_at", "paid_until", "ended_at"),
)
_NOTICE = (_cell("kind"), _cell("data", "data::text"), *_times("created_at"))
_CODE = (_cell("lot_id"), *_times("created_at"))
_CLIENT = (
    _cell("client_hash", "fingerprint"),
    _cell("network_hash", "network"),
    _cell("sessions", cell=Cell.NUMBER),
    *_times("first_seen_at", "last_seen_at"),
)
_RISK = (_cell("score", cell=Cell.NUMBER), *_times("computed_at"))
# (name, table, columns, which rows).
_TABLES: tuple[tuple[str, str, tuple[Column, ...], str], ...] = (
    ("credit", "credit_lots", _LOT, _WALLET),
    ("top_ups", "top_ups", _TOP_UP, _WALLET),
    ("refunds", "refunds", _REFUND, _WALLET),
    ("payment_method", "billing_customers", _CARD, _WALLET),
    ("automatic_top_up", "auto_top_ups", _AUTO, _WALLET),
    ("promo_codes", "promo_redemptions", _CODE, _WALLET),
    ("notices", "billing_notices", _NOTICE, _WALLET),
    ("fees", "fee_subscriptions", _FEE, "end_user_id = %(user)s"),
    ("clients", "fingerprints", _CLIENT, "end_user_id = %(user)s"),
    ("risk", "risk_scores", _RISK, "subject_kind = 'end_user' AND subject_id = %(user)s"),
)


def personal_data(end_user_id: str) -> tuple[Export, ...]:
    """Return every table that holds something about an end user: a name, its rows."""
    who: dict[str, Any] = {"user": end_user_id}
    own = [
        Export(name, columns, f"FROM {table} t WHERE t.{where} ORDER BY 1", who)
        for name, table, columns, where in _TABLES
    ]
    entries = ledger.entries([(AccountKind.END_USER.value, end_user_id)], begin=None, end=None)
    return (*features.personal(end_user_id), *usage.personal(end_user_id), entries, *own, *vault.personal(end_user_id))


def personal_table(end_user_id: str, name: str) -> Export:
    """Return one of these tables. Raises NotFound."""
    for export in personal_data(end_user_id):
        if export.name == name:
            return export
    raise NotFound(f"There is no export {name}.", code="unknown_url")


def file_name(end_user_id: str, *, now: datetime) -> str:
    """Return what the file of all tables is called."""
    return f"my-data-{end_user_id}-{now.date().isoformat()}"
