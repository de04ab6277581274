"""The proof of the ledger: every balance and hold derived again from the rows, and each row that differs, named."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not what the others say it must be."""

    table: str
    row_id: str
    message: str


# One statement, so one snapshot: what others commit meanwhile cannot look like a difference.
_DIFFERENCES = """
WITH sums AS MATERIALIZED (
    SELECT transaction_id AS id, sum(amount) AS total, count(*) AS entries,
           string_agg(account_id || ':' || amount, ',' ORDER BY account_id, amount) AS legs
    FROM ledger_entries GROUP BY transaction_id
), accounts AS MATERIALIZED (
    SELECT account_id AS id, sum(amount) AS total FROM ledger_entries GROUP BY account_id
), open_holds AS MATERIALIZED (
    SELECT account_id AS id, sum(amount) AS total FROM holds WHERE state = 'open' GROUP BY account_id
)
SELECT 'ledger_transactions', t.id::text, 'its entries sum to ' || s.total
FROM ledger_transactions t JOIN sums s ON s.id = t.id WHERE s.total <> 0
UNION ALL
SELECT 'ledger_transactions', t.id::text, 'has ' || coalesce(s.entries, 0) || ' entries'
FROM ledger_transactions t LEFT JOIN sums s ON s.id = t.id WHERE coalesce(s.entries, 0) < 2
UNION ALL
SELECT 'ledger_transactions', t.id::text, 'is not what was posted: its kind, legs, memo or original changed'
FROM ledger_transactions t LEFT JOIN sums s ON s.id = t.id
WHERE t.request_hash <> ledger_content_hash(t.kind, t.reverses, t.memo, coalesce(s.legs, ''))
UNION ALL
SELECT DISTINCT 'ledger_transactions', r.id::text, 'does not mirror transaction ' || r.reverses
FROM ledger_transactions r JOIN ledger_entries e ON e.transaction_id IN (r.id, r.reverses)
WHERE r.reverses IS NOT NULL GROUP BY r.id, r.reverses, e.account_id HAVING sum(e.amount) <> 0
UNION ALL
SELECT 'ledger_transactions', r.id::text,
       'reverses transaction ' || r.reverses
       || CASE WHEN o.id IS NULL THEN ', which does not exist' ELSE ', which is a reversal' END
FROM ledger_transactions r LEFT JOIN ledger_transactions o ON o.id = r.reverses
WHERE r.reverses IS NOT NULL AND (o.id IS NULL OR o.reverses IS NOT NULL)
UNION ALL
SELECT 'ledger_entries', e.id::text, 'belongs to transaction ' || e.transaction_id || ', which does not exist'
FROM ledger_entries e LEFT JOIN ledger_transactions t ON t.id = e.transaction_id WHERE t.id IS NULL
UNION ALL
SELECT 'ledger_entries', e.id::text, 'is on account ' || e.account_id || ', which does not exist'
FROM ledger_entries e LEFT JOIN ledger_accounts a ON a.id = e.account_id WHERE a.id IS NULL
UNION ALL
-- The entry that was altered is where a transaction and a wallet are off by the same amount.
SELECT 'ledger_entries', e.id::text,
       'is ' || e.amount || ', but transaction ' || e.transaction_id || ' and wallet ' || e.account_id
       || ' are both off by ' || s.total
FROM sums s JOIN ledger_entries e ON e.transaction_id = s.id
JOIN accounts a ON a.id = e.account_id JOIN wallets w ON w.account_id = e.account_id
WHERE s.total <> 0 AND a.total - w.posted = s.total
UNION ALL
SELECT 'ledger_accounts', a.id::text, 'has no wallet'
FROM ledger_accounts a LEFT JOIN wallets w ON w.account_id = a.id WHERE w.account_id IS NULL
UNION ALL
SELECT 'wallets', w.account_id::text, 'has no account'
FROM wallets w LEFT JOIN ledger_accounts a ON a.id = w.account_id WHERE a.id IS NULL
UNION ALL
SELECT 'wallets', w.account_id::text, 'posted is ' || w.posted || ', its entries sum to ' || coalesce(a.total, 0)
FROM wallets w LEFT JOIN accounts a ON a.id = w.account_id WHERE w.posted <> coalesce(a.total, 0)
UNION ALL
SELECT 'wallets', w.account_id::text, 'held is ' || w.held || ', its open holds sum to ' || coalesce(h.total, 0)
FROM wallets w LEFT JOIN open_holds h ON h.id = w.account_id WHERE w.held <> coalesce(h.total, 0)
UNION ALL
SELECT 'holds', h.request_id, 'is on account ' || h.account_id || ', which has no wallet'
FROM holds h LEFT JOIN wallets w ON w.account_id = h.account_id WHERE w.account_id IS NULL
"""


def differences() -> Iterator[Difference]:
    """Yield every row of the ledger that does not follow from the others, by table. Reads only."""
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENCES)
        for table, row_id, message in cursor.fetchall():
            yield Difference(table, row_id, message)
