"""What the rules of risk judge, measured from rows: for many subjects of one kind at once, each query bounded.

Every part returns values by (subject id, code of the rule) and leaves out what there is too little of to judge.
Windows end at `now`. Percentages are rounded down.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from apps.billing.models.risk import Subject
from apps.core.money import NANO_PER_USD as USD_1
from apps.developers.queries import joined_at
from apps.features.queries import app_developers, end_users_by_id
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_ids
from apps.usage.activity import Pace, Payer, pace_of_end_users, payers_of, price_moves, totals_of

Measures = dict[str, dict[str, int]]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BASELINE = 14 * DAY
# What a last hour must have, and a baseline of how many hours with calls, before a pace is compared.
LEAST_SPEND, LEAST_CALLS, LEAST_HOURS = USD_1, 100, 3
NEW_END_USER, NEW_DEVELOPER = DAY, 14 * DAY
TOP_UPS, REFUNDS, DISPUTES = DAY, 90 * DAY, 180 * DAY
LEAST_PAID, LEAST_DISPUTES = 5, 2
CLIENTS, NETWORKS = 30 * DAY, 7 * DAY
SHARES = 30 * DAY
LEAST_REVENUE, LEAST_FREE = 20 * USD_1, 5 * USD_1
LEAST_SOLD = 20
# Of one app or developer so many end users are looked at, those first who spent most; of one client so many rows.
MOST_PAYERS, MOST_SEEN = 5_000, 500


@dataclass(slots=True)
class Cohort:
    """Subjects of one kind with what belongs to them: apps, accounts, and the end users who pay."""

    kind: str
    ids: list[str]
    apps: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    accounts: list[tuple[str, int]] = field(default_factory=list)
    own_accounts: dict[str, int] = field(default_factory=dict)
    payers: dict[str, list[Payer]] = field(default_factory=lambda: defaultdict(list))


def measure(kind: str, ids: Collection[str], *, now: datetime) -> Measures:
    """Return what was measured of each subject, by id and then by code; `kind` is app, end_user or developer."""
    cohort = _cohort(kind, ids, now)
    measures: Measures = {subject: {} for subject in cohort.ids}
    for part in (_pace, _newness, _payments, _clients, _devices, _shares, _dealing, _prices):
        for (subject, code), value in part(cohort, now).items():
            measures[subject][code] = int(value)
    return measures


Found = dict[tuple[str, str], int]


def _cohort(kind: str, ids: Collection[str], now: datetime) -> Cohort:
    cohort = Cohort(Subject(kind).value, sorted(set(ids)))
    if kind == Subject.END_USER:
        cohort.own_accounts = account_ids(AccountKind.END_USER, cohort.ids)
        cohort.accounts = list(cohort.own_accounts.items())
        return cohort
    wanted = set(cohort.ids)
    for app_id, developer_id in app_developers().items():
        subject = app_id if kind == Subject.APP else developer_id
        if subject in wanted:
            cohort.apps[subject].append(app_id)
    for payer in payers_of(kind, cohort.ids, begin=now - SHARES, end=now, most=MOST_PAYERS):
        cohort.payers[payer.subject_id].append(payer)
        cohort.accounts.append((payer.subject_id, payer.account_id))
    if kind == Subject.DEVELOPER:
        cohort.own_accounts = account_ids(AccountKind.DEVELOPER_CREDIT, cohort.ids)
    return cohort


def _pace(cohort: Cohort, now: datetime) -> Found:
    """Calls and spend of the last hour against a usual one."""
    found: Found = {}
    for subject, pace in _paces(cohort, now).items():
        if pace.hours < LEAST_HOURS:
            continue
        if pace.spend >= LEAST_SPEND:
            found[subject, "spend_pace"] = pace.spend // max(pace.mean_spend, 1)
        if pace.calls >= LEAST_CALLS:
            found[subject, "call_pace"] = pace.calls // max(pace.mean_calls, 1)
    return found


def _paces(cohort: Cohort, now: datetime) -> Mapping[str, Pace]:
    begin, split = now - BASELINE, now - HOUR
    if cohort.kind == Subject.END_USER:
        return pace_of_end_users(cohort.ids, begin=begin, split=split, end=now)
    lately = totals_of(cohort.kind, cohort.ids, begin=split, end=now)
    column = "app_id" if cohort.kind == Subject.APP else "developer_id"
    # Only whole hours before the last one: the hours of apps are summed up as they end.
    rows = _rows(
        f"""
        SELECT subject, count(*), avg(calls)::bigint, avg(spend)::bigint FROM (
            SELECT {column} AS subject, hour, sum(calls) AS calls, sum(spend_nano) AS spend FROM app_hours
            WHERE {column} = ANY(%s) AND hour >= %s AND hour < %s GROUP BY 1, 2
        ) hours GROUP BY 1
        """,  # noqa: S608 (a column of ours)
        [*lately],
        begin,
        split - HOUR,
    )
    return {row[0]: Pace(*lately[row[0]], *row[1:]) for row in rows}


def _newness(cohort: Cohort, now: datetime) -> Found:
    """What was spent by end users in their first day, or with developers in their first two weeks."""
    if cohort.kind == Subject.END_USER:
        users = end_users_by_id(cohort.ids)
        new = [user.id for user in users.values() if user.created_at > now - NEW_END_USER]
        spent = totals_of(cohort.kind, new, begin=now - NEW_END_USER, end=now)
        return {(user, "new_and_spending"): spend for user, (_, spend) in spent.items()}
    if cohort.kind == Subject.DEVELOPER:
        new = [id for id, at in joined_at(cohort.ids).items() if at > now - NEW_DEVELOPER]
        return {(id, "new_and_spending"): cohort.payers[id][0].total for id in new if cohort.payers.get(id)}
    return {}


def _payments(cohort: Cohort, now: datetime) -> Found:
    """Top-ups, failures, refunds and disputes: of end users their own, of others those of the end users who pay."""
    found: Found = {}
    for subject, begun, failed in _rows(
        """
        SELECT a.subject, count(*), count(*) FILTER (WHERE t.status = 'failed')
        FROM unnest(%s::text[], %s::bigint[]) AS a (subject, account)
        JOIN top_ups t ON t.account_id = a.account AND t.created_at >= %s AND t.created_at < %s
        GROUP BY 1
        """,
        *_pairs(cohort.own_accounts.items()),
        now - TOP_UPS,
        now,
    ):
        found[subject, "top_up_burst"] = begun
        found[subject, "card_failures"] = failed
    single = cohort.kind == Subject.END_USER
    for subject, count, paid, refunded in _rows(
        """
        SELECT a.subject, count(*), sum(t.amount_cents)::bigint, sum(t.refunded_cents)::bigint
        FROM unnest(%s::text[], %s::bigint[]) AS a (subject, account)
        JOIN top_ups t ON t.account_id = a.account AND t.paid_at >= %s AND t.paid_at < %s
        GROUP BY 1
        """,
        *_pairs(cohort.accounts),
        now - REFUNDS,
        now,
    ):
        if count >= (2 if single else LEAST_PAID):
            found[subject, "refund_rate"] = refunded * 100 // paid
    for subject, paid, disputed in _rows(
        """
        SELECT a.subject, sum(t.paid)::bigint, sum(d.disputed)::bigint
        FROM unnest(%s::text[], %s::bigint[]) AS a (subject, account)
        CROSS JOIN LATERAL (
            SELECT count(*) AS paid FROM top_ups
            WHERE account_id = a.account AND paid_at >= %s AND paid_at < %s
        ) t
        CROSS JOIN LATERAL (
            SELECT count(*) AS disputed FROM disputes
            WHERE account_id = a.account AND opened_at >= %s AND opened_at < %s
              AND status IN ('open', 'lost', 'written_off')
        ) d GROUP BY 1
        """,
        *_pairs(cohort.accounts),
        *(now - DISPUTES, now) * 2,
    ):
        if single:
            found[subject, "disputes"] = disputed
        elif disputed >= LEAST_DISPUTES:
            found[subject, "dispute_rate"] = min(disputed * 100 // max(paid, 1), 100)
    return found


def _clients(cohort: Cohort, now: datetime) -> Found:
    """How many end users there are behind the busiest client."""
    since = now - CLIENTS
    if cohort.kind == Subject.END_USER:
        rows = _rows(
            """
            SELECT own.end_user_id, max(app.seen), max(every.seen) FILTER (WHERE every.apps > 1)
            FROM fingerprints own
            CROSS JOIN LATERAL (
                SELECT count(*) AS seen FROM (
                    SELECT 1 FROM fingerprints f
                    WHERE f.fingerprint = own.fingerprint AND f.app_id = own.app_id LIMIT %s
                ) one
            ) app
            CROSS JOIN LATERAL (
                SELECT count(*) AS seen, count(DISTINCT app_id) AS apps FROM (
                    SELECT f.app_id FROM fingerprints f WHERE f.fingerprint = own.fingerprint LIMIT %s
                ) all_apps
            ) every
            WHERE own.end_user_id = ANY(%s) AND own.last_seen_at >= %s AND own.first_seen_at < %s GROUP BY 1
            """,
            MOST_SEEN,
            MOST_SEEN,
            cohort.ids,
            since,
            now,
        )
        found: Found = {}
        for user, in_app, everywhere in rows:
            found[user, "shared_fingerprint"] = in_app
            if everywhere is not None:
                found[user, "shared_across_apps"] = everywhere
        return found
    return {
        (subject, "shared_fingerprint"): seen
        for subject, seen in _rows(
            """
            SELECT subject, max(seen) FROM (
                SELECT a.subject, f.fingerprint, count(*) AS seen
                FROM unnest(%s::text[], %s::text[]) AS a (subject, app)
                JOIN fingerprints f ON f.app_id = a.app AND f.last_seen_at >= %s AND f.first_seen_at < %s
                GROUP BY 1, 2
            ) clients GROUP BY 1
            """,
            *_pairs(_apps(cohort)),
            since,
            now,
        )
    }


def _devices(cohort: Cohort, now: datetime) -> Found:
    """How many anonymous devices were first seen on the busiest network."""
    since = now - NETWORKS
    if cohort.kind == Subject.END_USER:
        query = """
        SELECT own.end_user_id, max(network.seen) FROM fingerprints own
        CROSS JOIN LATERAL (
            SELECT count(DISTINCT end_user_id) AS seen FROM (
                SELECT f.end_user_id FROM fingerprints f
                WHERE f.network = own.network AND f.app_id = own.app_id AND f.anonymous
                  AND f.first_seen_at >= %s AND f.first_seen_at < %s LIMIT %s
            ) one
        ) network
        WHERE own.end_user_id = ANY(%s) AND own.anonymous AND own.first_seen_at >= %s GROUP BY 1
        """
        rows = _rows(query, since, now, MOST_SEEN, cohort.ids, since)
    else:
        query = """
        SELECT subject, max(seen) FROM (
            SELECT a.subject, f.network, count(DISTINCT f.end_user_id) AS seen
            FROM unnest(%s::text[], %s::text[]) AS a (subject, app)
            JOIN fingerprints f ON f.app_id = a.app AND f.last_seen_at >= %s
            WHERE f.anonymous AND f.first_seen_at >= %s AND f.first_seen_at < %s
            GROUP BY 1, 2
        ) networks GROUP BY 1
        """
        rows = _rows(query, *_pairs(_apps(cohort)), since, since, now)
    return {(subject, "devices_on_network"): seen for subject, seen in rows if seen}


def _shares(cohort: Cohort, now: datetime) -> Found:
    """How much of what end users spent was free credit: by what was drawn from which lots."""
    if cohort.kind == Subject.END_USER:
        return {}
    found: Found = {}
    for subject, spent, free, given in _rows(
        """
        SELECT a.subject, sum(d.amount_nano)::bigint,
               coalesce(sum(d.amount_nano) FILTER (WHERE l.kind IN ('allowance', 'promo', 'grant')), 0)::bigint,
               coalesce(sum(d.amount_nano) FILTER (WHERE l.kind IN ('promo', 'grant')), 0)::bigint
        FROM unnest(%s::text[], %s::bigint[]) AS a (subject, account)
        JOIN credit_lots l ON l.account_id = a.account
        JOIN lot_draws d ON d.lot_id = l.id AND d.kind = 'spent' AND d.created_at >= %s AND d.created_at < %s
        GROUP BY 1
        """,
        *_pairs(cohort.accounts),
        now - SHARES,
        now,
    ):
        if spent >= LEAST_FREE:
            found[subject, "free_share"] = free * 100 // spent
            found[subject, "promotion_share"] = given * 100 // spent
    return found


def _dealing(cohort: Cohort, now: datetime) -> Found:
    """Whether a developer's revenue comes from few hands, or from its own."""
    if cohort.kind != Subject.DEVELOPER:
        return {}
    payers = {id: rows for id, rows in cohort.payers.items() if rows and rows[0].total >= LEAST_REVENUE}
    clients = _clients_of({payer.end_user_id for rows in payers.values() for payer in rows}, now)
    cards = _cards({*cohort.own_accounts.values(), *(payer.account_id for rows in payers.values() for payer in rows)})
    found: Found = {}
    for subject, rows in payers.items():
        revenue = rows[0].total
        found[subject, "one_payer"] = rows[0].spend * 100 // revenue
        together: dict[str, list[int]] = defaultdict(list)
        for payer in rows:
            for client in clients.get(payer.end_user_id, ()):
                together[client].append(payer.spend)
        shared = max((sum(spent) for spent in together.values() if len(spent) > 1), default=0)
        found[subject, "payers_share_client"] = shared * 100 // revenue
        own = cards.get(cohort.own_accounts.get(subject, 0))
        if own is not None:
            alike = sum(payer.spend for payer in rows if cards.get(payer.account_id) == own)
            found[subject, "own_card"] = alike * 100 // revenue
    return found


