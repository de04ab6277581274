"""What money, its states and its reasons are called for developers."""

from typing import Any

from django.utils.translation import gettext as _

from apps.console.templatetags.console import usd_short
from apps.core.money import NANO_PER_USD, nano_from_usd


def usd_of(text: object) -> str:
    """Show an amount that is written as a decimal string in USD, to the cent or to two figures."""
    return usd_short(nano_from_usd(str(text)))


def lot_words(kind: str) -> str:
    """Return where credit comes from."""
    return {
        "paid": _("Bought"),
        "promo": _("Promotion"),
        "grant": _("Given by the operator"),
        "allowance": _("Included"),
        "other": _("Other"),
    }.get(kind, kind)


def entry_words(kind: str, *, operator: bool = False) -> str:
    """Return why money moved; `operator`: for who reads of others' money."""
    return {
        "usage": _("Usage"),
        "loss": _("Loss"),
        "top_up": _("Credit bought"),
        "grant": _("Grant"),
        "promo": _("Promotion"),
        "transfer": _("Transfer"),
        "adjustment": _("Adjustment"),
        "reversal": _("Taken back"),
        "refund": _("Refund"),
        "dispute": _("Disputed payment"),
        "clawback": _("Claw-back") if operator else _("Disputed payments of your users"),
        "write_off": _("Written off"),
        "allowance_funds": _("To an app’s allowance"),
        "allowance_return": _("From an app’s allowance"),
        "allowance": _("Allowance"),
        "expiry": _("Expired"),
        "fee": _("Fee"),
        "value_fee": _("Price by value"),
        "subscription": _("Plan"),
        "payout": _("Payout"),
        "payout_sent": _("Payout sent"),
        "payout_returned": _("Payout that came back"),
        "other": _("Payouts and corrections"),
    }.get(kind, kind)


def top_up_words(status: str) -> tuple[str, str]:
    """Return (what a top-up's state is called, its colour)."""
    return {
        "sending": (_("on its way"), "warn"),
        "open": (_("not paid yet"), "warn"),
        "pending": (_("on its way"), "warn"),
        "paid": (_("paid"), "good"),
        "failed": (_("failed"), "bad"),
        "expired": (_("expired"), ""),
        "canceled": (_("cancelled"), ""),
    }.get(status, (status, ""))


def refund_words(status: str) -> tuple[str, str]:
    return {
        "requested": (_("on its way"), "warn"),
        "sending": (_("on its way"), "warn"),
        "succeeded": (_("paid back"), "good"),
        "failed": (_("failed: your credit is back"), "bad"),
    }.get(status, (status, ""))


def payout_words(status: str) -> tuple[str, str]:
    return {
        "pending": (_("waits for the operator"), "warn"),
        "held": (_("being looked at"), "warn"),
        "approved": (_("approved, on its way"), "good"),
        "paid": (_("paid"), "good"),
        "failed": (_("failed: the money is back"), "bad"),
        "rejected": (_("rejected: the money is back"), "bad"),
    }.get(status, (status, ""))


def skip_words(reason: str) -> str:
    """Return why a run proposed no payout."""
    return {
        "below_minimum": _("Less than the least payout is payable."),
        "no_account": _("There is no payout account that is ready."),
        "stopped": _("The operator has stopped payouts to you."),
        "disabled": _("You were disabled."),
        "frozen": _("Your revenue is frozen while something is looked at."),
        "open_payout": _("Another payout is under way."),
    }.get(reason, reason)


def notice_words(kind: str, data: dict[str, Any]) -> tuple[str, str]:
    """Return (what a wallet's owner is told, how urgent it is)."""
    told = {name: usd_of(value) if name.endswith("_usd") else value for name, value in data.items()}
    texts = {
        "low_balance": (_("The balance is low: %(balance_usd)s, less than %(threshold_usd)s."), "warning"),
        "credit_expiring": (_("%(remaining_usd)s of credit expires on %(day)s."), "warning"),
        "auto_top_up_failed": (_("An automatic top-up failed."), "error"),
        "auto_top_up_paused": (_("Automatic top-ups are paused. Save a card again, or set them again."), "error"),
        "auto_top_up_cap": (_("Automatic top-ups have reached the most of this month."), "warning"),
        "auto_top_up_balance_limit": (_("An automatic top-up would have gone above the most that you may hold."), ""),
        "dispute_opened": (
            _("A payment is disputed with the bank. Your credit is frozen until that is settled."),
            "error",
        ),
        "dispute_won": (_("A disputed payment is settled in your favour."), "success"),
        "refund_failed": (_("A refund did not go through: your credit is back."), "warning"),
        "fee_suspended": (_("A fee could not be charged."), "warning"),
        "plan_payment_failed": (_("The payment of your plan failed. Pay it soon to keep the plan."), "error"),
    }
    text, level = texts.get(kind, (kind.replace("_", " "), ""))
    told["day"] = str(data.get("expires_at", ""))[:10]
    try:
        return text % told, level
    except KeyError:  # a notice of an earlier version, with other values
        return text.partition(":")[0], level


def value_words(metric: str, value: int) -> str:
    """Show the value of an anomaly's metric."""
    if metric == "spend":
        return f"${value / NANO_PER_USD:,.2f}"
    return f"{value / 10:g} %" if metric == "error_rate" else f"{value:,}"


def metric_words(metric: str) -> str:
    return {"spend": _("Spend"), "calls": _("Calls"), "error_rate": _("Failed calls")}.get(metric, metric)
