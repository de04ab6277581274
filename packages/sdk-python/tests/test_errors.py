"""Answers as errors, and what errors do not show."""

import json

import pytest

import modelfaucet_sdk as sdk
from modelfaucet_sdk.errors import error_of_answer, error_of_event, without_secrets


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, sdk.BadRequestError),
        (401, sdk.AuthenticationError),
        (402, sdk.InsufficientFundsError),
        (403, sdk.PermissionDeniedError),
        (404, sdk.NotFoundError),
        (409, sdk.ConflictError),
        (413, sdk.BadRequestError),
        (429, sdk.RateLimitedError),
        (500, sdk.UnavailableError),
        (502, sdk.UnavailableError),
        (301, sdk.UnavailableError),
    ],
)
def test_status_is_a_class(status: int, kind: type[sdk.FaucetError]) -> None:
    body = {"message": "No.", "code": "c", "type": "t", "param": "p", "request_id": "req_1", "details": {"a": 1}}
    error = error_of_answer(status, {"retry-after": "7"}, json.dumps({"error": body}).encode())
    assert type(error) is kind
    assert (error.status, error.code, error.type, error.param) == (status, "c", "t", "p")
    assert (error.request_id, error.retry_after, error.details) == ("req_1", 7, {"a": 1})
    assert str(error) == f"No. ({status}, c, req_1)"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error": "text"}', b'{"error": {"message": 3}}', b"\xff"])
def test_answer_of_somebody_else_is_an_error_too(body: bytes) -> None:
    error = error_of_answer(502, {"x-request-id": "req_2", "retry-after": "soon"}, body)
    assert (error.message, error.code, error.request_id, error.retry_after) == (
        "The answer was 502.",
        None,
        "req_2",
        None,
    )


def test_event_of_a_stream_may_be_an_error() -> None:
    data = json.dumps({"error": {"message": "Empty.", "type": "insufficient_quota", "code": "insufficient_funds"}})
    error = error_of_event(data)
    assert isinstance(error, sdk.InsufficientFundsError) and error.code == "insufficient_funds"
    assert error_of_event('{"choices": []}') is None


@pytest.mark.parametrize(
    "secret",
    ["mf_sess_abc-DEF_1", "mf_key_0123", "mf_dev_x", "mf_app_x", "mf_brg_x", "eyJhbGci.eyJzdWIi.c2ln", "sk-0123456789"],
)
def test_secret_that_somebody_repeats_is_not_shown(secret: str) -> None:
    body = json.dumps({"error": {"message": f"bad token {secret}!"}}).encode()
    error = error_of_answer(401, {}, body)
    assert secret not in f"{error!r} {error} {error.args} {vars(error)}"
    assert "•••" in str(error)
    assert without_secrets("mf_ and sk- are prefixes") == "mf_ and sk- are prefixes"
