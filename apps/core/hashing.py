"""Keyed hashes: tokens and external user ids are stored only as these."""

import hashlib
import hmac

from django.conf import settings

_PEPPER = settings.TOKEN_PEPPER.encode()


def keyed_hash(purpose: str, value: str) -> str:
    """Return the HMAC-SHA-256 of `value` in hex, under the instance's pepper and apart for each purpose."""
    return hmac.digest(_PEPPER, f"{purpose}\0{value}".encode(), hashlib.sha256).hex()
