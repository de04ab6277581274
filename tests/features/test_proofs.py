import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import Unauthorized
from apps.core.ids import new_token
from apps.features.proofs import LEEWAY, MAX_LIFETIME, verify_user_token

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
APP = "app_pub_notes"
SECRET = "mf_app_" + "s" * 43
OTHER_SECRET = "mf_app_" + "t" * 43


def claims(**changes: Any) -> dict[str, Any]:
    made = {"sub": "alice", "aud": APP, "iat": AT, "exp": AT + 300} | changes
    return {name: value for name, value in made.items() if value is not ...}


def signed(
    secret: str = SECRET, *, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any
) -> str:
    return jwt.encode(claims(**changes), secret, algorithm=algorithm, headers=headers)


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def verify(token: str, *, secrets: tuple[str, ...] = (SECRET,), now: datetime = NOW) -> str:
    return verify_user_token(token, secrets=secrets, public_app_id=APP, now=now)


def refusal(token: str, **fields: Any) -> str:
    with pytest.raises(Unauthorized) as caught:
        verify(token, **fields)
    return caught.value.code


def test_user_token_names_its_user() -> None:
    assert verify(signed()) == "alice"


def test_user_token_under_any_secret_of_the_app_is_taken() -> None:
    assert verify(signed(OTHER_SECRET), secrets=(SECRET, OTHER_SECRET)) == "alice"


def test_user_token_of_another_app_is_refused() -> None:
    assert refusal(signed(OTHER_SECRET)) == "user_token_invalid"
    assert refusal(signed(aud="app_pub_other")) == "user_token_wrong_app"


def test_user_token_of_an_app_without_secrets_is_refused() -> None:
    assert refusal(signed(), secrets=()) == "user_token_invalid"


def test_user_token_for_several_audiences_is_refused() -> None:
    assert refusal(signed(aud=[APP])) == "user_token_wrong_app"
    assert refusal(signed(aud=[APP, "app_pub_other"])) == "user_token_wrong_app"


@pytest.mark.parametrize("aud", ["", None, 7, {}, APP + " ", APP.upper()])
def test_user_token_with_a_strange_audience_is_refused(aud: object) -> None:
    token = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(claims(aud=aud))}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(token.encode(), SECRET.encode())
    assert refusal(f"{token}.{segment(signature)}") in {"user_token_wrong_app", "user_token_invalid"}


def test_unsigned_token_is_refused() -> None:
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        token = f"{segment({'alg': algorithm, 'typ': 'JWT'})}.{segment(claims())}"
        assert refusal(f"{token}.") == "user_token_invalid"
        assert refusal(f"{token}.{segment(b'x' * 32)}") == "user_token_invalid"
    assert refusal(jwt.encode(claims(), None, algorithm="none")) == "user_token_invalid"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_other_hmac_is_refused(algorithm: str) -> None:
    assert refusal(signed("s" * 64, algorithm=algorithm), secrets=("s" * 64,)) == "user_token_invalid"


def test_rsa_signature_is_refused_and_so_is_its_public_key_as_an_hmac_secret() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert refusal(jwt.encode(claims(), key, algorithm="RS256"), secrets=(public.decode(),)) == "user_token_invalid"
    header = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(claims())}"
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    confused = f"{header}.{segment(hmac.sign(header.encode(), public))}"
    assert refusal(confused) == "user_token_invalid"
    assert refusal(confused, secrets=(public.decode(),)) == "user_token_invalid"


@pytest.mark.parametrize("claim", ["sub", "exp", "iat", "aud"])
def test_missing_claim_is_named(claim: str) -> None:
    with pytest.raises(Unauthorized, match=claim) as caught:
        verify(signed(**{claim: ...}))
    assert caught.value.code in {"user_token_invalid", "user_token_wrong_app"}


@given(st.integers(min_value=1, max_value=MAX_LIFETIME), st.integers(min_value=-LEEWAY, max_value=0))
def test_user_token_within_its_life_is_taken(lifetime: int, skew: int) -> None:
    token = signed(iat=AT, exp=AT + lifetime)
    assert verify(token, now=NOW + timedelta(seconds=skew)) == "alice"
    assert verify(token, now=NOW + timedelta(seconds=lifetime - 1)) == "alice"
    assert verify(token, now=NOW + timedelta(seconds=lifetime + LEEWAY - 1)) == "alice"


@given(st.integers(min_value=LEEWAY, max_value=10**9))
def test_user_token_past_its_life_is_refused(late: int) -> None:
    assert refusal(signed(iat=AT - late - 300, exp=AT - late)) == "user_token_expired"


@given(st.integers(min_value=LEEWAY + 1, max_value=10**9))
def test_user_token_from_the_future_is_refused(early: int) -> None:
    assert refusal(signed(iat=AT + early, exp=AT + early + 300)) == "user_token_not_yet_valid"


@given(st.integers(min_value=LEEWAY + 1, max_value=3000))
def test_user_token_before_nbf_is_refused(early: int) -> None:
    assert refusal(signed(nbf=AT + early, exp=AT + 3600)) == "user_token_not_yet_valid"


@given(st.one_of(st.integers(MAX_LIFETIME + 1, 10**9), st.integers(-(10**9), 0)))
def test_user_token_that_lives_too_long_or_not_at_all_is_refused(lifetime: int) -> None:
    assert refusal(signed(exp=AT + lifetime)) == "user_token_lives_too_long"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", [None, True, "soon", str(AT + 300), [], {}, -1, 10**30, float("inf"), float("nan")])
def test_time_that_is_no_time_is_refused(name: str, value: object) -> None:
    assert refusal(signed(**{name: value})) == "user_token_invalid"


@pytest.mark.parametrize("subject", ["", None, 7, ["alice"], {}, "a" * 257, "al\0ice", "al\ud800ice"])
def test_subject_that_is_no_user_id_is_refused(subject: object) -> None:
    header = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(claims(sub=subject))}"
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    token = f"{header}.{segment(hmac.sign(header.encode(), SECRET.encode()))}"
    assert refusal(token) == "user_token_invalid"


def test_unknown_critical_header_is_refused() -> None:
    assert refusal(signed(headers={"crit": ["b64"], "b64": False})) == "user_token_invalid"


@given(st.text(max_size=300))
def test_noise_is_refused(noise: str) -> None:
    assert refusal(noise) == "user_token_invalid"


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=40))
def test_noise_in_three_segments_is_refused(header: bytes, payload: bytes, signature: bytes) -> None:
    assert refusal(".".join(map(segment, (header, payload, signature)))) == "user_token_invalid"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=9,
    )
)
def test_signed_payload_of_any_shape_never_crashes(payload: object) -> None:
    header = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(payload)}"
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    refusal(f"{header}.{segment(hmac.sign(header.encode(), SECRET.encode()))}")


@given(st.data())
def test_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    token = signed()
    # The last character also carries bits that base64 ignores.
    at = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.sampled_from("ABCxyz019-_.").filter(lambda char: char != token[at]))
    refusal(token[:at] + other + token[at + 1 :])


def test_huge_token_is_refused_before_it_is_parsed() -> None:
    assert refusal(signed(junk="x" * 10_000)) == "user_token_invalid"


@given(st.text(min_size=1, max_size=256).filter(lambda text: "\0" not in text))
def test_any_user_id_survives(subject: str) -> None:
    assert verify(signed(sub=subject)) == subject


def test_real_app_secret_is_long_enough_for_the_library() -> None:
    secret = new_token("mf_app")
    assert verify(signed(secret), secrets=(secret,)) == "alice"
