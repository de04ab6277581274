"""What developers used in a month, for their plans and for value pricing. Amounts in nano-USD."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Q, Sum

from apps.usage.models import LOCAL_REPORT, UsageEvent
from apps.usage.rate import DEVELOPER_KEY

# One statement for all developers: a range of the index (developer_id, effective_at) each.
_TOKENS = """
SELECT wanted.developer_id,
       COALESCE(SUM(event.tokens) FILTER (WHERE event.effective_at < %(settled)s), 0),
       COALESCE(SUM(event.tokens) FILTER (WHERE event.effective_at >= %(settled)s), 0)
FROM unnest(%(ids)s::text[], %(since)s::timestamptz[]) AS wanted (developer_id, since)
CROSS JOIN LATERAL (
    SELECT effective_at, input_tokens + cache_read_tokens + cache_write_tokens + output_tokens AS tokens
    FROM usage_events
    WHERE developer_id = wanted.developer_id AND effective_at >= wanted.since AND effective_at < %(end)s
          AND charged AND cache IS NULL AND endpoint <> %(reported)s
) event
GROUP BY wanted.developer_id
"""


@dataclass(frozen=True, slots=True)
class TokenSums:
    """Tokens of a developer's calls: of those before a moment, and from then on."""

    before: int
    after: int


def tokens_of_developers(since: Mapping[str, datetime], *, settled: datetime, end: datetime) -> dict[str, TokenSums]:
    """Return the tokens of developers' calls, each counted from its own moment on until `end`, parted at `settled`.

    Input, cached input and output of every route; neither calls that were not charged nor answers from a cache, nor
    what end users report of their own machines, who would say what they like. Who has none is left out.
    """
    if not since:
        return {}
    parameters: dict[str, Any] = {"ids": list(since), "since": list(since.values()), "settled": settled, "end": end}
    parameters["reported"] = LOCAL_REPORT
    with connection.cursor() as cursor:
        cursor.execute(_TOKENS, parameters)
        return {row[0]: TokenSums(int(row[1]), int(row[2])) for row in cursor.fetchall()}


def cost_of_developer(developer_id: str, *, begin: datetime, end: datetime) -> int:
    """Return what a developer's calls of a period cost the developer, in nano-USD.

    What its virtual keys were charged, and what providers bill for keys of its own.
    """
    calls = UsageEvent.objects.filter(developer_id=developer_id, effective_at__gte=begin, effective_at__lt=end)
    found = calls.aggregate(
        charged=Sum("price_nano", filter=Q(end_user_id=None)),
        billed=Sum("provider_bill_nano", filter=Q(route_mode=DEVELOPER_KEY)),
    )
    return int(found["charged"] or 0) + int(found["billed"] or 0)
