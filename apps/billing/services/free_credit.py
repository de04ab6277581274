"""Who may be given credit for nothing: allowances and promo codes, a few times a client and app."""

from collections import Counter
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from apps.billing.models.credits import CreditLot, LotKind
from apps.billing.models.risk import Fingerprint, RiskAction, RiskActionKind, Subject
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_ids

# How far back what others of the same client were given counts.
WINDOW = timedelta(days=30)
FREE = (LotKind.ALLOWANCE, LotKind.PROMO)
# Of one client so many end users are looked at; more than any limit that makes sense.
_MOST = 2_000


def may_take_free_credit(end_user_id: str, app_id: str, *, now: datetime) -> bool:
    """Tell whether an end user may be given an allowance or the credit of a promo code.

    Not while an operator (or RISK_SUSPEND_LIMIT) has stopped that for the app or the end user, and not where
    ALLOWANCES_PER_FINGERPRINT other end users of the app, of the same network and user agent, or ALLOWANCES_PER_NETWORK
    of the same network were given some within 30 days (0: no such limit). Who comes without a fingerprint, by the app's
    secret, is vouched for by the app. Call it in the transaction that gives the credit: it locks the client's
    fingerprints until that ends, so that any number of devices at once get no more than one after the other.
    """
    stopped = RiskAction.objects.filter(kind=RiskActionKind.SUSPEND, undone_at=None)
    if stopped.filter(subject_kind=Subject.APP, subject_id=app_id).exists():
        return False
    if stopped.filter(subject_kind=Subject.END_USER, subject_id=end_user_id).exists():
        return False
    limits = {"fingerprint": settings.ALLOWANCES_PER_FINGERPRINT, "network": settings.ALLOWANCES_PER_NETWORK}
    since = now - WINDOW
    own = list(
        Fingerprint.objects.filter(end_user_id=end_user_id, last_seen_at__gte=since).values_list(*limits, named=True)
    )
    _lock({row.network for row in own})
    return all(
        limit == 0 or _most_given(column, {getattr(row, column) for row in own}, end_user_id, app_id, since) < limit
        for column, limit in limits.items()
    )


def _most_given(column: str, hashes: set[str], end_user_id: str, app_id: str, since: datetime) -> int:
    """Return how many other end users of the app were given credit since, behind the busiest of these hashes."""
    rows = Fingerprint.objects.filter(**{f"{column}__in": hashes}, app_id=app_id).exclude(end_user_id=end_user_id)
    seen = set(rows.order_by("-last_seen_at").values_list(column, "end_user_id")[:_MOST])
    accounts = account_ids(AccountKind.END_USER, {user for _, user in seen})
    given = set(
        CreditLot.objects.filter(account_id__in=accounts.values(), kind__in=FREE, created_at__gte=since).values_list(
            "account_id", flat=True
        )
    )
    counts = Counter(value for value, user in seen if accounts.get(user) in given)
    return max(counts.values(), default=0)


def _lock(networks: set[str]) -> None:
    """Wait for whoever decides about the same networks, in an order that all keep."""
    with connection.cursor() as cursor:
        for network in sorted(networks):
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"free_credit:{network}"])
