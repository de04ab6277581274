"""The envelope: every refusal of a JSON resource, and every address that is none."""

import json
import logging
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from rest_framework import exceptions

from apps.core.errors import FaucetError
from apps.gateway.api import wallet
from apps.gateway.api.errors import as_faucet_error
from tests.gateway.api_factories import Api, code_of, error_of, make_api

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


@pytest.mark.parametrize("path", ["/v1/", "/v1/nothing", "/v1/sessions/", "/v1/apps//usage", "/v1/developers/x"])
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_unknown_address_is_a_404_in_the_envelope(client: Client, path: str, method: str) -> None:
    response = getattr(client, method)(path)
    assert response["content-type"] == "application/json"
    assert code_of(response) == (404, "unknown_url")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("get", "/v1/sessions", "POST"),
        ("put", "/v1/sessions", "POST"),
        ("put", "/v1/sessions/current", "GET, DELETE, HEAD"),
        ("post", "/v1/user/wallet", "GET, HEAD"),
        ("delete", "/v1/apps/x/usage", "GET, HEAD"),
        ("patch", "/v1/apps/x/keys", "GET, POST, HEAD"),
        ("options", "/v1/sessions", "POST"),
    ],
)
def test_wrong_method_is_a_405_that_says_which_are_right(client: Client, method: str, path: str, allowed: str) -> None:
    response = getattr(client, method)(path)
    assert code_of(response) == (405, "method_not_allowed")
    assert response["allow"] == allowed


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b'{"a": NaN}',
        b'{"user_token": "\\ud800"}',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"a":' * 10_000,
        b'{"a": 1e999}',
    ],
    ids=lambda body: body[:12],
)
def test_broken_json_is_a_400(client: Client, body: bytes) -> None:
    response = client.post("/v1/sessions", body, content_type="application/json")
    assert code_of(response) == (400, "invalid_json")


def test_body_of_another_type_is_a_415(client: Client) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        response = client.generic("POST", "/v1/sessions", b"user_token=x", content_type=content_type)
        assert code_of(response) == (415, "unsupported_media_type")


def test_body_with_a_charset_is_json(client: Client) -> None:
    response = client.post("/v1/sessions", {}, content_type="application/json; charset=utf-8")
    assert code_of(response) == (401, "missing_proof")


def test_body_that_is_too_long_is_a_413(client: Client) -> None:
    response = client.post("/v1/sessions", {"device_id": "x" * 100_000}, content_type="application/json")
    assert code_of(response) == (413, "request_too_large")


def test_answers_are_json_whatever_is_accepted(api: Api) -> None:
    for accept in ("text/html", "image/png", "nonsense"):
        response = api.get("/v1/user/wallet?format=xml", api.world.token, accept=accept)
        assert (response.status_code, response["content-type"]) == (200, "application/json")


def test_answers_carry_a_request_id_and_are_not_cached(api: Api) -> None:
    ids = set()
    for response in (api.get("/v1/user/wallet", api.world.token), api.get("/v1/user/wallet"), api.get("/v1/nothing")):
        ids.add(response["x-request-id"])
        assert response["x-request-id"].startswith("req_")
        assert response["cache-control"] == "no-store"
        assert "Origin" in response["vary"]
    assert len(ids) == 3


def test_bug_of_ours_is_a_500_that_is_logged_with_its_request_id(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError("the reason")

    monkeypatch.setattr(wallet, "payer_of", broken)
    with caplog.at_level(logging.ERROR):
        response = api.get("/v1/user/wallet", api.world.token)
    assert code_of(response) == (500, "internal_error")
    assert b"the reason" not in response.content
    (record,) = [record for record in caplog.records if record.name == "apps.gateway.api.errors"]
    assert record.request_id == response["x-request-id"]  # type: ignore[attr-defined]
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError
    assert api.world.token not in caplog.text


def test_database_out_of_reach_is_a_503_with_retry_after(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(_: Any) -> Any:
        raise OperationalError("could not connect to db.internal")

    monkeypatch.setattr(wallet, "payer_of", unreachable)
    response = api.get("/v1/user/wallet", api.world.token)
    assert code_of(response) == (503, "unavailable")
    assert response["retry-after"] == "5"
    assert b"db.internal" not in response.content


@pytest.mark.parametrize(
    ("exception", "status"),
    [
        (exceptions.ParseError(), 400),
        (exceptions.NotAuthenticated(), 401),
        (exceptions.PermissionDenied(), 403),
        (exceptions.NotFound(), 404),
        (exceptions.MethodNotAllowed("GET"), 405),
        (exceptions.NotAcceptable(), 400),
        (exceptions.UnsupportedMediaType("text/plain"), 415),
        (exceptions.Throttled(wait=3), 429),
    ],
)
def test_exceptions_of_rest_framework_have_a_place_in_the_tree(exception: Exception, status: int) -> None:
    error = as_faucet_error(exception)
    assert isinstance(error, FaucetError) and error.status == status


def test_head_is_get_without_a_body(api: Api) -> None:
    response = api.client.head("/v1/user/wallet", headers={"authorization": f"Bearer {api.world.token}"})
    assert (response.status_code, response.content) == (200, b"")


def test_error_has_the_members_of_openais(client: Client) -> None:
    error = error_of(client.get("/v1/user/wallet"))
    assert (error["type"], error["code"], error["param"]) == ("authentication_error", "missing_token", None)
    assert json.loads(client.get("/v1/user/wallet").content)["error"]["type"] == "authentication_error"
