"""New developers: made with their owner, and given credit to begin with."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from apps.billing.models import CreditLot, LotKind
from apps.billing.services.grants import grant_promo
from apps.core.money import nano_from_usd
from apps.developers.services.developers import create_developer
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account


@transaction.atomic
def start_developer(name: str, email: str, *, owner_user_id: int, now: datetime, actor: str) -> str:
    """Create a developer with its owner and STARTER_CREDIT_USD of prepaid credit, and return its id.

    A person is given that credit once, however many developers they make; it expires after STARTER_CREDIT_DAYS. Raises
    BadRequest (no name) and NotFound (no such user).
    """
    developer_id = create_developer(name, email, owner_user_id=owner_user_id, now=now, actor=actor)
    amount = nano_from_usd(settings.STARTER_CREDIT_USD)
    lot_id = f"lot_starter_{owner_user_id}"
    if amount and not CreditLot.objects.filter(pk=lot_id).exists():
        days = settings.STARTER_CREDIT_DAYS
        grant_promo(
            open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=developer_id, now=now),
            amount,
            kind=LotKind.PROMO,
            reason="starter credit",
            expires_at=now + timedelta(days=days) if days else None,
            reference="starter",
            lot_id=lot_id,
            now=now,
            actor=actor,
        )
    return developer_id
