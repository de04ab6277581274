"""Stripe's events about transfers, connected accounts and their payouts. Registered in `handlers`."""

from apps.billing import stripe_api
from apps.billing.services.events import Event, Later
from apps.billing.services.payout_accounts import disconnect, refresh_account
from apps.billing.services.payout_sending import apply_bank_payout, apply_transfer


def on_transfer(event: Event) -> None:
    """transfer.reversed, transfer.updated: record how much of one of our transfers came back."""
    transfer = stripe_api.call(lambda api: api.v1.transfers.retrieve(event.object["id"]))
    try:
        apply_transfer(transfer.transfer_group, transfer.id, transfer.amount_reversed, now=event.now)
    except LookupError as error:
        raise Later(str(error)) from error


def on_bank_payout(event: Event) -> None:
    """payout.paid, payout.failed, payout.canceled of a connected account: act on what it is now, where it is ours."""
    payout_id = (event.object.get("metadata") or {}).get("payout_id")
    if event.account is None or not payout_id:
        return
    account = event.account
    found = stripe_api.call(lambda api: api.v1.payouts.retrieve(event.object["id"], None, {"stripe_account": account}))
    try:
        apply_bank_payout(payout_id, account, found.to_dict(), now=event.now)
    except LookupError as error:
        raise Later(str(error)) from error


def on_account(event: Event) -> None:
    """account.updated: note what Stripe still requires of a developer, and whether it pays out."""
    if event.account is not None:
        refresh_account(event.account, now=event.now)


def on_deauthorized(event: Event) -> None:
    """account.application.deauthorized: the developer has disconnected its account from us."""
    if event.account is not None:
        disconnect(event.account, now=event.now)
