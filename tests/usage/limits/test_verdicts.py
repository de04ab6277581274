import pytest

from apps.usage.limits.rules import Dimension
from apps.usage.limits.verdicts import PASSED, Refused, Standing, Verdict, duration, limit_headers, refusal


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.12, "120ms"),
        (0.9991, "1s"),
        (1, "1s"),
        (8.64, "8.64s"),
        (8.6401, "8.641s"),
        (59.9999, "1m0s"),
        (60.5, "1m0.5s"),
        (360, "6m0s"),
    ],
)
def test_duration_is_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_headers_only_of_what_is_limited() -> None:
    assert limit_headers(PASSED) == []
    assert limit_headers(Verdict(None, Standing(60, 59, 1.0), None)) == [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1s"),
    ]
    assert limit_headers(Verdict(None, None, Standing(150_000, 149_984, 360))) == [
        (b"x-ratelimit-limit-tokens", b"150000"),
        (b"x-ratelimit-remaining-tokens", b"149984"),
        (b"x-ratelimit-reset-tokens", b"6m0s"),
    ]


def test_refusal_says_whose_limit_without_an_id() -> None:
    dimension = Dimension("developer", "dev_secret", rpm=7)
    error = refusal(Verdict(Refused(dimension, "rpm", 2.01), None, None))
    assert error.message == "Too many requests in a minute for this developer: the limit is 7."
    assert error.retry_after == 3
    assert error.details == {"scope": "developer", "limit": 7, "kind": "rpm"}
    assert "dev_secret" not in str(error.envelope("req_1"))


def test_a_call_that_passed_has_no_refusal() -> None:
    with pytest.raises(ValueError, match="passed"):
        refusal(PASSED)
