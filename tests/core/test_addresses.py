"""Limits by address: whose address it is, how often it may ask, and that it is never kept."""

import logging
from typing import Any

import pytest
from django.test import Client, RequestFactory

from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.services.apps import update_app
from tests.gateway.api_factories import Api, code_of, make_api
from tests.live import ACTOR

ONE, OTHER = "203.0.113.7", "203.0.113.8"


def asked_from(remote: str, forwarded: str | None = None) -> Any:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    return RequestFactory().get("/", headers=headers, REMOTE_ADDR=remote)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, OTHER),
        (0, ONE, OTHER),  # nobody is trusted: the header is the client's own claim
        (1, None, OTHER),
        (1, ONE, ONE),
        (1, f"10.0.0.1, {ONE}", ONE),  # what stands before was forged
        (2, f"10.0.0.1, {ONE}, 198.51.100.1", ONE),
        (2, ONE, ONE),  # came in past the outer proxy
        (1, f"{ONE}:4711", ONE),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_client_address_is_what_the_outermost_trusted_proxy_saw(
    settings: Any, proxies: int, forwarded: str | None, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    assert addresses.client_address(asked_from(OTHER, forwarded)) == address


def test_address_key_tells_networks_apart_and_no_address() -> None:
    def key(address: str) -> str:
        return addresses.address_key(asked_from(address))

    assert key(ONE) != key(OTHER)
    assert key("2001:db8::1") == key("2001:db8::ffff:2")  # one /64
    assert key("2001:db8::1") != key("2001:db8:0:1::1")
    assert key(f"::ffff:{ONE}") == key(ONE)
    assert key("fe80::1%eth0") == key("fe80::2")
    assert key("") and key("unix:")  # a socket without an address
    assert ONE not in key(ONE)


@pytest.fixture
def api(client: Client, db: None) -> Api:
    made = make_api(client)
    update_app(app_id=made.app_id, anonymous_allowance=nano_from_usd("0.01"), now=now(), actor=ACTOR)
    return made


def device_session(api: Api, device: str, remote: str = ONE) -> Any:
    body = {"public_app_id": api.public_id, "device_id": device}
    return api.client.post("/v1/sessions", body, content_type="application/json", REMOTE_ADDR=remote)


def test_anonymous_sessions_are_limited_by_address(api: Api, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.SESSIONS_PER_ADDRESS = "3/minute"
    with caplog.at_level(logging.DEBUG):
        assert [device_session(api, f"d{n}").status_code for n in range(3)] == [201] * 3
        refused = device_session(api, "d0")
        assert code_of(refused) == (429, "rate_limited")
        assert 1 <= int(refused["retry-after"]) <= 60
        assert device_session(api, "d0", OTHER).status_code == 201
    assert ONE not in caplog.text
    body = {"public_app_id": api.public_id, "user_token": api.user_token()}
    response = api.client.post("/v1/sessions", body, content_type="application/json", REMOTE_ADDR=ONE)
    assert response.status_code == 201  # who proves more is not limited with the anonymous


def test_failed_proofs_are_limited_by_address(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.gateway.api.proofs.FAILED_PROOFS", "3/minute")

    def try_secret(secret: str, remote: str = ONE) -> Any:
        headers = {"authorization": f"Bearer {secret}"}
        body = {"external_user_id": "a"}
        return api.client.post(
            "/v1/sessions", body, content_type="application/json", headers=headers, REMOTE_ADDR=remote
        )

    assert [try_secret(f"mf_app_guess{n}").status_code for n in range(3)] == [401] * 3
    assert [try_secret(api.secret, OTHER).status_code for _ in range(4)] == [201] * 4  # success is not counted
    refused = try_secret("mf_app_guess3")
    assert code_of(refused) == (429, "rate_limited")
    assert int(refused["retry-after"]) >= 1
    assert code_of(try_secret(api.secret)) == (429, "rate_limited")  # no oracle for the guess that is right


def test_limits_are_shared_through_redis(api: Api, settings: Any, redis_url: str) -> None:
    settings.REDIS_URL = redis_url
    settings.SESSIONS_PER_ADDRESS = "2/minute"
    statuses = []
    for n in range(4):
        addresses.forget()  # as another process would
        statuses.append(device_session(api, f"d{n}").status_code)
    addresses.forget()
    assert statuses == [201, 201, 429, 429]


def test_limits_fail_open_with_an_alarm(api: Api, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    with caplog.at_level(logging.ERROR):
        assert device_session(api, "d").status_code == 201
    assert "limits out of reach" in caplog.text
