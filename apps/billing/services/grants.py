"""Credit that is given: by operators, with a reason, or by a promo code."""

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from apps.billing.models import CreditLot, LotKind
from apps.billing.services.lots import add_lot
from apps.core.errors import BadRequest
from apps.core.ids import new_id
from apps.core.money import MAX_NANO
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import lock_wallets, open_account
from apps.ledger.services.batches import Leg, post

# Owner of the funding account that pays for credit which is given.
PROMOTIONS = "promotions"


def promotions_account(*, now: datetime) -> int:
    """Return the account that pays for what is given and gets back what of it expires."""
    return open_account(kind=AccountKind.FUNDING, owner_id=PROMOTIONS, now=now)


@transaction.atomic
def grant_promo(
    account_id: int,
    amount: int,
    *,
    kind: str = LotKind.PROMO,
    reason: str,
    expires_at: datetime | None = None,
    reference: str = "",
    lot_id: str | None = None,
    now: datetime,
    actor: str,
) -> str:
    """Give credit of `amount` nano-USD to a wallet, as a lot of its own, and return the lot's id.

    `kind` is promo or grant. With a `lot_id` made beforehand, the same call again gives nothing more. Raises BadRequest
    (invalid_amount, reason_required, invalid_expiry), NotFound (account_not_found) and Conflict
    (idempotency_key_reused) where the lot's id was used with other content.
    """
    if not 0 < amount <= MAX_NANO:
        raise BadRequest(_("The amount must be more than 0."), code="invalid_amount", param="amount")
    if not reason.strip():
        raise BadRequest(_("A grant needs a reason."), code="reason_required", param="reason")
    lot_id = lot_id or new_id("lot")
    known = CreditLot.objects.filter(pk=lot_id).exists()
    if not known and expires_at is not None and expires_at <= now:
        raise BadRequest(_("This expiry is in the past."), code="invalid_expiry", param="expires_at")
    origin = promotions_account(now=now)
    lock_wallets([account_id, origin])
    posted = post(
        kind=LotKind(kind).value,
        legs=(Leg(origin, -amount), Leg(account_id, amount)),
        idempotency_key=f"lot:{lot_id}",
        now=now,
        actor=actor,
        memo={"lot_id": lot_id, "reason": reason, "expires_at": expires_at.isoformat() if expires_at else None},
    )
    return add_lot(
        account_id,
        kind=kind,
        amount=amount,
        transaction_id=posted,
        expires_at=expires_at,
        origin_account_id=origin,
        reference=reference,
        lot_id=lot_id,
        now=now,
    )
