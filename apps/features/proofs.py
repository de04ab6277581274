"""User tokens: short JWTs by which an app's backend vouches for one of its users."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import jwt
from jwt.types import Options

from apps.core.errors import Unauthorized
from apps.features.services.inputs import MAX_EXTERNAL_ID, storable

MAX_LIFETIME = 3600
LEEWAY = 30
_MAX_LENGTH = 4096
_CLAIMS_CHECKED_HERE: Options = {
    "require": ["sub", "exp", "iat", "aud"],
    "strict_aud": True,  # one app, named exactly: a list would let one token open sessions in several
    # The library reads the clock itself; times are checked below against the caller's `now`.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


def verify_user_token(token: str, *, secrets: Sequence[str], public_app_id: str, now: datetime) -> str:
    """Return the app's own id of the user for whom `token` vouches.

    The token is a JWT signed with HS256 under one of the app's secrets, with `sub` (the user id, 1 to 256
    characters), `aud` (the public app id), `iat` and `exp`, at most 3600 s apart; clocks may differ by 30 s.
    Raises Unauthorized: user_token_invalid, user_token_expired, user_token_not_yet_valid, user_token_wrong_app,
    user_token_lives_too_long.
    """
    claims = _verified_claims(token, secrets=secrets, public_app_id=public_app_id)
    issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
    begins = max(issued, _moment(claims, "nbf")) if "nbf" in claims else issued
    moment = now.timestamp()
    if expires <= issued or expires - issued > MAX_LIFETIME:
        raise Unauthorized(
            f"A user token lives up to {MAX_LIFETIME} seconds from iat to exp.", code="user_token_lives_too_long"
        )
    if begins > moment + LEEWAY:
        raise Unauthorized("This user token is not valid yet: is the clock right?", code="user_token_not_yet_valid")
    if expires <= moment - LEEWAY:
        raise Unauthorized("This user token has expired.", code="user_token_expired")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_EXTERNAL_ID or not storable(subject):
        raise _invalid(f"sub takes 1 to {MAX_EXTERNAL_ID} characters")
    return subject


def _verified_claims(token: str, *, secrets: Sequence[str], public_app_id: str) -> dict[str, Any]:
    if len(token) > _MAX_LENGTH:
        raise _invalid("it is too long")
    for secret in secrets:
        try:
            claims: dict[str, Any] = jwt.decode(
                token, secret, algorithms=["HS256"], audience=public_app_id, options=_CLAIMS_CHECKED_HERE
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidAudienceError as error:
            raise Unauthorized("This user token is for another app.", code="user_token_wrong_app") from error
        except jwt.MissingRequiredClaimError as error:
            raise _invalid(f"the claim {error.claim} is missing") from error
        except jwt.InvalidAlgorithmError as error:
            raise _invalid("it must be signed with HS256") from error
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            # ValueError: bytes that are not UTF-8 where the library expects text.
            raise _invalid("it is not a well-formed JWT") from error
        return claims
    raise _invalid("its signature does not match")


def _moment(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**11:
        raise _invalid(f"{name} is not a time in seconds")
    return float(value)


def _invalid(reason: str) -> Unauthorized:
    return Unauthorized(f"This user token is not valid: {reason}.", code="user_token_invalid")
