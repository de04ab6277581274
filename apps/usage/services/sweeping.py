"""Holds whose lease ran out: the process that served them died.

If it had stored the usage event, only the hold is left to shrink. Otherwise the payer is charged nothing; the
provider may have billed us, so the event is written as abandoned, with the worst case of what was asked as its
cost: prudent until it is reconciled with the provider's invoice.

The event comes first and the hold after it, as in settling: whoever writes the one event of a request decides.
"""

import logging
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from apps.features.queries import Terms
from apps.ledger.services.holds import ExpiredHold, expire_hold, expired_holds
from apps.usage.models import Outcome, UsageEvent
from apps.usage.rate import Overheads, Tokens, rate
from apps.usage.services.rating import known_prices, known_terms
from apps.usage.services.settle import CLOSE_USES, KNOWN, METER, SETTLE, Settlement, UsageRecord, settle_parameters

logger = logging.getLogger(__name__)

BATCH = 200
# Calls that ended without an event: their holds were given back, because nobody heard that they had been taken.
ENDED = """
SELECT usage_close_uses(array_agg(request_id)) FROM (
    SELECT DISTINCT u.request_id FROM budget_uses u JOIN holds h ON h.request_id = u.request_id
    WHERE u.closed_at IS NULL AND h.state <> 'open' LIMIT %s
) ended HAVING count(*) > 0
"""


def sweep_holds(*, now: datetime) -> int:
    """Resolve every hold whose lease ended before `now` and return how many there were."""
    total = 0
    while holds := expired_holds(now=now, limit=BATCH):
        done = sum(_resolve(hold, now) for hold in holds)
        total += done
        if len(holds) < BATCH or not done:
            break
    return total


def sweep_uses() -> int:
    """Free what calls reserved of budgets whose holds are gone, and return how many uses there were."""
    total = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(ENDED, [BATCH])
            row = cursor.fetchone()
            if row is None or not row[0]:
                return total
            total += row[0]


def _resolve(hold: ExpiredHold, now: datetime) -> bool:
    """Meter a hold whose call was settled, expire any other; return whether this call did."""
    try:
        record = _abandoned(hold.request_id, hold.account_id, hold.memo, now)
    except (KeyError, TypeError, ValueError):
        # Without its event the cost is unknown; the payer's money is free, and the next hold's turn comes.
        logger.exception("expired hold cannot be reconciled", extra={"request_id": hold.request_id})
        record = None
    with transaction.atomic(), connection.cursor() as cursor:
        if record is not None:
            cursor.execute(SETTLE, settle_parameters([Settlement(record)]))
        outcome = UsageEvent.objects.filter(request_id=hold.request_id).values_list("outcome", flat=True).first()
        settled = outcome is not None and outcome != Outcome.ABANDONED
        if settled:
            cursor.execute(METER, ([hold.request_id],))
            if cursor.fetchone() == (0,):
                return False  # somebody else did, just now
        elif not expire_hold(hold.request_id, now=now):
            transaction.set_rollback(True)  # renewed since we looked: the call lives and writes its event itself
            return False
        else:
            cursor.execute(CLOSE_USES, ([hold.request_id],))
    done = "hold metered late" if settled else "hold expired"
    logger.warning(done, extra={"request_id": hold.request_id, "amount_nano": hold.amount})
    return True


def _abandoned(request_id: str, account_id: int, memo: dict[str, Any], now: datetime) -> UsageRecord:
    price = known_prices({memo["price_version_id"]})[memo["price_version_id"]] if memo["price_version_id"] else None
    terms: Terms = known_terms({memo["terms_id"]})[memo["terms_id"]]
    tokens = Tokens(input=memo["prompt_tokens"], output=memo["output_tokens"])
    charge = rate(
        tokens,
        price,
        terms,
        mode=memo["route_mode"],
        overheads=Overheads(memo["infra_nano"], memo["payment_bps"]),
        charged=False,
    )
    return UsageRecord(
        **{name: memo[name] for name in KNOWN},
        request_id=request_id,
        account_id=account_id,
        outcome=Outcome.ABANDONED.value,
        charged=False,
        finish_reason=None,
        error_code="process_died",
        status=0,
        input_tokens=tokens.input,
        cache_read_tokens=0,
        cache_write_tokens=0,
        output_tokens=tokens.output,
        reasoning_tokens=0,
        estimated=True,
        output_cap=None,
        price_nano=charge.price,
        cost_nano=charge.cost,
        provider_bill_nano=charge.provider_bill,
        attempts=[],
        first_byte_ms=None,
        duration_ms=max(int((now.timestamp() - memo["started_at"]) * 1000), 0),
        effective_at=now.timestamp(),
    )
