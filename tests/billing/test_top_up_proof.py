"""verify_ledger names the rows of top-ups, refunds and disputes that do not follow from the ledger."""

from typing import Any

import pytest
from django.db import connection

from apps.billing.services.refunds import refund_top_up
from apps.billing.services.verify import differences
from apps.core.clock import now
from tests.billing.conftest import Deliver
from tests.billing.top_up_factories import ACTOR, Payer, charge_of, make_payer
from tests.fakestripe import FakeStripe

TAMPERED = [
    ("top_ups", "UPDATE top_ups SET transaction_id = 999999 WHERE refunded_cents > 0"),
    ("top_ups", "UPDATE top_ups SET status = 'failed', transaction_id = NULL, paid_at = NULL, refunded_cents = 0"),
    ("top_ups", "UPDATE top_ups SET refunded_cents = refunded_cents + 1 WHERE refunded_cents > 0"),
    ("top_ups", "UPDATE top_ups SET amount_cents = amount_cents + 1, credit_nano = credit_nano + 10000000"),
    ("refunds", "UPDATE refunds SET amount_cents = amount_cents + 1"),
    ("refunds", "UPDATE refunds SET status = 'failed', reversal_id = 999999"),
    ("disputes", "UPDATE disputes SET credit_cents = credit_cents - 1, amount_cents = amount_cents - 1"),
    ("disputes", "UPDATE disputes SET status = 'closed', transaction_id = NULL"),
    ("disputes", "UPDATE disputes SET clawed_back_nano = 5, clawback_id = 5"),
]


@pytest.fixture
def payer(transactional_db: None, fakestripe: FakeStripe, deliver: Deliver) -> Payer:
    found = make_payer(fakestripe)
    particulars: dict[str, Any] = {"source": "operator", "reason": "x", "idempotency_key": "k", "now": now()}
    refund_top_up(found.bought(deliver).id, amount_cents=300, actor=ACTOR, **particulars)
    fakestripe.open_dispute(charge_of(found.bought(deliver)))
    deliver()
    return found


@pytest.mark.parametrize(("table", "tampering"), TAMPERED)
def test_tampering_is_named(payer: Payer, table: str, tampering: str) -> None:
    assert list(differences()) == []
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE top_ups DISABLE TRIGGER top_ups_guard")
        try:
            cursor.execute(tampering)
        finally:
            cursor.execute("ALTER TABLE top_ups ENABLE TRIGGER top_ups_guard")
    assert table in {difference.table for difference in differences()}
