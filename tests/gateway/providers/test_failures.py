"""What providers' error answers mean, from recorded shapes."""

import json
from typing import Any

import pytest

from apps.gateway.failures import failure_of_status
from tests.gateway.providers.reading import recorded

NOW = 1_792_497_600.0  # Tue, 20 Oct 2026 12:00:00 UTC
ERRORS: list[dict[str, Any]] = json.loads(recorded("errors.json"))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{error['of']}-{error['status']}-{error['code']}")
def test_error_means(error: dict[str, Any]) -> None:
    headers = {b"retry-after": error["retry_after"].encode()} if "retry_after" in error else {}
    failure = failure_of_status(error["status"], json.dumps(error["body"]).encode(), headers, ["sk-secret"], now=NOW)
    assert (failure.code, failure.final) == (error["code"], error["final"])
    assert failure.retry_after == error.get("wait")
    assert "sk-secret" not in repr(failure)


def test_words_of_a_refusal_reach_the_caller_without_the_key() -> None:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "bad header sk-secret: no"}}
    failure = failure_of_status(400, json.dumps(body).encode(), {}, ["sk-secret"], now=NOW)
    assert failure.message == "bad header [redacted]: no"


@pytest.mark.parametrize(
    ("retry_after", "date", "wait"),
    [
        ("7", None, 7),
        ("1.2", None, 2),
        ("Wed, 21 Oct 2026 12:00:30 GMT", None, 86_430),
        ("Tue, 20 Oct 2026 12:00:30 GMT", None, 30),
        ("Tuesday, 20-Oct-26 12:00:30 GMT", None, 30),
        ("Tue Oct 20 12:00:30 2026", None, 30),
        # A provider whose clock is an hour fast means 30 seconds, not an hour.
        ("Tue, 20 Oct 2026 13:00:30 GMT", "Tue, 20 Oct 2026 13:00:00 GMT", 30),
        ("Tue, 20 Oct 2026 12:00:30 GMT", "yesterday", 30),
        ("Tue, 20 Oct 2026 11:59:00 GMT", None, 0),
        ("Tue, 20 Oct 9999 12:00:00 GMT", None, None),
        ("Tue, 99 Oct 2026 12:00:00 GMT", None, None),
        ("soon", None, None),
        ("-3", None, None),
        ("", None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(retry_after: str, date: str | None, wait: int | None) -> None:
    headers = {b"retry-after": retry_after.encode()} | ({b"date": date.encode()} if date is not None else {})
    assert failure_of_status(503, b"", headers, [], now=NOW).retry_after == wait
