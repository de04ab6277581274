"""Idempotency-Key on inference: the first request owns the key, repeats are answered from its stored outcome.

Pure: SQL and its parameters for the gateway's connections. The answer is stored by the same statement that
settles the call, so a crash leaves either both or neither.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.core.errors import BadRequest, Conflict
from apps.core.hashing import keyed_hash
from apps.usage.models import IdempotencyRecord

MAX_KEY = 255
# A longer answer is settled but not kept; a repeat is then told so.
MAX_KEPT_BYTES = 1_000_000

# Claims the key for this request: when it is new, past its time, or left behind by a dead process.
CLAIM = """
INSERT INTO idempotency_records AS r
    (scope, key_hash, body_hash, request_id, lease_until, expires_at, created_at)
VALUES (%(scope)s, %(key_hash)s, %(body_hash)s, %(request_id)s,
        now() + make_interval(secs => %(lease)s), now() + make_interval(secs => %(ttl)s), now())
ON CONFLICT (scope, key_hash) DO UPDATE SET
    body_hash = excluded.body_hash, request_id = excluded.request_id, lease_until = excluded.lease_until,
    expires_at = excluded.expires_at, created_at = excluded.created_at,
    done_at = NULL, status = NULL, headers = NULL, body = NULL
WHERE r.expires_at < now() OR (r.done_at IS NULL AND r.lease_until < now() AND r.body_hash = excluded.body_hash)
RETURNING r.request_id
"""
LOOK = """
SELECT request_id, body_hash, done_at IS NOT NULL, status, headers, body
FROM idempotency_records WHERE scope = %(scope)s AND key_hash = %(key_hash)s
"""
# Nothing was spent: the key is free for another try.
RELEASE = "DELETE FROM idempotency_records WHERE request_id = %s AND done_at IS NULL"
RENEW = """
UPDATE idempotency_records SET lease_until = now() + make_interval(secs => %s)
WHERE request_id = ANY(%s) AND done_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key as this room knows it: hashes, and the secret that opens its stored answer."""

    scope: str
    key_hash: str
    body_hash: str
    secret: bytes

    def claim_parameters(self, request_id: str, *, lease: float, ttl: int) -> dict[str, object]:
        """Return the parameters of `CLAIM` and `LOOK`; `lease` and `ttl` are in seconds."""
        return {
            "scope": self.scope,
            "key_hash": self.key_hash,
            "body_hash": self.body_hash,
            "request_id": request_id,
            "lease": lease,
            "ttl": ttl,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stored answer, decrypted."""

    request_id: str
    status: int
    headers: dict[str, str]
    body: bytes


def read_key(value: str, *, scope: str, endpoint: str, body: bytes) -> IdempotencyKey:
    """Return the key of a request. Raises BadRequest for a key that is empty, too long or not printable."""
    if not 0 < len(value) <= MAX_KEY or not value.isascii() or not value.isprintable():
        raise BadRequest(
            f"Idempotency-Key takes 1 to {MAX_KEY} printable ASCII characters.",
            code="invalid_idempotency_key",
            param="Idempotency-Key",
        )
    return IdempotencyKey(
        scope=scope,
        key_hash=keyed_hash("idempotency-key", f"{scope}\0{value}"),
        body_hash=keyed_hash("idempotency-body", f"{endpoint}\0{body.hex()}"),
        secret=bytes.fromhex(keyed_hash("idempotency-secret", f"{scope}\0{value}")),
    )


def seal(key: IdempotencyKey, request_id: str, body: bytes) -> bytes:
    """Return `body` encrypted so that only the bearer of the Idempotency-Key can have it read."""
    nonce = secrets.token_bytes(12)
    return base64.b64encode(nonce + AESGCM(key.secret).encrypt(nonce, body, request_id.encode()))


def judge(
    key: IdempotencyKey, row: tuple[str, str, bool, int | None, dict[str, str] | None, bytes | None]
) -> "Outcome | None":
    """Return the stored outcome of a known key, or None while its first request is still running.

    Raises Conflict when the key came with another body, or when its answer was too long to keep.
    """
    request_id, body_hash, done, status, headers, body = row
    if body_hash != key.body_hash:
        raise Conflict("This Idempotency-Key was used with another request body.", code="idempotency_key_reused")
    if not done:
        return None
    if not body:
        raise Conflict(
            f"Request {request_id} with this Idempotency-Key was served and charged, but its answer was too long to "
            "keep. Use a new key to ask again.",
            code="idempotency_answer_not_kept",
        )
    try:
        plain = AESGCM(key.secret).decrypt(body[:12], body[12:], request_id.encode())
    except InvalidTag as error:
        raise Conflict("The stored answer cannot be read.", code="idempotency_answer_not_kept") from error
    return Outcome(request_id, status or 200, headers or {}, plain)


def purge_expired(*, now: datetime) -> int:
    """Delete the records whose time is over and return how many there were."""
    deleted, _ = IdempotencyRecord.objects.filter(expires_at__lt=now).delete()
    return deleted
