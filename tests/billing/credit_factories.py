"""What the tests of credit are made of. Amounts are nano-USD."""

from datetime import datetime
from typing import Any

from django.db import transaction

from apps.billing.models import CreditLot
from apps.billing.services.credits import add_lot, grant_promo
from apps.billing.services.verify import differences
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account
from apps.ledger.services.batches import Leg, post
from apps.ledger.services.transfers import top_up
from tests.ledger.factories import NOW, account
from tests.ledger.factories import assert_proven as assert_ledger_proven

ACTOR = "test"


def paid(account_id: int, amount: int, key: str, *, now: datetime = NOW) -> str:
    """Credit a top-up with its lot, whose reference is `key`, and return the lot's id."""
    with transaction.atomic():
        posted = top_up(account_id, amount, source="stripe", idempotency_key=key, now=now, actor=ACTOR)
        return add_lot(account_id, kind="paid", amount=amount, transaction_id=posted, reference=key, now=now)


def given(account_id: int, amount: int, **particulars: Any) -> str:
    return grant_promo(account_id, amount, **{"reason": "test", "now": NOW, "actor": ACTOR, **particulars})


def spend(account_id: int, amount: int, key: str) -> int:
    """Debit a wallet as rating does, below zero if need be, and return the transaction's id."""
    provider = open_account(kind=AccountKind.PROVIDER_COST, owner_id="openai", now=NOW)
    legs = (Leg(account_id, -amount), Leg(provider, amount))
    return post(kind="usage", legs=legs, idempotency_key=f"usage:{key}", now=NOW, actor=ACTOR)


def remaining(account_id: int) -> dict[str, int]:
    """Return what remains of open lots by their kinds."""
    found: dict[str, int] = {}
    for lot in CreditLot.objects.filter(account_id=account_id, closed_at=None):
        found[lot.kind] = found.get(lot.kind, 0) + lot.remaining_nano
    return found


def assert_drawn(account_id: int) -> None:
    """Assert that the lots of a wallet are what it has, and that nothing else differs either."""
    assert sum(remaining(account_id).values()) == max(balance(account_id).posted, 0)
    assert_proven()


def assert_proven() -> None:
    assert list(differences()) == []
    assert_ledger_proven()


__all__ = ["ACTOR", "NOW", "account", "assert_drawn", "assert_proven", "given", "paid", "remaining", "spend"]
