"""User tokens; that the gateway takes them is tested with the gateway."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfaucet_sdk import sign_user_token

USERS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=256)
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


def part(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def read(token: str, secret: str) -> Any:
    head, claims, signature = token.split(".")
    expected = hmac.new(secret.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert hmac.compare_digest(part(signature), expected)
    assert json.loads(part(head)) == {"alg": "HS256", "typ": "JWT"}
    return json.loads(part(claims))


@given(USERS, SECRETS, st.integers(1, 3600), st.integers(0, 2**33))
def test_token_says_who_for_which_app_and_how_long(user: str, secret: str, ttl: int, now: int) -> None:
    token = sign_user_token(user, app_id="app_pub_x", app_secret=secret, ttl=ttl, now=now + 0.9)
    assert read(token, secret) == {"sub": user, "aud": "app_pub_x", "iat": now, "exp": now + ttl}
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_known_token_is_made() -> None:
    """The vector of RFC 7515's algorithm, worked out with another library (PyJWT)."""
    token = sign_user_token("user-42", app_id="app_pub_x", app_secret="mf_app_secret", ttl=300, now=1_700_000_000)
    assert token == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
        ".eyJzdWIiOiJ1c2VyLTQyIiwiYXVkIjoiYXBwX3B1Yl94IiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDAzMDB9"
        ".zDd7zp6Fx8Ljg9JU40tUsixkD_7R-Al4iHPjX4KDDLU"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"external_user_id": ""},
        {"external_user_id": "x" * 257},
        {"external_user_id": "a\0b"},
        {"ttl": 0},
        {"ttl": 3601},
        {"app_id": ""},
        {"app_secret": ""},
    ],
    ids=str,
)
def test_what_the_gateway_would_refuse_is_refused_here(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"external_user_id": "user-42", "app_id": "app_pub_x", "app_secret": "s", "ttl": 300}
    with pytest.raises(ValueError):
        sign_user_token(**{**right, **wrong})
