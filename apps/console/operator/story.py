"""What became of a call, and what belongs to a row: read room by room, each part for whoever may see its table."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from apps.console.call_words import rule_number
from apps.console.operator.links import Reader
from apps.console.operator.registry import SWITCHES
from apps.console.templatetags import words
from apps.core.finding import Found
from apps.core.money import NANO_PER_CENT, usd
from apps.developers.queries import developer
from apps.features.queries import app_by_id
from apps.ledger.models import AccountKind
from apps.ledger.operations import hold_of, transactions_of_request
from apps.ledger.queries import account_id, balances
from apps.usage.days import DayTotals, day_totals
from apps.usage.queries import UsageCall, UsageFilter, usage_page
from apps.usage.receipts import receipt_of
from apps.usage.traces import traces_of

# Days that a row's totals are of, and calls that are listed.
DAYS, CALLS = 30, 20


@dataclass(frozen=True, slots=True)
class Link:
    """A line of facts: what it is, how it reads, and where it leads (empty: nowhere)."""

    label: str
    text: Any
    url: str = ""


def call_story(request_id: str, reader: Reader) -> dict[str, Any] | None:
    """Return everything about a call, or None for one that is unknown; one that is under way has only a hold."""
    receipt = receipt_of(request_id)
    hold = hold_of(request_id) if reader.sees("ledger.hold") else None
    if receipt is None:
        return None if hold is None else {"request_id": request_id, "hold": hold, "receipt": None}
    call = receipt.call
    posted = receipt.transaction_id
    traces = traces_of(request_id)
    app = app_by_id(call.app_id) if reader.sees("features.app") else None
    who = developer(call.developer_id) if reader.sees("developers.developer") else None
    return {
        "request_id": request_id,
        "receipt": receipt,
        "call": call,
        "who": [
            Link(
                _("Developer"),
                who.name if who else call.developer_id,
                _found(reader, "developers.developer", call.developer_id),
            ),
            Link(_("App"), app.name if app else call.app_id, _found(reader, "features.app", call.app_id)),
            Link(_("Feature"), call.feature_key),
            *([_end_user(reader, call)] if call.end_user_id else []),
            Link(
                _("Session") if receipt.principal_id.startswith("sess_") else _("Virtual key"),
                receipt.principal_id,
                _finds(receipt.principal_id),
            ),
            Link(_("Payer's account"), receipt.account_id, _found(reader, "ledger.ledgeraccount", receipt.account_id)),
        ],
        "served": [
            Link(_("Endpoint"), call.endpoint + (f" ({_('stream')})" if call.stream else "")),
            Link(_("Model asked for"), call.requested_model),
            Link(_("Model that answered"), call.served_model or "–"),
            Link(_("Provider"), call.provider or "–", _found(reader, "catalog.provider", call.provider)),
            Link(
                _("Provider key"),
                receipt.credential_id or "–",
                _found(reader, "vault.providercredential", receipt.credential_id),
            ),
            Link(_("Whose key"), words.route(call.route_mode)),
            Link(_("First byte"), "–" if call.first_byte_ms is None else f"{call.first_byte_ms:,} ms"),
            Link(_("Duration"), f"{call.duration_ms:,} ms"),
            *([Link(_("Answered from the cache"), words.cache(call.cache))] if call.cache else []),
            *([Link(_("Values redacted"), call.redactions)] if call.redactions else []),
            *([Link(_("Output was limited to"), call.output_cap)] if call.output_cap else []),
            *([Link(_("Manifest"), receipt.manifest_id, _finds(receipt.manifest_id))] if receipt.manifest_id else []),
        ],
        "rule": rule_number(receipt.routing),
        "tokens": [
            (_("Input"), call.tokens.input),
            (_("Read from the cache"), call.tokens.cache_read),
            (_("Written to the cache"), call.tokens.cache_write),
            (_("Output"), call.tokens.output),
            (_("of it reasoning"), call.tokens.reasoning),
        ],
        "version_url": _found(reader, "catalog.priceversion", receipt.price_version_id),
        "tier": _tier(receipt),
        "charge": _charge(call),
        "hold": hold,
        "hold_url": reader.row_of("ledger.hold", hold.id) if hold else "",
        "transactions": transactions_of_request(request_id, also=posted)
        if reader.sees("ledger.ledgertransaction")
        else None,
        "budgets": traces.budgets if reader.sees("usage.budgetuse") else None,
        "alerts": traces.alerts if reader.sees("usage.alert") else (),
        "repeat": traces.repeat if reader.sees("usage.idempotencyrecord") else None,
        "prompts_url": reader.list_of("usage.promptlog", q=request_id) if traces.prompt_logs else "",
        "event_url": reader.list_of("usage.usageevent", q=request_id),
        "clawback_url": reader.list_of("billing.disputeclawback", q=request_id),
        "audit_url": reader.list_of("developers.auditevent", q=request_id),
    }


def row_story(found: Found, reader: Reader, *, now: datetime) -> dict[str, Any]:
    """Return a row's columns, everything that belongs to it, and what its calls come to."""
    pk, table = found.pk, found.table
    which = _calls_of(found)
    page = usage_page(which, limit=CALLS) if which is not None and reader.sees("usage.usageevent") else None
    return {
        "row": found,
        "facts": [_fact(reader, fact.column, fact.label, fact.value) for fact in found.facts],
        "row_url": reader.row_of(table, pk),
        "belongs": [(label, url) for label, url in _belongs(reader, found) if url],
        "accounts": list(_accounts(reader, found)),
        "days": DAYS,
        "totals": _totals(reader, found, now=now),
        "calls": page.calls if page is not None else None,
        "switches": [
            (switch, reverse("admin:switch", args=[switch.kind, pk]))
            for switch in SWITCHES
            if (switch.table == table or (switch.kind == "payouts" and table == "developers.developer"))
            and reader.sees(switch.table)
        ],
    }


