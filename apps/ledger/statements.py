"""The ledger's statements of the hot path, built and read without I/O; the caller brings the connection.

One JSON parameter carries a batch: encoding it costs a microsecond an item, adapting six arrays a dozen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

TAKE_HOLDS = """
SELECT taken.request_id, taken.granted, taken.available, taken.outcome
FROM (
    SELECT array_agg(request_id) AS request_ids, array_agg(account_id) AS account_ids, array_agg(amount) AS amounts,
           array_agg(minimum) AS minima, array_agg(now() + make_interval(secs => lease)) AS expires,
           array_agg(memo) AS memos
    FROM json_to_recordset(%s::json) AS h (
        request_id text, account_id bigint, amount bigint, minimum bigint, lease double precision, memo jsonb
    )
) batch, ledger_take_holds(request_ids, account_ids, amounts, minima, expires, memos) AS taken
"""
RENEW_HOLDS = "SELECT request_id FROM ledger_renew_holds(%s::text[], now() + make_interval(secs => %s))"
VOID_HOLDS = "SELECT request_id FROM ledger_void_holds(%s::text[])"

_encode = msgspec.json.Encoder().encode


class HoldRequest(msgspec.Struct, frozen=True):
    """A hold to take: `amount` nano-USD, or at least `minimum` if the funds do not reach; `lease` in seconds.

    `memo` is the owner's own note, which the sweeper gets back if the process dies.
    """

    request_id: str
    account_id: int
    amount: int
    minimum: int
    lease: float
    memo: Mapping[str, Any]


class HoldResult(msgspec.Struct, frozen=True):
    """What became of a request for a hold: granted, insufficient, frozen, duplicate or no_account.

    `granted` is the amount held and `available` what the account could have spent before, in nano-USD.
    """

    outcome: str
    granted: int
    available: int
    taken: bool


def take_parameters(requests: Sequence[HoldRequest]) -> tuple[str]:
    """Return the parameters of TAKE_HOLDS for a batch."""
    return (_encode(requests).decode(),)


def hold_results(requests: Sequence[HoldRequest], rows: Sequence[tuple[str, int, int, str]]) -> list[HoldResult]:
    """Return the result of each request, in their order."""
    by_request = {row[0]: row for row in rows}
    results = []
    for request in requests:
        _, granted, available, outcome = by_request[request.request_id]
        # A duplicate that still keeps its amount is our own, taken by a batch whose acknowledgement was lost.
        own = outcome == "duplicate" and (granted > 0 or request.amount == 0)
        results.append(HoldResult(outcome, granted, available, outcome == "granted" or own))
    return results
