"""Prefixed identifiers that sort by time: `req_0190c1…` (UUID version 7 in hex)."""

import secrets

from uuid_utils import uuid7


def new_id(prefix: str) -> str:
    """Return a fresh identifier such as `app_019a…`: unique, sortable by the time it was made."""
    return f"{prefix}_{uuid7().hex}"


def new_token(prefix: str) -> str:
    """Return a fresh secret such as `mf_sess_…` with 256 random bits; show it once, keep its hash."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"