def _end_user(reader: Reader, call: UsageCall) -> Link:
    return Link(_("End user"), call.end_user_id, _found(reader, "features.enduser", call.end_user_id))


def _tier(receipt: Any) -> Any:
    if receipt.price is None:
        return None
    tokens = receipt.call.tokens
    return receipt.price.tier(tokens.input + tokens.cache_read + tokens.cache_write)


def _charge(call: UsageCall) -> list[tuple[str, int, bool]]:
    """Return the split of the price, line by line, with whether a line is a sum."""
    charge = call.charge
    if charge is None:
        return []
    return [
        (_("Price"), charge.price, True),
        (_("Provider's cost"), charge.cost, False),
        (_("Infrastructure"), charge.infra, False),
        (_("Payment"), charge.payment, False),
        (_("Developer's share"), charge.developer, False),
        (_("Platform's part"), charge.platform, False),
        (_("Platform's loss"), -charge.loss, False),
        (_("Bill of the key's owner, as information"), charge.provider_bill, False),
    ]


def _found(reader: Reader, table: str, pk: Any) -> str:
    """Return the address of a row's page, empty for none and for whoever may not see its table."""
    return reverse("admin:found", args=[table, pk]) if pk and reader.sees(table) else ""


def _finds(term: str | None) -> str:
    return reverse("admin:find", query={"q": term}) if term else ""


# Columns that name a row of another table by a number or by a name: what begins with a prefix finds itself.
_COLUMNS = {
    "account_id": "ledger.ledgeraccount",
    "transaction_id": "ledger.ledgertransaction",
    "reversal_id": "ledger.ledgertransaction",
    "clawback_id": "ledger.ledgertransaction",
    "write_off_id": "ledger.ledgertransaction",
    "payout_transaction_id": "ledger.ledgertransaction",
    "sent_transaction_id": "ledger.ledgertransaction",
    "fee_transaction_id": "ledger.ledgertransaction",
    "reverses_id": "ledger.ledgertransaction",
    "provider_id": "catalog.provider",
    "provider": "catalog.provider",
    "offer_id": "catalog.modeloffer",
    "model_id": "catalog.model",
}
_PREFIXES = (
    *("req_", "app_", "dev_", "usr_", "sess_", "key_", "feat_", "man_", "cred_", "sec_", "top_", "rfd_", "dsp_"),
    *("pay_", "pv_", "prop_", "lot_", "rec_", "dif_", "pi_", "ch_", "re_", "dp_", "tr_", "po_", "evt_", "cus_"),
    *("acct_", "sub_", "in_", "txn_", "cs_", "bud_", "dtok_"),
)


