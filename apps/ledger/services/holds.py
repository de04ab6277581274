"""Holds whose lease ran out. The rest of a hold's life is SQL that a group committer calls: `statements.py`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.ledger.models import Hold, HoldStage


@dataclass(frozen=True, slots=True)
class ExpiredHold:
    """An open hold, in nano-USD, whose lease ran out before its request was metered."""

    request_id: str
    account_id: int
    amount: int
    memo: dict[str, Any]
    expires_at: datetime


def expired_holds(*, now: datetime, limit: int) -> list[ExpiredHold]:
    """Return at most `limit` holds whose lease ran out, oldest first.

    Nothing is claimed here: a wallet is locked before its holds, never after, and `expire_hold` decides which of
    several sweepers expires one.
    """
    rows = Hold.objects.filter(resolved_at=None, stage=HoldStage.DISPATCHED, expires_at__lte=now)
    return [
        ExpiredHold(row.request_id, row.account_id, row.amount, row.memo, row.expires_at)
        for row in rows.order_by("expires_at")[:limit]
    ]


def expire_hold(request_id: str, *, now: datetime) -> bool:
    """Expire a hold and return True if this call did: not if it was renewed, metered or resolved meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT request_id FROM ledger_expire_holds(%s::text[], %s)", [[request_id], now])
        return cursor.fetchone() is not None
