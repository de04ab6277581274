"""What of a developer's revenue has matured: from daily totals, not from its account's entries. Amounts in nano-USD."""

from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from apps.billing.services.payout_terms import PayoutTerms
from apps.ledger.models import AccountKind
from apps.ledger.queries import KindTotals, Maturity, account_id, maturity

# Kinds of postings whose credits to a developer mature by days. Everything else counts at once: corrections, what comes
# back of a payout or of a claw-back.
KINDS = ("fee", "usage")
OTHER = "other"
NOTHING = Maturity(0, 0, 0, 0, (), ())

# One statement, so one snapshot: rating moves the wallet and the days in one transaction.
_DAYS = """
SELECT w.posted, d.kind, d.day, d.share
FROM ledger_accounts a
JOIN wallets w ON w.account_id = a.id
LEFT JOIN (
    SELECT 'usage' AS kind, CASE WHEN day >= %(recent)s THEN day END AS day, sum(developer_nano)::bigint AS share
    FROM usage_days WHERE developer_id = %(developer)s
    GROUP BY 1, 2
    UNION ALL
    SELECT 'fee', CASE WHEN c.created_at >= %(recent_at)s THEN (c.created_at AT TIME ZONE 'UTC')::date END,
           sum(c.developer_nano)::bigint
    FROM fee_charges c JOIN fee_subscriptions s ON s.id = c.subscription_id
    WHERE s.developer_id = %(developer)s
    GROUP BY 1, 2
) d ON d.share <> 0
WHERE a.kind = 'developer' AND a.owner_id = %(developer)s AND a.currency = 'USD'
"""


def matured(developer_id: str, terms: PayoutTerms, *, now: datetime) -> Maturity:
    """Return what has matured, from the daily totals of usage and the charges of fees.

    `kinds` are usage, fee and `other`, which is what the balance is beside them: its credits less its debits.
    """
    recent_at, cutoff = terms.reserve_from(now), terms.cutoff(now).date()
    values: dict[str, Any] = {"developer": developer_id, "recent_at": recent_at, "recent": recent_at.date()}
    with connection.cursor() as cursor:
        cursor.execute(_DAYS, values)
        rows: list[tuple[int, str | None, date | None, int]] = cursor.fetchall()
    if not rows:
        return NOTHING
    posted, recent = rows[0][0], 0
    ripe, days = dict.fromkeys(KINDS, 0), {kind: dict[date, int]() for kind in KINDS}
    for _, kind, day, share in rows:
        if kind is None:
            continue  # neither usage nor fees
        if day is not None and day >= cutoff:
            days[kind][day + timedelta(days=terms.hold_days + 1)] = share
            continue
        ripe[kind] += share
        recent += share if day is not None else 0
    unripe = {kind: sum(found.values()) for kind, found in days.items()}
    immature = sum(unripe.values())
    other = posted - immature - sum(ripe.values())
    lines = [KindTotals(kind, ripe[kind], unripe[kind], 0) for kind in KINDS if ripe[kind] or unripe[kind]]
    if other:
        lines.append(KindTotals(OTHER, max(other, 0), 0, min(other, 0)))
    return Maturity(
        balance=posted,
        matured=posted - immature,
        immature=immature,
        recent=recent,
        maturing=tuple(
            (day, sum(found.get(day, 0) for found in days.values())) for day in sorted({*days["fee"], *days["usage"]})
        ),
        kinds=tuple(lines),
    )


def matured_by_entries(developer_id: str, terms: PayoutTerms, *, now: datetime) -> Maturity:
    """Return the same from a look at every entry, with each kind of posting by itself: seconds, for a million calls."""
    account = account_id(AccountKind.DEVELOPER, developer_id)
    if account is None:
        return NOTHING
    return maturity(
        account,
        kinds=KINDS,
        cutoff=terms.cutoff(now).date(),
        recent_from=terms.reserve_from(now).date(),
        hold_days=terms.hold_days,
    )