def _fact(reader: Reader, column: str, label: str, value: Any) -> Link:
    if value is None or value == "" or value == []:
        return Link(label, "–")
    if column.endswith("_nano") or column in ("posted", "held", "overdraft", "amount", "captured"):
        return Link(label, f"${usd(value)}") if isinstance(value, int) else Link(label, value)
    if column.endswith("_cents"):
        return Link(label, f"${usd(value * NANO_PER_CENT)}")
    if isinstance(value, list):
        return Link(label, ", ".join(str(each) for each in value))
    if column in _COLUMNS:
        return Link(label, value, _found(reader, _COLUMNS[column], value))
    if isinstance(value, str) and value.startswith(_PREFIXES) and column != "id":
        return Link(label, value, _finds(value))
    return Link(label, value)


def _belongs(reader: Reader, found: Found) -> Iterable[tuple[str, str]]:
    """Yield the lists of what belongs to a row, by the ids that their searches take."""
    pk, table = found.pk, found.table
    lists: dict[str, tuple[tuple[str, str], ...]] = {
        "developers.developer": (
            (_("Apps"), "features.app"),
            (_("Members"), "developers.member"),
            (_("API tokens"), "developers.developertoken"),
            (_("Virtual keys"), "features.virtualkey"),
            (_("Provider keys"), "vault.providercredential"),
            (_("Accounts"), "ledger.ledgeraccount"),
            (_("Wallets"), "ledger.wallet"),
            (_("Entries"), "ledger.ledgerentry"),
            (_("Payouts"), "billing.payout"),
            (_("Payout account"), "billing.payoutaccount"),
            (_("Plans"), "billing.subscription"),
            (_("Risk scores"), "billing.riskscore"),
            (_("Actions on abuse"), "billing.riskaction"),
            (_("Differences"), "billing.reconciliationitem"),
            (_("Claw-backs"), "billing.disputeclawback"),
            (_("Budgets"), "usage.budget"),
            (_("Alerts"), "usage.alert"),
        ),
        "features.app": (
            (_("Features"), "features.appfeature"),
            (_("End users"), "features.enduser"),
            (_("Sessions"), "features.virtualsession"),
            (_("Virtual keys"), "features.virtualkey"),
            (_("App secrets"), "vault.appsecret"),
            (_("Accounts"), "ledger.ledgeraccount"),
            (_("Fees"), "billing.appfee"),
            (_("Fee subscriptions"), "billing.feesubscription"),
            (_("Risk scores"), "billing.riskscore"),
            (_("Anomalies"), "billing.anomaly"),
            (_("Hours"), "billing.apphour"),
            (_("Budgets"), "usage.budget"),
            (_("Limits"), "usage.limitrule"),
            (_("Alerts"), "usage.alert"),
            (_("Logged prompts"), "usage.promptlog"),
        ),
        "features.enduser": (
            (_("Sessions"), "features.virtualsession"),
            (_("Provider keys"), "vault.providercredential"),
            (_("Consents"), "vault.feeconsent"),
            (_("Accounts"), "ledger.ledgeraccount"),
            (_("Wallets"), "ledger.wallet"),
            (_("Entries"), "ledger.ledgerentry"),
            (_("Holds"), "ledger.hold"),
            (_("Top-ups"), "billing.topup"),
            (_("Automatic top-up"), "billing.autotopup"),
            (_("Risk scores"), "billing.riskscore"),
            (_("Fingerprints"), "billing.fingerprint"),
            (_("Fee subscriptions"), "billing.feesubscription"),
            (_("Budgets"), "usage.budget"),
        ),
        "ledger.ledgeraccount": (
            (_("Wallet"), "ledger.wallet"),
            (_("Lots of credit"), "billing.creditlot"),
            (_("Notices"), "billing.notice"),
            (_("Wallet limits"), "billing.walletlimit"),
        ),
        "ledger.wallet": ((_("Account"), "ledger.ledgeraccount"), (_("Lots of credit"), "billing.creditlot")),
        "ledger.ledgertransaction": ((_("Draws of lots"), "billing.lotdraw"),),
        "billing.topup": ((_("Refunds"), "billing.refund"), (_("Disputes"), "billing.dispute")),
        "billing.dispute": ((_("Claw-backs"), "billing.disputeclawback"),),
        "billing.payout": ((_("Reviews"), "billing.payoutreview"),),
        "vault.providercredential": ((_("Health"), "vault.credentialhealth"), (_("Budgets"), "usage.budget")),
        "catalog.provider": (
            (_("Models"), "catalog.modeloffer"),
            (_("Provider keys"), "vault.providercredential"),
            (_("Invoices"), "billing.providerinvoice"),
        ),
        "catalog.priceversion": ((_("Tiers"), "catalog.pricetier"), (_("Proposal"), "catalog.priceproposal")),
        "usage.budget": ((_("Periods"), "usage.budgetperiod"), (_("Alerts"), "usage.alert")),
    }
    if table in (
        "developers.developer",
        "features.app",
        "features.enduser",
        "features.virtualsession",
        "features.virtualkey",
    ):
        yield _("Calls"), reader.list_of("usage.usageevent", q=pk)
    if table == "catalog.provider":
        yield _("Calls"), reader.list_of("usage.usageevent", provider=pk)
    if table in ("ledger.ledgeraccount", "ledger.wallet"):
        owner = found.value("owner_id")
        if owner:
            yield _("Entries"), reader.list_of("ledger.ledgerentry", q=owner)
            yield _("Top-ups"), reader.list_of("billing.topup", q=owner)
    for label, other in lists.get(table, ()):
        yield label, reader.list_of(other, q=pk)
    for column in (
        "stripe_dispute_id",
        "payment_intent_id",
        "charge_id",
        "stripe_refund_id",
        "transfer_id",
        "stripe_payout_id",
    ):
        if value := found.value(column):
            yield _("Stripe events of %(id)s") % {"id": value}, reader.list_of("billing.stripeevent", q=value)
    yield _("Audit trail"), reader.list_of("developers.auditevent", q=pk)


