"""Fingerprints: from which clients end users come, as keyed hashes. No address and no user agent is kept.

The key is derived from TOKEN_PEPPER and the number of the 30 days since 1970, so it changes by itself. Each visit is
noted under the key of now and under the one before: two visits within 30 days share a hash, two more than 60 days apart
cannot be linked by anybody who has only the table.
"""

import hmac
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from apps.billing.models.risk import Fingerprint
from apps.core.addresses import network_of
from apps.core.hashing import keyed_hash

KEY_LIFE = timedelta(days=30)
LONGEST_AGENT = 400

# In the order of the hashes: two sessions of one end user that open at once lock their rows alike.
_NOTE = """
INSERT INTO fingerprints (end_user_id, app_id, fingerprint, network, anonymous, sessions, first_seen_at, last_seen_at)
SELECT %s, %s, fingerprint, network, %s, 1, %s, %s
FROM unnest(%s::text[], %s::text[]) AS t (fingerprint, network) ORDER BY fingerprint
ON CONFLICT (end_user_id, fingerprint) DO UPDATE
SET sessions = fingerprints.sessions + 1, last_seen_at = greatest(fingerprints.last_seen_at, excluded.last_seen_at)
"""


def note_fingerprint(
    end_user_id: str, app_id: str, *, address: str, user_agent: str, anonymous: bool = False, now: datetime
) -> None:
    """Note from which client an end user opened a session, in one statement.

    `address` is the client's own, as the outermost trusted proxy saw it; all of one IPv6 /64 is one network. An address
    that is none, such as that of a unix socket, is not noted.
    """
    try:
        network = network_of(address, strict=True)
    except ValueError:
        return
    pairs = list(_hashes(network, user_agent.strip()[:LONGEST_AGENT], now))
    with connection.cursor() as cursor:
        cursor.execute(
            _NOTE, [end_user_id, app_id, anonymous, now, now, [pair[0] for pair in pairs], [pair[1] for pair in pairs]]
        )


def purge_fingerprints(*, now: datetime) -> int:
    """Delete what was not seen for FINGERPRINT_DAYS and return how many rows that were."""
    before = now - timedelta(days=settings.FINGERPRINT_DAYS)
    return Fingerprint.objects.filter(last_seen_at__lt=before).delete()[0]


def _hashes(network: str, user_agent: str, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield (fingerprint, network) under the key of now and under the one before."""
    present = int(now.timestamp() // KEY_LIFE.total_seconds())
    for period in (present, present - 1):
        key = bytes.fromhex(keyed_hash("fingerprint_key", str(period)))
        yield _hash(key, "client", f"{network}\0{user_agent}"), _hash(key, "network", network)


def _hash(key: bytes, purpose: str, value: str) -> str:
    return hmac.digest(key, f"{purpose}\0{value}".encode("utf-8", "replace"), "sha256").hex()
