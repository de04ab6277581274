"""Measuring plans: the tokens of each developer's month, and the refusal of calls where they are used up.

A limit is soft by what is called between two measurements (PLAN_INTERVAL) and by calls under way. A month is counted
for good up to a few minutes ago, the rest anew each time, and once more as a whole after it is over.
"""

from datetime import date, datetime, timedelta

from django.db import connection, transaction

from apps.billing.models.plans import PlanUse
from apps.billing.months import month_after, month_of, start_of
from apps.billing.services.plans import apply_plan, apply_plans
from apps.developers.queries import developer_ids
from apps.features.entitlements import EVERYBODY, all_entitlements
from apps.features.services.entitlements import Spent, mark_spent
from apps.usage.months import tokens_of_developers

# A call is stored with the moment at which it ended, within SETTLE_TIMEOUT of it: after this long it is there.
SETTLED_AFTER = timedelta(minutes=10)
CLOSED_AFTER = timedelta(hours=1)

_ENSURE = """
INSERT INTO plan_uses (developer_id, month, settled_tokens, counted_until, tokens, measured_at)
SELECT id, %(month)s, 0, %(begin)s, 0, %(now)s FROM unnest(%(ids)s::text[]) AS wanted (id)
ORDER BY id
ON CONFLICT (developer_id, month) DO NOTHING
"""


def measure_plans(*, now: datetime) -> int:
    """Count the month's tokens of all who have a plan, refuse calls where they are used up, and return for how many.

    Limits that were raised, plans that changed and months that begin are followed too.
    """
    apply_plans(now=now)
    close_months(now=now)
    own = {developer_id: plan.tokens_per_month for developer_id, plan in all_entitlements().items()}
    everybody = own.pop(EVERYBODY, None)
    wanted = sorted({*own, *(developer_ids() if everybody is not None else ())})
    if not wanted:
        return 0
    month = month_of(now)
    used = _measure(wanted, month, now=now)
    spent = 0
    for developer_id in wanted:
        limit = own.get(developer_id, everybody)
        tokens = used.get(developer_id, 0)
        reached = limit is not None and tokens >= limit
        if reached and developer_id not in own:
            apply_plan(developer_id, now=now)
        if reached or developer_id in own:
            until = start_of(month_after(month))
            mark_spent(developer_id, Spent(tokens, until) if reached else None, now=now)
        spent += reached
    return spent


def close_months(*, now: datetime) -> int:
    """Count the months that are over once more, as a whole, and return how many those are."""
    month = month_of(now - CLOSED_AFTER)
    open_ones = list(PlanUse.objects.filter(month__lt=month, closed_at=None).order_by("month", "developer_id")[:1_000])
    for row in open_ones:
        begin, end = start_of(row.month), start_of(month_after(row.month))
        found = tokens_of_developers({row.developer_id: begin}, settled=end, end=end).get(row.developer_id)
        tokens = found.before if found is not None else 0
        PlanUse.objects.filter(pk=row.pk, closed_at=None).update(
            settled_tokens=tokens, tokens=tokens, counted_until=end, measured_at=now, closed_at=now
        )
    return len(open_ones)


def tokens_used(developer_id: str, *, now: datetime) -> int:
    """Return the tokens of a developer's present month, counted now."""
    month = month_of(now)
    row = PlanUse.objects.filter(developer_id=developer_id, month=month).first()
    since = start_of(month) if row is None else row.counted_until
    found = tokens_of_developers({developer_id: since}, settled=since, end=start_of(month_after(month)))
    counted = 0 if row is None else row.settled_tokens
    return counted + (found[developer_id].after if developer_id in found else 0)


@transaction.atomic
def _measure(developers: list[str], month: date, *, now: datetime) -> dict[str, int]:
    begin, end = start_of(month), start_of(month_after(month))
    with connection.cursor() as cursor:
        cursor.execute(_ENSURE, {"month": month, "begin": begin, "now": now, "ids": developers})
    # Locked, so that two that measure at once do not both count the same minutes for good.
    uses = PlanUse.objects.select_for_update().filter(month=month, developer_id__in=developers).order_by("developer_id")
    rows = list(uses)
    settled = max(begin, now - SETTLED_AFTER)
    sums = tokens_of_developers({row.developer_id: row.counted_until for row in rows}, settled=settled, end=end)
    changed = []
    for row in rows:
        found = sums.get(row.developer_id)
        if found is None:
            continue
        row.tokens = row.settled_tokens + found.before + found.after
        if row.counted_until < settled:
            row.settled_tokens += found.before
            row.counted_until = settled
        row.measured_at = now
        changed.append(row)
    PlanUse.objects.bulk_update(changed, ["settled_tokens", "counted_until", "tokens", "measured_at"], batch_size=500)
    return {row.developer_id: row.tokens for row in rows}
