"""What providers have cost us, by our own meter: for the comparison with their invoices. Amounts in nano-USD."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection

# Calls on others' keys cost us nothing and are not on our invoice.
_COSTS = """
SELECT (effective_at AT TIME ZONE 'UTC')::date, served_model, count(*), sum(cost_nano)::bigint,
       sum(input_tokens + cache_read_tokens + cache_write_tokens + output_tokens)::bigint,
       count(*) FILTER (WHERE outcome = 'abandoned'),
       coalesce(sum(cost_nano) FILTER (WHERE outcome = 'abandoned'), 0)::bigint,
       count(*) FILTER (WHERE estimated AND outcome <> 'abandoned'),
       coalesce(sum(cost_nano) FILTER (WHERE estimated AND outcome <> 'abandoned'), 0)::bigint
FROM usage_events
WHERE provider = %s AND effective_at >= %s AND effective_at < %s AND cost_nano > 0
GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class ProviderCost:
    """What a model cost on a day (UTC), and what of it is not the provider's own count.

    Abandoned calls, whose process died, stand at their worst case; estimated ones at tokens that were counted here.
    """

    day: date
    model: str
    calls: int
    cost: int
    tokens: int
    abandoned_calls: int
    abandoned_cost: int
    estimated_calls: int
    estimated_cost: int


def provider_costs(provider: str, begin: date, end: date) -> tuple[ProviderCost, ...]:
    """Return a provider's costs by day and model, from the day `begin` to the day `end`, both included."""
    since = datetime.combine(begin, time(), UTC)
    until = datetime.combine(end, time(), UTC) + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(_COSTS, [provider, since, until])
        return tuple(ProviderCost(*row) for row in cursor.fetchall())
