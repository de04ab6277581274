"""Money moved by people and rooms: grants, adjustments, transfers, reversals. Amounts are nano-USD."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Required, TypedDict, Unpack

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, Conflict, Forbidden, InsufficientFunds, NotFound
from apps.core.money import MAX_NANO, usd
from apps.ledger.models import AccountKind, LedgerAccount, LedgerTransaction, TransactionKind, Wallet
from apps.ledger.services.accounts import open_account
from apps.ledger.services.batches import Leg, post

# Owners of the funding accounts, which stand for where money comes from.
GRANTS = "grants"
ADJUSTMENTS = "adjustments"


class Particulars(TypedDict, total=False):
    """What every posting says: its key (a replay changes nothing), when and by whom, and the reasons in `memo`.

    `effective_at` is when it happened, by default `now`.
    """

    idempotency_key: Required[str]
    now: Required[datetime]
    actor: Required[str]
    effective_at: datetime | None
    memo: Mapping[str, Any] | None


def top_up(account_id: int, amount: int, *, source: str, **particulars: Unpack[Particulars]) -> int:
    """Credit money that came in through `source` ("stripe", "demo") and return the transaction's id.

    Raises BadRequest, NotFound, and Conflict as `post` does.
    """
    return _fund(account_id, _positive(amount), owner_id=source, kind=TransactionKind.TOP_UP, **particulars)


def grant(account_id: int, amount: int, **particulars: Unpack[Particulars]) -> int:
    """Give prepaid value to an account and return the transaction's id. Raises as `top_up` does."""
    return _fund(account_id, _positive(amount), owner_id=GRANTS, kind=TransactionKind.GRANT, **particulars)


def adjust(account_id: int, amount: int, *, reason: str, **particulars: Unpack[Particulars]) -> int:
    """Correct an account by `amount` (credit +, debit −) and return the transaction's id.

    A debit may take the wallet below zero: a chargeback happens whether or not the money is still there. Raises
    as `top_up` does.
    """
    if amount == 0 or abs(amount) > MAX_NANO:
        raise BadRequest(_("An adjustment is not 0."), code="invalid_amount", param="amount")
    if not reason.strip():
        raise BadRequest(_("An adjustment needs a reason."), code="reason_required", param="reason")
    particulars["memo"] = {**(particulars.get("memo") or {}), "reason": reason}
    return _fund(account_id, amount, owner_id=ADJUSTMENTS, kind=TransactionKind.ADJUSTMENT, **particulars)


def transfer(
    *,
    from_account_id: int,
    to_account_id: int,
    amount: int,
    idempotency_key: str,
    now: datetime,
    actor: str,
    kind: str = TransactionKind.TRANSFER,
    effective_at: datetime | None = None,
    memo: Mapping[str, Any] | None = None,
    require_available: bool = True,
) -> int:
    """Move money between two accounts and return the transaction's id; a replay returns the first one's.

    With `require_available` the payer must have it, open holds and overdraft considered, and not be frozen. Raises
    InsufficientFunds, Forbidden (wallet_frozen), BadRequest, NotFound, and Conflict as `post` does.
    """
    if from_account_id == to_account_id:
        raise BadRequest(_("A transfer needs two accounts."), code="same_account", param="to_account_id")
    return pay(
        from_account_id,
        {to_account_id: _positive(amount)},
        kind=kind,
        require_available=require_available,
        idempotency_key=idempotency_key,
        now=now,
        actor=actor,
        effective_at=effective_at,
        memo=memo,
    )


