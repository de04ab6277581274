"""Pages of an app's allowed origins may call, and read what is answered; others may not."""

from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.features.services.apps import update_app
from tests.live import ACTOR, World, wait_until
from tests.provider_double import ProviderDouble

ORIGIN = "https://app.example.com"
PATHS = ["/v1/chat/completions", "/v1/estimate", "/v1/models"]


@pytest.fixture
def open_world(world: World) -> World:
    """Give a world whose app allows ORIGIN, once the gateway knows."""
    update_app(app_id=world.app_id, allowed_origins=[ORIGIN], now=now(), actor=ACTOR)
    wait_until(lambda: "access-control-allow-origin" in preflight(world, PATHS[0], ORIGIN).headers, 2)
    return world


def preflight(world: World, path: str, origin: str) -> httpx.Response:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    return httpx.options(f"{world.base_url}{path}", headers=headers)


def call(world: World, origin: str, **body: Any) -> httpx.Response:
    return world.chat(headers={"origin": origin}, **body)


def test_preflight_of_an_allowed_origin_is_answered(open_world: World) -> None:
    for path in PATHS:
        response = preflight(open_world, path, ORIGIN)
        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["vary"] == "Origin"
        allowed = response.headers["access-control-allow-headers"]
        for name in ("authorization", "content-type", "idempotency-key"):
            assert name in allowed
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", "http://app.example.com", "https://app.example.com.evil.org", "tést"]
)
def test_preflight_of_another_origin_gives_nothing_away(open_world: World, origin: str) -> None:
    response = httpx.options(f"{open_world.base_url}{PATHS[0]}", headers={"origin": origin.encode()})
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("stream", [False, True])
def test_page_of_an_allowed_origin_reads_the_answer_and_its_price(open_world: World, stream: bool) -> None:
    response = call(open_world, ORIGIN, stream=stream)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    exposed = response.headers["access-control-expose-headers"]
    for name in ("x-request-id", "x-modelfaucet-price-usd", "x-modelfaucet-output-cap", "retry-after"):
        assert name in exposed


def test_page_of_an_allowed_origin_reads_errors_too(open_world: World) -> None:
    response = call(open_world, ORIGIN, model="none")
    assert response.status_code == 404
    assert response.headers["access-control-allow-origin"] == ORIGIN
    response = httpx.post(f"{open_world.base_url}{PATHS[0]}", headers={"origin": ORIGIN})
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == ORIGIN


def test_page_of_another_origin_is_refused_before_anything_is_spent(open_world: World, double: ProviderDouble) -> None:
    response = call(open_world, "https://evil.example.com")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in response.headers
    assert double.requests == []


def test_replayed_answer_is_for_the_origin_that_asks(open_world: World) -> None:
    headers = {"idempotency_key": "k1", "origin": ORIGIN}
    first = open_world.chat(headers=headers)
    again = open_world.chat(headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers.get_list("access-control-allow-origin") == [ORIGIN]
    assert again.content == first.content
    assert "access-control-allow-origin" not in open_world.chat(headers={"idempotency_key": "k1"}).headers


def test_own_pages_and_servers_need_no_origin(open_world: World) -> None:
    assert call(open_world, open_world.base_url).status_code == 200
    assert open_world.chat().status_code == 200
