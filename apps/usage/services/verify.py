"""The proof of usage: every charge is derived again from its event, price version and terms, and compared.

What the charge says must also be what the ledger posted, to whom, and what the hold kept back for it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from django.db import connection

from apps.catalog.queries import Price, load_prices
from apps.features.queries import Terms, load_terms
from apps.ledger.services.verify import Difference
from apps.usage.models import UsageEvent
from apps.usage.rate import Charge
from apps.usage.services import days
from apps.usage.services.rating import charge_for

CHUNK = 2_000
CHARGE_COLUMNS = ("price", "cost", "infra", "payment", "developer", "platform", "loss", "provider_bill")

# Each query returns (row id, what is wrong).
CROSS_CHECKS = {
    "usage_charges": """
        SELECT e.request_id, 'charge names transaction ' || coalesce(c.transaction_id::text, 'none')
               || ' but the ledger posted ' || coalesce(t.id::text, 'none')
        FROM usage_charges c JOIN usage_events e ON e.id = c.event_id
        LEFT JOIN ledger_transactions t ON t.idempotency_key = 'usage:' || e.request_id
        WHERE c.transaction_id IS DISTINCT FROM t.id
        UNION ALL
        SELECT c.event_id::text, 'has no usage event'
        FROM usage_charges c LEFT JOIN usage_events e ON e.id = c.event_id WHERE e.id IS NULL
    """,
    # Who got what of each charge, in the ledger and by the event and its charge.
    "ledger_entries": """
        WITH due AS (
            SELECT c.transaction_id, e.account_id, e.request_id, 'payer' AS who, -c.price_nano AS amount
            FROM usage_charges c JOIN usage_events e ON e.id = c.event_id
            UNION ALL
            SELECT c.transaction_id, a.id, e.request_id, share.kind || ' ' || share.owner_id, share.amount
            FROM usage_charges c JOIN usage_events e ON e.id = c.event_id
            CROSS JOIN LATERAL (VALUES
                ('provider_cost', e.provider, c.cost_nano),
                ('developer', e.developer_id, c.developer_nano),
                ('platform', 'operator', c.platform_nano),
                ('platform_loss', 'operator', -c.loss_nano),
                ('infra_cost', 'operator', c.infra_nano),
                ('payment_cost', 'operator', c.payment_nano)
            ) AS share (kind, owner_id, amount)
            LEFT JOIN ledger_accounts a ON a.kind = share.kind AND a.owner_id = share.owner_id
            WHERE share.amount <> 0
        ), posted AS (
            SELECT l.transaction_id, l.account_id, sum(l.amount) AS amount
            FROM ledger_entries l JOIN usage_charges c ON c.transaction_id = l.transaction_id
            GROUP BY l.transaction_id, l.account_id
        )
        SELECT d.request_id, d.who || ' was posted ' || coalesce(p.amount, 0) || ', by the charge it is ' || d.amount
        FROM due d
        LEFT JOIN posted p ON p.transaction_id = d.transaction_id AND p.account_id = d.account_id
        WHERE coalesce(p.amount, 0) <> d.amount
    """,
    "usage_events": """
        SELECT e.request_id, 'is marked rated but has no charge' FROM usage_events e
        LEFT JOIN usage_charges c ON c.event_id = e.id WHERE e.rated_at IS NOT NULL AND c.event_id IS NULL
        UNION ALL
        SELECT e.request_id, 'has a charge but is not marked rated' FROM usage_events e
        JOIN usage_charges c ON c.event_id = e.id WHERE e.rated_at IS NULL
        UNION ALL
        SELECT e.request_id, 'was set aside by rating: ' || e.rating_error FROM usage_events e
        WHERE e.rating_error IS NOT NULL
        UNION ALL
        SELECT e.request_id, 'was settled at ' || e.price_nano || '/' || e.cost_nano || ', charged '
               || c.price_nano || '/' || c.cost_nano
        FROM usage_events e JOIN usage_charges c ON c.event_id = e.id
        WHERE (e.price_nano, e.cost_nano) <> (c.price_nano, c.cost_nano)
        UNION ALL
        SELECT e.request_id, 'happened at ' || e.effective_at || ', the ledger says ' || t.effective_at
        FROM usage_events e JOIN ledger_transactions t ON t.idempotency_key = 'usage:' || e.request_id
        WHERE t.effective_at <> e.effective_at
        UNION ALL
        -- What was known before the call stands in the memo of its hold.
        SELECT e.request_id, 'is not of the call that was held for: its caller, payer or terms changed'
        FROM usage_events e JOIN holds h ON h.request_id = e.request_id
        WHERE h.account_id <> e.account_id
           OR (h.memo <> '{}' AND (
                h.memo ->> 'app_id', h.memo ->> 'developer_id', h.memo ->> 'end_user_id', h.memo ->> 'feature_key',
                h.memo ->> 'principal_id', h.memo ->> 'requested_model', (h.memo ->> 'terms_id')::bigint
              ) IS DISTINCT FROM (
                e.app_id, e.developer_id, e.end_user_id, e.feature_key, e.principal_id, e.requested_model, e.terms_id
              ))
    """,
    "ledger_transactions": """
        SELECT t.id::text, 'usage transaction ' || t.idempotency_key || ' has no charge' FROM ledger_transactions t
        LEFT JOIN usage_charges c ON c.transaction_id = t.id
        WHERE t.idempotency_key LIKE 'usage:%' AND c.event_id IS NULL
    """,
    "holds": """
        SELECT h.request_id, 'is ' || h.state || ' but its call was '
               || CASE WHEN e.rated_at IS NULL THEN 'not ' ELSE '' END || 'rated'
        FROM holds h JOIN usage_events e ON e.request_id = h.request_id
        WHERE (h.state = 'open' AND e.rated_at IS NOT NULL)
           OR (h.state = 'settled' AND e.rated_at IS NULL)
        UNION ALL
        -- Between the two steps of settling; rating or the sweeper end it, the sweeper as soon as the lease is over.
        SELECT h.request_id, 'is not metered, and its call was settled at ' || e.created_at
        FROM holds h JOIN usage_events e ON e.request_id = h.request_id
        WHERE h.state = 'open' AND h.stage = 'dispatched' AND h.expires_at < now() - interval '10 minutes'
        UNION ALL
        SELECT h.request_id, 'is ' || h.state || ' but its call was ' || e.outcome || ' and costs ' || e.price_nano
        FROM holds h JOIN usage_events e ON e.request_id = h.request_id
        WHERE (h.state = 'voided' AND e.price_nano > 0) OR (h.state = 'expired' AND e.outcome <> 'abandoned')
        UNION ALL
        SELECT h.request_id, 'is ' || h.state || ' and ' || h.stage || ' but there is no usage event'
        FROM holds h LEFT JOIN usage_events e ON e.request_id = h.request_id
        WHERE e.request_id IS NULL AND (h.stage = 'metered' OR h.state = 'settled')
        UNION ALL
        SELECT h.request_id, 'keeps ' || h.amount || ', the price is ' || e.price_nano
        FROM holds h JOIN usage_events e ON e.request_id = h.request_id
        WHERE h.stage = 'metered' AND h.amount > e.price_nano
        UNION ALL
        SELECT h.request_id, 'captured ' || h.captured || ', the charge is ' || c.price_nano
        FROM holds h JOIN usage_events e ON e.request_id = h.request_id JOIN usage_charges c ON c.event_id = e.id
        WHERE h.state = 'settled' AND h.captured <> c.price_nano
        UNION ALL
        -- Which hold of a wallet was altered, the wallet alone cannot say.
        SELECT h.request_id, 'is open for ' || h.amount || ' on wallet ' || h.account_id || ', which is off by '
               || s.total - w.held
        FROM holds h JOIN wallets w ON w.account_id = h.account_id
        JOIN (SELECT account_id, sum(amount) AS total FROM holds WHERE state = 'open' GROUP BY account_id) s
            ON s.account_id = h.account_id
        WHERE h.state = 'open' AND s.total <> w.held
    """,
    "budget_periods": """
        SELECT b.id || ' from ' || (p.period_start AT TIME ZONE 'UTC')::date, 'spent is ' || p.spent_nano
               || ' and reserved ' || p.reserved_nano || ', its uses sum to ' || coalesce(u.spent, 0) || ' and '
               || coalesce(u.reserved, 0)
        FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
        LEFT JOIN (
            SELECT period_id, sum(spent_nano) AS spent, sum(reserved_nano) FILTER (WHERE closed_at IS NULL) AS reserved
            FROM budget_uses GROUP BY period_id
        ) u ON u.period_id = p.id
        WHERE p.spent_nano <> coalesce(u.spent, 0) OR p.reserved_nano <> coalesce(u.reserved, 0)
        UNION ALL
        SELECT b.id || ' from ' || (p.period_start AT TIME ZONE 'UTC')::date,
               'its limit is ' || p.limit_nano || ', the budget ' || b.amount_nano || ' and ' || p.carried_nano
               || ' carried over'
        FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
        WHERE p.period_start = usage_period_start(b.period, now()) AND p.limit_nano <> b.amount_nano + p.carried_nano
    """,
    "budget_uses": """
        SELECT u.request_id, 'is of budget ' || u.budget_id || ' and of a period of '
               || coalesce(p.budget_id, 'none')
        FROM budget_uses u LEFT JOIN budget_periods p ON p.id = u.period_id
        WHERE p.budget_id IS DISTINCT FROM u.budget_id
        UNION ALL
        SELECT u.request_id, 'spent ' || u.spent_nano || ' of budget ' || b.id || ', by its event it is ' || due.nano
        FROM budget_uses u JOIN budgets b ON b.id = u.budget_id
        LEFT JOIN usage_events e ON e.request_id = u.request_id
        CROSS JOIN LATERAL (SELECT coalesce(usage_spent_of(
            b.scope, b.successors || b.scope_id, e.credential_id, e.price_nano, e.cost_nano, e.provider_bill_nano
        ), 0) AS nano) due
        WHERE u.closed_at IS NOT NULL AND u.spent_nano <> due.nano
        UNION ALL
        SELECT u.request_id, 'still reserves of budget ' || u.budget_id || ', its call was rated'
        FROM budget_uses u JOIN usage_events e ON e.request_id = u.request_id
        WHERE u.closed_at IS NULL AND e.rated_at IS NOT NULL
        UNION ALL
        -- The sweeper frees these, too.
        SELECT u.request_id, 'still reserves of budget ' || u.budget_id || ', its hold is '
               || coalesce(h.state, 'missing')
        FROM budget_uses u LEFT JOIN holds h ON h.request_id = u.request_id
        WHERE u.closed_at IS NULL
          AND (h.id IS NULL OR (h.state <> 'open' AND h.resolved_at < now() - interval '10 minutes'))
    """,
}


def differences() -> Iterator[Difference]:
    """Yield every row of usage that does not follow from the others."""
    for table, query in CROSS_CHECKS.items():
        with connection.cursor() as cursor:
            cursor.execute(query)
            for row_id, message in cursor.fetchall():
                yield Difference(table, row_id, message)
    yield from _Derivation().differences()
    yield from days.differences()


class _Derivation:
    """Every event rated again, from prices and terms as they stand now: nothing read earlier is believed."""

    def __init__(self) -> None:
        self.prices: dict[str, Price] = {}
        self.terms: dict[int, Terms] = {}
        # Of each price tier and terms, the events that were rated by it, and those that no longer follow from it.
        self.named: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)

    def differences(self) -> Iterator[Difference]:
        last = 0
        while events := list(UsageEvent.objects.filter(pk__gt=last).select_related("charge").order_by("pk")[:CHUNK]):
            last = events[-1].pk
            self._load(events)
            for event in events:
                yield from self._compare(event)
        for (table, row_id), counted in sorted(self.named.items()):
            if wrong := counted["wrong"]:
                yield Difference(
                    table, row_id, f"{wrong} of the {counted['all']} events rated by it do not follow from it"
                )

    def _load(self, events: list[UsageEvent]) -> None:
        versions = {event.price_version_id for event in events if event.price_version_id} - self.prices.keys()
        self.prices.update(load_prices(versions))
        self.terms.update(load_terms({event.terms_id for event in events} - self.terms.keys()))

    def _compare(self, event: UsageEvent) -> Iterator[Difference]:
        try:
            price = self.prices[event.price_version_id] if event.price_version_id else None
            terms = self.terms[event.terms_id]
        except KeyError as missing:
            yield Difference("usage_events", event.request_id, f"was priced by {missing}, which does not exist")
            return
        try:
            derived = charge_for(event, price, terms)
        except (ValueError, IndexError) as error:
            yield Difference("usage_events", event.request_id, f"cannot be rated again: {error}")
            return
        if wrong := _charge_differs(event, derived):
            yield Difference("usage_charges", event.request_id, wrong)
        billed = event.cost_nano, event.provider_bill_nano
        cost_differs, price_differs = billed != (derived.cost, derived.provider_bill), event.price_nano != derived.price
        if price is not None:
            tier = price.tier(event.input_tokens + event.cache_read_tokens + event.cache_write_tokens)
            self._count("price_tiers", f"{price.version_id} from {tier.from_tokens} tokens", cost_differs)
        # The price follows from the cost, so the terms are under suspicion only where the cost is right.
        self._count("pricing_terms", str(event.terms_id), price_differs and not cost_differs)
        if cost_differs or price_differs:
            yield Difference(
                "usage_events",
                event.request_id,
                f"was settled at {event.price_nano}/{event.cost_nano}/{event.provider_bill_nano} "
                f"(derived {derived.price}/{derived.cost}/{derived.provider_bill})",
            )

    def _count(self, table: str, row_id: str, wrong: bool) -> None:
        counted = self.named[table, row_id]
        counted["all"] += 1
        counted["wrong"] += wrong


def _charge_differs(event: UsageEvent, derived: Charge) -> str:
    charge = getattr(event, "charge", None)
    if charge is None:
        return ""
    stored: Mapping[str, int] = {column: getattr(charge, f"{column}_nano") for column in CHARGE_COLUMNS}
    return ", ".join(
        f"{column} {amount} (derived {getattr(derived, column)})"
        for column, amount in stored.items()
        if amount != getattr(derived, column)
    )
