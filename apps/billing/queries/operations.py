"""What an operator watches of billing: money in and out by day, what is at risk, what waits. Amounts in nano-USD."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.conf import settings
from django.db import connection

from apps.billing.models.payouts import Payout, PayoutStatus
from apps.billing.models.stripe import StripeEvent

COUNTED = 10_000

# What of it may be asked for apart: whoever may not see a table is not told its sums.
TOP_UPS, PLANS, REFUNDS, PAYOUTS = "top_ups", "plans", "refunds", "payouts"
_FLOWS = {
    TOP_UPS: """SELECT 'top_ups', (paid_at AT TIME ZONE 'UTC')::date, credit_nano + tax_cents * 10000000
        FROM top_ups WHERE paid_at >= %(since)s""",
    PLANS: """SELECT 'plans', (paid_at AT TIME ZONE 'UTC')::date, amount_nano + tax_nano
        FROM subscription_invoices WHERE paid_at >= %(since)s""",
    REFUNDS: """SELECT 'refunds', (created_at AT TIME ZONE 'UTC')::date, (amount_cents + tax_cents) * 10000000
        FROM refunds WHERE created_at >= %(since)s AND status <> 'failed'""",
    PAYOUTS: """SELECT 'payouts', (sent_at AT TIME ZONE 'UTC')::date, amount_nano - returned_nano
        FROM payouts WHERE sent_at >= %(since)s AND status IN ('sent', 'paid')""",
}
_DISPUTES = """
SELECT count(*), coalesce(sum(amount_cents), 0)::bigint * 10000000,
       coalesce(sum(amount_cents) FILTER (WHERE status = 'lost'), 0)::bigint * 10000000, min(evidence_due_at)
FROM disputes WHERE status IN ('inquiry', 'open', 'lost')
"""
_RISKY = """
SELECT count(*), coalesce(max(score), 0) FROM risk_scores r
WHERE score >= %(limit)s AND NOT EXISTS (
    SELECT FROM risk_scores newer
    WHERE newer.subject_kind = r.subject_kind AND newer.subject_id = r.subject_id AND newer.id > r.id)
"""
_INBOX = """
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM stripe_events WHERE next_attempt_at IS NOT NULL LIMIT %(most)s) q),
    (SELECT min(received_at) FROM (
        SELECT received_at FROM stripe_events WHERE next_attempt_at IS NOT NULL LIMIT %(most)s) q),
    (SELECT count(*) FROM (
        SELECT 1 FROM stripe_events WHERE next_attempt_at IS NOT NULL AND last_error <> '' LIMIT %(most)s) q),
    (SELECT count(*) FROM (
        SELECT 1 FROM stripe_events WHERE handled_at IS NULL AND next_attempt_at IS NULL LIMIT %(most)s) q)
"""
_TOP_UPS = """
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM top_ups WHERE next_look_at IS NOT NULL LIMIT %(most)s) q),
    (SELECT count(*) FROM (SELECT 1 FROM top_ups WHERE problem <> '' LIMIT %(most)s) q)
"""
_REFUNDS = "SELECT count(*) FROM (SELECT 1 FROM refunds WHERE next_look_at IS NOT NULL LIMIT %(most)s) q"
_OPEN_PAYOUTS = """
SELECT status, count(*), sum(amount_nano)::bigint FROM payouts
WHERE status IN ('proposed', 'held', 'approved', 'sending', 'sent') GROUP BY status
"""
_RECONCILIATION = """
SELECT status, finished_at, difference_nano - explained_nano,
       (SELECT count(*) FROM reconciliation_items WHERE resolved_at IS NULL)
FROM (SELECT 1) one LEFT JOIN LATERAL (
    SELECT status, finished_at, difference_nano, explained_nano FROM reconciliation_runs
    WHERE kind = 'stripe' AND status <> 'running' ORDER BY started_at DESC LIMIT 1
) last ON true
"""


@dataclass(frozen=True, slots=True)
class Disputes:
    """Disputes that are open or lost and not written off: how many, their sum, of it lost, the next evidence due."""

    count: int
    amount: int
    lost: int
    evidence_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Risky:
    """Those whose latest score is at the limit or above: how many, and the highest."""

    count: int
    highest: int


@dataclass(frozen=True, slots=True)
class Inbox:
    """Events of Stripe that wait, since when; of them failing; and those given up."""

    waiting: int
    since: datetime | None
    failing: int
    given_up: int


@dataclass(frozen=True, slots=True)
class TopUpQueue:
    """Top-ups that wait for Stripe or the payer, and those whose payment differs from what was asked."""

    waiting: int
    problems: int


@dataclass(frozen=True, slots=True)
class RefundQueue:
    """Refunds that are under way."""

    waiting: int


@dataclass(frozen=True, slots=True)
class OpenPayouts:
    """Payouts in a state: how many, and their sum."""

    status: str
    name: str
    count: int
    amount: int


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The last comparison with Stripe (`status` empty where there was none), and how many differences are open."""

    status: str
    finished_at: datetime | None
    unexplained: int
    open: int


