import hashlib
import hmac

from django.conf import settings

from apps.core.hashing import keyed_hash


def test_keyed_hash_is_the_documented_hmac() -> None:
    expected = hmac.new(settings.TOKEN_PEPPER.encode(), b"token\0secret", hashlib.sha256).hexdigest()
    assert keyed_hash("token", "secret") == expected


def test_keyed_hash_is_apart_for_each_purpose_and_value() -> None:
    assert len({keyed_hash("a", "x"), keyed_hash("b", "x"), keyed_hash("a", "y"), keyed_hash("ax", "")}) == 4


def test_keyed_hash_does_not_hold_the_value() -> None:
    assert "secret" not in keyed_hash("token", "secret")
