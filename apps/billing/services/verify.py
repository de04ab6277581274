"""The proof of billing: rows that do not follow from the others, each named."""

from collections.abc import Iterator

from django.db import connection

from apps.ledger.services.verify import Difference

# Each query returns (row id, what is wrong), by table; a topic adds its own.
CROSS_CHECKS: dict[str, str] = {
    "balance_transactions": """
        SELECT b.id, 'is ' || b.amount_cents || ' cents, transaction ' || b.transaction_id || ' posted '
               || coalesce(-e.total, 0) || ' nano-USD'
        FROM balance_transactions b
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS total FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = b.transaction_id AND a.kind = 'funding' AND a.owner_id = 'stripe'
        ) e ON true
        WHERE b.transaction_id IS NOT NULL AND e.total IS DISTINCT FROM -b.amount_cents * 10000000
        UNION ALL
        SELECT b.id, 'has a fee of ' || b.fee_cents || ' cents, transaction ' || b.fee_transaction_id
               || ' posted ' || coalesce(e.total, 0) || ' nano-USD'
        FROM balance_transactions b
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS total FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = b.fee_transaction_id AND a.kind = 'funding' AND a.owner_id = 'stripe'
        ) e ON true
        WHERE b.fee_transaction_id IS NOT NULL
          AND e.total NOT IN (b.fee_cents * 10000000, -b.net_cents * 10000000)
           OR b.fee_transaction_id IS NOT NULL AND e.total IS NULL
    """,
    "top_ups": """
        SELECT p.id, 'is ' || p.credit_nano || ' and ' || p.tax_cents || ' cents of tax, transaction '
               || p.transaction_id || ' credited ' || coalesce(e.credit, 0) || ' and took in '
               || coalesce(-e.funding, 0)
        FROM top_ups p
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) FILTER (WHERE e.account_id = p.account_id) AS credit,
                   sum(e.amount) FILTER (WHERE a.kind = 'funding' AND a.owner_id = 'stripe') AS funding
            FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = p.transaction_id
        ) e ON true
        WHERE p.transaction_id IS NOT NULL
          AND (e.credit IS DISTINCT FROM p.credit_nano
               OR e.funding IS DISTINCT FROM -(p.credit_nano + p.tax_cents * 10000000))
        UNION ALL
        SELECT p.id, 'is ' || p.status || ' with transaction ' || coalesce(p.transaction_id::text, 'none')
               || ', the ledger has ' || coalesce(l.id::text, 'none')
        FROM top_ups p LEFT JOIN ledger_transactions l ON l.idempotency_key = 'top_up:' || p.id
        WHERE l.id IS DISTINCT FROM p.transaction_id
        UNION ALL
        SELECT p.id, 'counts ' || p.refunded_cents || ' cents refunded, its refunds sum to ' || coalesce(r.total, 0)
        FROM top_ups p
        LEFT JOIN (
            SELECT top_up_id, sum(amount_cents) AS total, sum(tax_cents) AS tax FROM refunds
            WHERE status <> 'failed' GROUP BY top_up_id
        ) r ON r.top_up_id = p.id
        WHERE p.refunded_cents <> coalesce(r.total, 0) OR p.refunded_tax_cents <> coalesce(r.tax, 0)
    """,
    "refunds": """
        SELECT r.id, 'is ' || r.amount_cents || ' cents, transaction ' || r.transaction_id || ' debited its wallet by '
               || coalesce(-e.total, 0)
        FROM refunds r
        LEFT JOIN LATERAL (
            SELECT sum(x.amount) AS total FROM ledger_entries x
            WHERE x.transaction_id = r.transaction_id AND x.account_id = r.account_id
        ) e ON true
        WHERE coalesce(-e.total, 0) <> r.amount_cents * 10000000
        UNION ALL
        SELECT r.id, 'is ' || r.status || ', transaction ' || r.transaction_id || ' was reversed by '
               || coalesce(l.id::text, 'none')
        FROM refunds r LEFT JOIN ledger_transactions l ON l.reverses = r.transaction_id
        WHERE l.id IS DISTINCT FROM r.reversal_id
    """,
    "disputes": """
        SELECT d.id, 'is ' || d.status || ' with ' || d.credit_cents || ' cents, transaction '
               || coalesce(l.id::text, 'none') || ' debited its wallet by ' || coalesce(-e.total, 0)
        FROM disputes d
        LEFT JOIN ledger_transactions l ON l.idempotency_key = 'dispute:' || d.stripe_dispute_id
        LEFT JOIN LATERAL (
            SELECT sum(x.amount) AS total FROM ledger_entries x
            WHERE x.transaction_id = l.id AND x.account_id = d.account_id
        ) e ON true
        WHERE l.id IS DISTINCT FROM d.transaction_id
           OR (l.id IS NOT NULL AND coalesce(-e.total, 0) <> d.credit_cents * 10000000)
        UNION ALL
        SELECT d.id, 'clawed back ' || d.clawed_back_nano || ', its calls sum to ' || coalesce(sum(c.amount_nano), 0)
        FROM disputes d LEFT JOIN dispute_clawbacks c ON c.dispute_id = d.id
        GROUP BY d.id HAVING d.clawed_back_nano <> coalesce(sum(c.amount_nano), 0)
    """,
    "credit_lots": """
        SELECT l.id, 'is ' || l.amount_nano || ', what remains is ' || l.remaining_nano || ' and its draws sum to '
               || coalesce(d.total, 0)
        FROM credit_lots l
        LEFT JOIN (SELECT lot_id, sum(amount_nano) AS total FROM lot_draws GROUP BY lot_id) d ON d.lot_id = l.id
        WHERE l.amount_nano <> l.remaining_nano + coalesce(d.total, 0)
        UNION ALL
        SELECT l.id, 'is ' || l.amount_nano || ', transaction ' || l.transaction_id || ' credited its wallet with '
               || coalesce(e.total, 0)
        FROM credit_lots l
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS total FROM ledger_entries e
            WHERE e.transaction_id = l.transaction_id AND e.account_id = l.account_id
        ) e ON true
        WHERE l.transaction_id IS NOT NULL AND l.amount_nano IS DISTINCT FROM e.total
        UNION ALL
        SELECT l.id, 'is on account ' || l.account_id || ', which does not exist'
        FROM credit_lots l LEFT JOIN wallets w ON w.account_id = l.account_id WHERE w.account_id IS NULL
    """,
    "lot_draws": """
        SELECT d.lot_id, d.kind || ' took ' || d.total || ' by transaction ' || d.transaction_id
               || ', which debited its wallet by ' || coalesce(-e.total, 0)
        FROM (
            SELECT lot_id, kind, transaction_id, sum(amount_nano) AS total FROM lot_draws
            WHERE kind = 'expired' GROUP BY lot_id, kind, transaction_id
        ) d
        JOIN credit_lots l ON l.id = d.lot_id
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS total FROM ledger_entries e
            WHERE e.transaction_id = d.transaction_id AND e.account_id = l.account_id
        ) e ON true
        WHERE d.total IS DISTINCT FROM -e.total
    """,
    "fee_charges": """
        SELECT c.id, 'is ' || c.amount_nano || ', transaction ' || c.transaction_id || ' took '
               || coalesce(-e.taken, 0) || ' for ' || coalesce(t.idempotency_key, 'nothing')
        FROM fee_charges c
        JOIN fee_subscriptions s ON s.id = c.subscription_id
        LEFT JOIN ledger_transactions t ON t.id = c.transaction_id
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) FILTER (WHERE a.kind = 'end_user' AND a.owner_id = s.end_user_id) AS taken,
                   coalesce(sum(e.amount) FILTER (WHERE a.kind = 'developer' AND a.owner_id = s.developer_id), 0)
                   AS share
            FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = c.transaction_id
        ) e ON true
        WHERE e.taken IS DISTINCT FROM -c.amount_nano OR e.share IS DISTINCT FROM c.developer_nano
           OR t.idempotency_key IS DISTINCT FROM 'fee:' || c.subscription_id || ':' || c.period
    """,
    "subscription_invoices": """
        SELECT i.id, 'is ' || i.amount_nano || ' and ' || i.tax_nano || ' of tax, transaction ' || i.transaction_id
               || ' took in ' || coalesce(-e.total, 0) || ' for ' || coalesce(t.idempotency_key, 'nothing')
        FROM subscription_invoices i
        LEFT JOIN ledger_transactions t ON t.id = i.transaction_id
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS total FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = i.transaction_id AND a.kind = 'funding' AND a.owner_id = 'stripe'
        ) e ON true
        WHERE i.transaction_id IS NOT NULL
          AND (e.total IS DISTINCT FROM -(i.amount_nano + i.tax_nano)
               OR t.idempotency_key IS DISTINCT FROM 'invoice:' || i.id)
    """,
    "invoice_returns": """
        SELECT r.id, 'is ' || r.status || ' with ' || r.amount_nano || ' and ' || r.tax_nano || ' of tax, transaction '
               || coalesce(t.id::text, 'none') || ' gave back ' || coalesce(e.total, 0) || ' and was reversed by '
               || coalesce(b.id::text, 'none')
        FROM invoice_returns r
        LEFT JOIN ledger_transactions t ON t.idempotency_key = 'invoice_' || r.kind || ':' || r.id
        LEFT JOIN ledger_transactions b ON b.reverses = t.id
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS total FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = t.id AND a.kind = 'funding' AND a.owner_id = 'stripe'
        ) e ON true
        WHERE t.id IS DISTINCT FROM r.transaction_id OR b.id IS DISTINCT FROM r.reversal_id
           OR (t.id IS NOT NULL AND e.total IS DISTINCT FROM r.amount_nano + r.tax_nano)
    """,
    "value_bills": """
        SELECT b.id, 'is ' || b.fee_nano || ', transaction ' || b.transaction_id || ' took ' || coalesce(-e.total, 0)
        FROM value_bills b
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS total FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = b.transaction_id AND a.kind = 'developer_credit' AND a.owner_id = b.developer_id
        ) e ON true
        WHERE b.transaction_id IS NOT NULL AND e.total IS DISTINCT FROM -b.fee_nano
    """,
    # What is payable is computed from the days and the charges of fees: the ledger has the last word about them.
    "wallets": """
        SELECT a.id::text, 'of developer ' || a.owner_id || ' was credited ' || coalesce(l.total, 0) || ' by '
               || coalesce(l.kind, d.kind) || ' on ' || coalesce(l.day, d.day) || ', its days say '
               || coalesce(d.total, 0)
        FROM (
            SELECT a.owner_id, t.kind, (t.effective_at AT TIME ZONE 'UTC')::date AS day, sum(e.amount) AS total
            FROM ledger_accounts a
            JOIN ledger_entries e ON e.account_id = a.id
            JOIN ledger_transactions t ON t.id = e.transaction_id
            WHERE a.kind = 'developer' AND a.currency = 'USD' AND t.kind IN ('fee', 'usage') AND e.amount > 0
            GROUP BY 1, 2, 3
        ) l
        FULL JOIN (
            SELECT developer_id AS owner_id, 'usage' AS kind, day, sum(developer_nano) AS total
            FROM usage_days GROUP BY 1, 3 HAVING sum(developer_nano) <> 0
            UNION ALL
            SELECT s.developer_id, 'fee', (c.created_at AT TIME ZONE 'UTC')::date, sum(c.developer_nano)
            FROM fee_charges c JOIN fee_subscriptions s ON s.id = c.subscription_id
            GROUP BY 1, 3 HAVING sum(c.developer_nano) <> 0
        ) d USING (owner_id, kind, day)
        JOIN ledger_accounts a ON a.kind = 'developer' AND a.owner_id = coalesce(l.owner_id, d.owner_id)
        WHERE l.total IS DISTINCT FROM d.total
    """,
    "promo_codes": """
        SELECT p.id, 'counts ' || p.redemptions || ' redemptions, there are ' || count(r.id)
        FROM promo_codes p LEFT JOIN promo_redemptions r ON r.promo_code_id = p.id
        GROUP BY p.id HAVING p.redemptions <> count(r.id)
    """,
    "promo_redemptions": """
        SELECT r.lot_id, 'gave ' || coalesce(l.amount_nano, 0) || ' of a code worth ' || p.amount_nano
        FROM promo_redemptions r JOIN promo_codes p ON p.id = r.promo_code_id
        LEFT JOIN credit_lots l ON l.id = r.lot_id AND l.account_id = r.account_id
        WHERE p.amount_nano IS DISTINCT FROM l.amount_nano
    """,
    "payouts": """
        SELECT a.owner_id, 'has ' || w.posted || ' set aside, its payouts under way sum to ' || coalesce(p.total, 0)
        FROM ledger_accounts a
        JOIN wallets w ON w.account_id = a.id
        LEFT JOIN (
            SELECT developer_id, sum(amount_nano) AS total FROM payouts
            WHERE status IN ('proposed', 'held', 'approved', 'sending') AND payout_transaction_id IS NOT NULL
            GROUP BY developer_id
        ) p ON p.developer_id = a.owner_id
        WHERE a.kind = 'payout' AND w.posted <> coalesce(p.total, 0)
        UNION ALL
        SELECT p.id, 'is ' || p.amount_nano || ', transaction ' || w.transaction_id || ' posted '
               || coalesce(e.total, 0)
        FROM payouts p
        CROSS JOIN LATERAL (VALUES (p.payout_transaction_id, 1), (p.sent_transaction_id, -1)) w (transaction_id, sign)
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS total FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account_id
            WHERE e.transaction_id = w.transaction_id AND a.kind = 'payout' AND a.owner_id = p.developer_id
        ) e ON true
        WHERE w.transaction_id IS NOT NULL AND e.total IS DISTINCT FROM w.sign * p.amount_nano
    """,
}


def differences() -> Iterator[Difference]:
    """Yield every row of billing that does not follow from the others. Reads only."""
    for table, query in CROSS_CHECKS.items():
        with connection.cursor() as cursor:
            cursor.execute(query)
            for row_id, message in cursor.fetchall():
                yield Difference(table, row_id, message)