@dataclass(frozen=True, slots=True)
class EventInfo:
    """An event of Stripe that was given up."""

    id: str
    type: str
    object_id: str
    received_at: datetime
    attempts: int
    problem: str


def money_by_day(flows: tuple[str, ...], *, begin: date) -> dict[str, dict[date, int]]:
    """Return the sums of these flows by day (UTC), from the day `begin` on; days without any are left out."""
    found: dict[str, dict[date, int]] = {flow: {} for flow in flows}
    if not flows:
        return found
    parts = " UNION ALL ".join(_FLOWS[flow] for flow in flows)
    sql = f"SELECT flow, day, sum(nano)::bigint FROM ({parts}) f (flow, day, nano) GROUP BY flow, day"  # noqa: S608 (ours)
    with connection.cursor() as cursor:
        cursor.execute(sql, {"since": datetime.combine(begin, time(), UTC)})
        for flow, day, nano in cursor.fetchall():
            found[flow][day] = nano
    return found


@dataclass(frozen=True, slots=True)
class Watched:
    """What was asked for of billing; None of the rest."""

    disputes: Disputes | None = None
    risky: Risky | None = None
    inbox: Inbox | None = None
    top_ups: TopUpQueue | None = None
    refunds: RefundQueue | None = None


_WATCHED: dict[str, tuple[str, Any, int]] = {
    "disputes": (_DISPUTES, Disputes, 4),
    "risky": (_RISKY, Risky, 2),
    "inbox": (_INBOX, Inbox, 4),
    "top_ups": (_TOP_UPS, TopUpQueue, 2),
    "refunds": (_REFUNDS, RefundQueue, 1),
}


def watched(*parts: str) -> Watched:
    """Return these parts (names of `Watched`), in one query; queues are counted to COUNTED."""
    if not parts:
        return Watched()
    sql = "SELECT * FROM " + ", ".join(f"({_WATCHED[part][0]}) {part}" for part in parts)  # noqa: S608 (ours)
    row = _row(sql, {"most": COUNTED, "limit": settings.RISK_ALERT_LIMIT})
    found, begin = {}, 0
    for part in parts:
        _, made, width = _WATCHED[part]
        found[part] = made(*row[begin : begin + width])
        begin += width
    return Watched(**found)


def open_payouts() -> dict[str, OpenPayouts]:
    """Return the payouts that are not at an end, by their state."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_PAYOUTS)
        rows = cursor.fetchall()
    return {status: OpenPayouts(status, str(PayoutStatus(status).label), *rest) for status, *rest in rows}


def payouts_to_review(*, limit: int) -> tuple[tuple[str, str, int, datetime], ...]:
    """Return (id, developer id, amount, proposed at) of payouts that wait for approval, the longest first."""
    rows = Payout.objects.filter(status=PayoutStatus.PROPOSED).order_by("id")
    return tuple(rows.values_list("id", "developer_id", "amount_nano", "created_at")[:limit])


def reconciled() -> Reconciled:
    """Return how far our books agree with Stripe's, in one query."""
    status, finished_at, unexplained, open_items = _row(_RECONCILIATION)
    return Reconciled(status or "", finished_at, unexplained or 0, open_items)


def events_given_up(*, limit: int) -> tuple[EventInfo, ...]:
    """Return at most `limit` events that were given up, the latest first."""
    rows = StripeEvent.objects.filter(handled_at=None, next_attempt_at=None).order_by("-received_at")
    names = ("id", "type", "object_id", "received_at", "attempts", "last_error")
    return tuple(EventInfo(*row) for row in rows.values_list(*names)[:limit])


def _row(sql: str, values: Any = None) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        row: tuple[Any, ...] = cursor.fetchone()
    return row