def _accounts(reader: Reader, found: Found) -> Iterable[tuple[str, int, Any, str]]:
    """Yield (kind, account, balance, address) of the accounts of a row's owner."""
    if not reader.sees("ledger.wallet"):
        return
    kinds = {
        "developers.developer": (AccountKind.DEVELOPER, AccountKind.DEVELOPER_CREDIT, AccountKind.PAYOUT),
        "features.app": (AccountKind.APP_ALLOWANCE,),
        "features.enduser": (AccountKind.END_USER,),
    }.get(found.table, ())
    ids = {kind: account_id(kind, found.pk) for kind in kinds}
    if found.table in ("ledger.ledgeraccount", "ledger.wallet"):
        ids = {AccountKind(found.value("kind")) if found.value("kind") else AccountKind.END_USER: int(found.pk)}
    known = balances([number for number in ids.values() if number is not None])
    for kind, number in ids.items():
        if number is not None and number in known:
            yield str(kind.label), number, known[number], reader.row_of("ledger.wallet", number)


def _calls_of(found: Found) -> UsageFilter | None:
    """Return which calls are a row's; None where they are not found by an index."""
    pk = found.pk
    return {
        "developers.developer": UsageFilter(developer_id=pk),
        "features.app": UsageFilter(app_id=pk),
        "features.enduser": UsageFilter(end_user_id=pk),
        "features.virtualkey": UsageFilter(key_id=pk),
        "features.virtualsession": UsageFilter(end_user_id=found.value("end_user_id")),
    }.get(found.table)


def _totals(reader: Reader, found: Found, *, now: datetime) -> list[DayTotals] | None:
    """Return the totals of the last DAYS days by route, provider and model, the most failures first."""
    if found.table not in ("developers.developer", "features.app", "catalog.provider") or not reader.sees(
        "usage.usageday"
    ):
        return None
    today = now.astimezone(UTC).date()
    of: dict[str, Any] = {}
    if found.table == "developers.developer":
        of["developer_id"] = found.pk
    if found.table == "features.app":
        of["app_id"] = found.pk
    rows = day_totals("route_mode", "provider", "served_model", begin=today - timedelta(days=DAYS - 1), end=today, **of)
    if found.table == "catalog.provider":
        rows = [row for row in rows if row.key[1] == found.pk]
    return sorted(rows, key=lambda row: (-row.failed, -row.calls))[:20]
