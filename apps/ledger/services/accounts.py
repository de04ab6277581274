"""Accounts and the switches on their wallets."""

from collections.abc import Collection
from datetime import datetime

from django.db import connection, transaction
from django.utils.translation import gettext

from apps.core.errors import BadRequest, NotFound
from apps.core.money import MAX_NANO
from apps.developers.services import audit
from apps.ledger.models import AccountKind, LedgerAccount, Wallet
from apps.ledger.queries import Balance

_OPEN = """
WITH new_accounts AS (
    INSERT INTO ledger_accounts (kind, owner_id, currency, created_at)
    SELECT kind, owner_id, 'USD', %s FROM unnest(%s::text[], %s::text[]) AS t (kind, owner_id)
    ORDER BY kind, owner_id
    ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO wallets (account_id) SELECT id FROM new_accounts
"""


def open_account(*, kind: str, owner_id: str, now: datetime) -> int:
    """Return the id of the owner's account, opened with an empty wallet if there is none yet.

    Any number of callers may open the same account at once. An id is good only once the surrounding transaction
    has committed: do not keep it across a rollback.
    """
    return open_accounts([(kind, owner_id)], now=now)[kind, owner_id]


def open_accounts(owners: Collection[tuple[str, str]], *, now: datetime) -> dict[tuple[str, str], int]:
    """Return account ids by (kind, owner id), opening those that do not exist. Raises ValueError on unknown kinds."""
    wanted = {(AccountKind(kind).value, owner_id) for kind, owner_id in owners}
    known = _account_ids(wanted)
    if missing := sorted(wanted - known.keys()):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_OPEN, [now, [kind for kind, _ in missing], [owner_id for _, owner_id in missing]])
        known |= _account_ids(set(missing))
    return known


def _account_ids(owners: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    rows = LedgerAccount.objects.filter(
        kind__in={kind for kind, _ in owners}, owner_id__in={owner_id for _, owner_id in owners}, currency="USD"
    ).values_list("kind", "owner_id", "pk")
    return {(kind, owner_id): pk for kind, owner_id, pk in rows if (kind, owner_id) in owners}


def lock_wallets(account_ids: Collection[int]) -> dict[int, Balance]:
    """Lock wallets in the order of their accounts and return their balances, which stay until the transaction ends.

    Name all that the transaction will post to at once: locks are in order within a call, not across calls. Raises
    NotFound.
    """
    wallets = Wallet.objects.select_for_update(of=("self",)).filter(pk__in=account_ids).order_by("pk")
    locked = {
        wallet.pk: Balance(wallet.posted, wallet.held, wallet.overdraft, wallet.frozen_at is not None)
        for wallet in wallets
    }
    for account_id in account_ids:
        if account_id not in locked:
            raise NotFound(
                gettext("There is no ledger account %(account_id)s.") % {"account_id": account_id},
                code="account_not_found",
            )
    return locked


def freeze_wallet(account_id: int, *, now: datetime, actor: str, reason: str = "") -> bool:
    """Refuse new holds on an account from now on and return whether that is news; what is open still settles.

    Raises NotFound.
    """
    with transaction.atomic():
        wallet = _locked(account_id)
        if wallet.frozen_at is not None:
            return False
        Wallet.objects.filter(pk=account_id).update(frozen_at=now)
        audit.record("wallet.freeze", "wallet", account_id, actor=actor, now=now, detail={"reason": reason})
    return True


def unfreeze_wallet(account_id: int, *, now: datetime, actor: str, reason: str = "") -> bool:
    """Allow holds on an account again and return whether that is news. Raises NotFound."""
    with transaction.atomic():
        wallet = _locked(account_id)
        if wallet.frozen_at is None:
            return False
        Wallet.objects.filter(pk=account_id).update(frozen_at=None)
        audit.record("wallet.unfreeze", "wallet", account_id, actor=actor, now=now, detail={"reason": reason})
    return True


def set_overdraft(account_id: int, overdraft: int, *, now: datetime, actor: str) -> None:
    """Let an account go `overdraft` nano-USD below zero; 0 is none. Raises BadRequest and NotFound."""
    if not 0 <= overdraft <= MAX_NANO:
        raise BadRequest(gettext("An overdraft is 0 or more."), code="invalid_amount", param="overdraft")
    with transaction.atomic():
        wallet = _locked(account_id)
        if wallet.overdraft == overdraft:
            return
        Wallet.objects.filter(pk=account_id).update(overdraft=overdraft)
        audit.record(
            "wallet.set_overdraft",
            "wallet",
            account_id,
            actor=actor,
            now=now,
            detail={"from": wallet.overdraft, "to": overdraft},
        )


def _locked(account_id: int) -> Wallet:
    try:
        return Wallet.objects.select_for_update(of=("self",)).get(pk=account_id)
    except Wallet.DoesNotExist:
        raise NotFound(
            gettext("There is no ledger account %(account_id)s.") % {"account_id": account_id}, code="account_not_found"
        ) from None