def pay(
    from_account_id: int,
    parts: Mapping[int, int],
    *,
    kind: str,
    require_available: bool = True,
    **particulars: Unpack[Particulars],
) -> int:
    """Move money from one account to several, by account id, and return the transaction's id, as `transfer` does."""
    amount = sum(_positive(part) for part in parts.values())
    legs = (Leg(from_account_id, -_positive(amount)), *(Leg(account_id, part) for account_id, part in parts.items()))
    with transaction.atomic():
        # The locks before the look: nobody can spend the money between the check and the posting, and a twin
        # of this call that came first has committed and is seen as a replay.
        wallets = _locked_wallets(from_account_id, *parts)
        key = particulars["idempotency_key"]
        replay = LedgerTransaction.objects.filter(idempotency_key=key).exists()
        if require_available and not replay:
            payer = wallets[from_account_id]
            if payer.frozen_at is not None:
                raise Forbidden(_("The wallet is frozen."), code="wallet_frozen")
            available = payer.posted - payer.held + payer.overdraft
            if available < amount:
                raise InsufficientFunds(
                    _("%(amount)s USD is more than the %(amount2)s USD available.")
                    % {"amount": usd(amount), "amount2": usd(available)}
                )
        return post(kind=kind, legs=legs, **particulars)


def reverse(
    transaction_id: int,
    *,
    cause: str,
    now: datetime,
    actor: str,
    effective_at: datetime | None = None,
    memo: Mapping[str, Any] | None = None,
) -> int:
    """Post the mirror image of a transaction, once, and return the reversal's id.

    The same cause again returns the same reversal. Raises NotFound; Conflict (already_reversed) when it was
    reversed for another cause, and (not_reversible) when it is a reversal itself: correct that by an adjustment.
    """
    try:
        original = LedgerTransaction.objects.get(pk=transaction_id)
    except LedgerTransaction.DoesNotExist:
        raise NotFound(
            _("There is no ledger transaction %(transaction_id)s.") % {"transaction_id": transaction_id},
            code="transaction_not_found",
        ) from None
    if original.reverses_id is not None:
        raise Conflict(
            _("Transaction %(transaction_id)s is a reversal.") % {"transaction_id": transaction_id},
            code="not_reversible",
        )
    legs = [Leg(entry.account_id, -entry.amount) for entry in original.entries.order_by("id")]
    key = f"reversal:{transaction_id}:{cause}"
    content = {**(memo or {}), "cause": cause}
    if "request_id" in original.memo:
        content.setdefault("request_id", original.memo["request_id"])

    def attempt() -> int:
        return post(
            kind=TransactionKind.REVERSAL,
            legs=legs,
            idempotency_key=key,
            now=now,
            actor=actor,
            effective_at=effective_at,
            memo=content,
            reverses=transaction_id,
        )

    try:
        with transaction.atomic():
            return attempt()
    except IntegrityError as error:
        other = LedgerTransaction.objects.filter(reverses=transaction_id).first()
        if other is None:
            raise
        if other.idempotency_key != key:
            raise Conflict(
                _("Transaction %(transaction_id)s is reversed already.") % {"transaction_id": transaction_id},
                code="already_reversed",
            ) from error
        return attempt()  # somebody posted this very reversal meanwhile: it is there to be found


def _fund(account_id: int, amount: int, *, owner_id: str, kind: str, **particulars: Unpack[Particulars]) -> int:
    if not LedgerAccount.objects.filter(pk=account_id).exists():
        raise NotFound(
            _("There is no ledger account %(account_id)s.") % {"account_id": account_id}, code="account_not_found"
        )
    with transaction.atomic():
        funding = open_account(kind=AccountKind.FUNDING, owner_id=owner_id, now=particulars["now"])
        return post(kind=kind, legs=(Leg(funding, -amount), Leg(account_id, amount)), **particulars)


def _positive(amount: int) -> int:
    if not 0 < amount <= MAX_NANO:
        raise BadRequest(_("The amount must be more than 0."), code="invalid_amount", param="amount")
    return amount


def _locked_wallets(*account_ids: int) -> dict[int, Wallet]:
    wallets = {
        wallet.pk: wallet
        for wallet in Wallet.objects.select_for_update(of=("self",)).filter(pk__in=account_ids).order_by("pk")
    }
    for account_id in account_ids:
        if account_id not in wallets:
            raise NotFound(
                _("There is no ledger account %(account_id)s.") % {"account_id": account_id}, code="account_not_found"
            )
    return wallets
