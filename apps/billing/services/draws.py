"""Drawing the lots of the wallets that moved, in the background."""

from datetime import datetime

from django.db import connection

from apps.billing.services.lots import draw

# Of wallets with open lots, those that have more or less than these say. It reads an index of the open lots and their
# wallets, however many calls there were, and cannot miss a wallet: nothing is remembered from one look to the next.
MOVED = """
SELECT l.account_id
FROM (
    SELECT account_id, sum(remaining_nano) AS remaining FROM credit_lots WHERE closed_at IS NULL GROUP BY account_id
) l
JOIN wallets w ON w.account_id = l.account_id
WHERE l.remaining <> greatest(w.posted, 0)
LIMIT %s
"""


def draw_moved(*, now: datetime, limit: int = 5000) -> int:
    """Draw the lots of at most `limit` wallets that moved since they were drawn last, and return how many.

    A wallet without an open lot has nothing to draw from: its money is sorted out when a lot comes.
    """
    with connection.cursor() as cursor:
        cursor.execute(MOVED, [limit])
        moved = [account_id for (account_id,) in cursor.fetchall()]
    for account_id in moved:
        draw(account_id, now=now)
    return len(moved)
