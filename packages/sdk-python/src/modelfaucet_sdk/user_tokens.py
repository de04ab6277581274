"""User tokens: short JWTs by which an app's backend vouches for one of its users."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping

MAX_LIFETIME = 3600
MAX_USER_ID = 256


def sign_user_token(
    external_user_id: str, *, app_id: str, app_secret: str, ttl: int = 300, now: float | None = None
) -> str:
    """Return a user token (JWT, HS256) for `external_user_id`, good for `ttl` seconds, at most 3600.

    It opens sessions that spend this user's wallet: make it on a server, for a user that is signed in there. `now` is
    in seconds since 1970. Raises ValueError.
    """
    if not 0 < len(external_user_id) <= MAX_USER_ID or "\0" in external_user_id:
        raise ValueError(f"external_user_id takes 1 to {MAX_USER_ID} characters")
    if not 1 <= ttl <= MAX_LIFETIME:
        raise ValueError(f"ttl takes 1 to {MAX_LIFETIME} seconds")
    if not app_id or not app_secret:
        raise ValueError("a user token needs the public app id and the app's secret")
    issued = int(time.time() if now is None else now)
    claims: dict[str, str | int] = {"sub": external_user_id, "aud": app_id, "iat": issued, "exp": issued + ttl}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    signature = hmac.new(app_secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64(signature)}"


def _part(content: Mapping[str, str | int]) -> str:
    # ASCII only, so that lone surrogates are refused by the gateway and not by the encoder here.
    return _base64(json.dumps(content, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
