"""What a payout posts to the ledger. Each function may be called again: the keys are the payout's."""

from datetime import datetime

from apps.billing.models.payouts import Payout
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import lock_wallets, open_accounts
from apps.ledger.services.batches import Leg, post
from apps.ledger.services.transfers import reverse


def lock_accounts(row: Payout, *, now: datetime) -> int:
    """Lock the wallets that a payout moves, before the payout itself, and return the developer's balance."""
    accounts = _accounts(row, now)
    return lock_wallets(accounts.values())[accounts[AccountKind.DEVELOPER, row.developer_id]].posted


def post_approval(row: Payout, *, now: datetime, actor: str) -> int:
    """Set a payout's amount aside: off the developer's balance, on to the payouts under way."""
    accounts = _accounts(row, now)
    return post(
        kind="payout",
        legs=(
            Leg(accounts[AccountKind.DEVELOPER, row.developer_id], -row.amount_nano),
            Leg(accounts[AccountKind.PAYOUT, row.developer_id], row.amount_nano),
        ),
        idempotency_key=f"payout:{row.pk}",
        now=now,
        actor=actor,
        memo={"payout_id": row.pk},
    )


def post_sent(row: Payout, *, now: datetime, actor: str) -> int:
    """Post that a payout's amount has left through its rail."""
    accounts = _accounts(row, now)
    return post(
        kind="payout_sent",
        legs=(
            Leg(accounts[AccountKind.PAYOUT, row.developer_id], -row.amount_nano),
            Leg(accounts[AccountKind.FUNDING, row.rail], row.amount_nano),
        ),
        idempotency_key=f"payout_sent:{row.pk}",
        now=now,
        actor=actor,
        memo={"payout_id": row.pk},
    )


def post_return(row: Payout, returned: int, *, cause: str, now: datetime, actor: str) -> None:
    """Give back what came back of a payout, `returned` nano-USD in all; the row still says how much was known before.

    The whole of it at once reverses what was posted; parts are postings of their own.
    """
    if row.payout_transaction_id is None or returned <= row.returned_nano:
        return
    if returned == row.amount_nano and row.returned_nano == 0:
        for transaction_id in (row.sent_transaction_id, row.payout_transaction_id):
            if transaction_id is not None:
                reverse(transaction_id, cause=cause, now=now, actor=actor, memo={"payout_id": row.pk})
        return
    accounts = _accounts(row, now)
    part = returned - row.returned_nano
    post(
        kind="payout_returned",
        legs=(
            Leg(accounts[AccountKind.FUNDING, row.rail], -part),
            Leg(accounts[AccountKind.DEVELOPER, row.developer_id], part),
        ),
        idempotency_key=f"payout_returned:{row.pk}:{returned}",
        now=now,
        actor=actor,
        memo={"payout_id": row.pk, "cause": cause},
    )


def _accounts(row: Payout, now: datetime) -> dict[tuple[str, str], int]:
    return open_accounts(
        [
            (AccountKind.DEVELOPER, row.developer_id),
            (AccountKind.PAYOUT, row.developer_id),
            (AccountKind.FUNDING, row.rail),
        ],
        now=now,
    )
