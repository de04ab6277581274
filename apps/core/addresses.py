"""Where a request comes from, and how often it may: addresses are counted as keyed hashes and never kept."""

import ipaddress
import logging
import math
import time
from functools import lru_cache

import limits
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

from apps.core.errors import RateLimited
from apps.core.hashing import keyed_hash

logger = logging.getLogger(__name__)

# One customer is given a whole /64: its addresses count as one.
IPV6_PREFIX = 64


def address_key(request: HttpRequest) -> str:
    """Return a keyed hash of the client's address, alike for all IPv6 addresses of one /64."""
    return keyed_hash("address", network_of(client_address(request)))


def client_address(request: HttpRequest) -> str:
    """Return the client's address as the outermost of TRUSTED_PROXIES saw it."""
    return seen_address(request.META.get("REMOTE_ADDR") or "", request.headers.get("x-forwarded-for"))


def seen_address(remote: str, forwarded: str | None) -> str:
    """Return the client's address from the connection's own and its X-Forwarded-For header.

    Each trusted proxy appended one address to the header; what stands before those is the client's own claim.
    """
    if settings.TRUSTED_PROXIES < 1 or not forwarded:
        return remote
    seen = [part.strip() for part in forwarded.split(",")][-settings.TRUSTED_PROXIES :]
    return _bare(seen[0])


@lru_cache(maxsize=16_384)
def network_of(address: str, *, strict: bool = False) -> str:
    """Return whose address it is: an IPv4 address itself, an IPv6 one's /64; what is neither as it stands.

    Raises ValueError for the latter if `strict`.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0].removesuffix(f"/{IPV6_PREFIX}"))
    except ValueError:
        if strict:
            raise
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, IPV6_PREFIX), strict=False))
    return str(ip)


def count(bucket: str, limit: str, key: str, *, message: str = "") -> None:
    """Count one event of `key` in `bucket`. Raises RateLimited when that is more than `limit` ("30/minute").

    `message` says so where the key is no address.
    """
    _apply(bucket, limit, key, message, counts=True)


def check(bucket: str, limit: str, key: str, *, message: str = "") -> None:
    """Raise RateLimited when `limit` events of `key` are counted in `bucket` already; `message` as for `count`."""
    _apply(bucket, limit, key, message, counts=False)


def forget() -> None:
    """Forget what was counted in this process, as a restart would."""
    _limiter.cache_clear()


def _apply(bucket: str, limit: str, key: str, message: str, *, counts: bool) -> None:
    item = _parse(limit)
    try:
        limiter = _limiter(settings.REDIS_URL)
        if limiter.hit(item, bucket, key) if counts else limiter.test(item, bucket, key):
            return
        reset = limiter.get_window_stats(item, bucket, key).reset_time
    except StorageError as error:
        # A limit may fail open, with an alarm; money never does.
        logger.error("limits out of reach", extra={"bucket": bucket, "error": str(error.storage_error)[:200]})
        return
    wait = max(math.ceil(reset - time.time()), 1)
    raise RateLimited(message or _("Too many requests from this address; try again later."), retry_after=wait)


@lru_cache(maxsize=8)
def _limiter(redis_url: str) -> MovingWindowRateLimiter:
    storage = storage_from_string(redis_url or "memory://", wrap_exceptions=True)
    return MovingWindowRateLimiter(storage)


@lru_cache(maxsize=32)
def _parse(limit: str) -> limits.RateLimitItem:
    return limits.parse(limit)


def _bare(address: str) -> str:
    """Return an address without the port that some proxies add."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