def _clients_of(end_user_ids: Collection[str], now: datetime) -> dict[str, list[str]]:
    clients: dict[str, list[str]] = defaultdict(list)
    for user, fingerprint in _rows(
        "SELECT end_user_id, fingerprint FROM fingerprints WHERE end_user_id = ANY(%s) AND last_seen_at >= %s",
        [*end_user_ids],
        now - CLIENTS,
    ):
        clients[user].append(fingerprint)
    return clients


def _cards(accounts: Collection[int]) -> dict[int, str]:
    """Return Stripe's mark of each account's saved card: the same for the same card, whoever saved it."""
    rows = _rows(
        "SELECT account_id, card_fingerprint FROM billing_customers"
        " WHERE account_id = ANY(%s) AND card_fingerprint <> ''",
        [*accounts],
    )
    return dict(rows)


def _prices(cohort: Cohort, now: datetime) -> Found:
    """How many times as much calls cost as the days before."""
    if cohort.kind == Subject.END_USER:
        return {}
    moves = price_moves(cohort.kind, cohort.ids, begin=now - BASELINE, split=now - DAY, end=now)
    return {
        (subject, "price_jump"): move.price // max(move.expected, 1)
        for subject, move in moves.items()
        if move.calls >= LEAST_SOLD and move.price >= LEAST_SPEND
    }


def _apps(cohort: Cohort) -> list[tuple[str, str]]:
    return [(subject, app_id) for subject, apps in cohort.apps.items() for app_id in apps]


def _pairs(pairs: Iterable[tuple[str, Any]]) -> tuple[list[str], list[Any]]:
    known = list(pairs)
    return [pair[0] for pair in known], [pair[1] for pair in known]


def _rows(query: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows
