"""What is wrong with a request is said in a 4xx before anything is held or a provider is called."""

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import add_model, add_offer
from apps.core.clock import now
from apps.features.queries import features_of_app
from apps.features.services.features import update_feature
from apps.ledger.models import Hold
from apps.usage.models import UsageEvent
from tests.live import ACTOR, MODEL, World
from tests.provider_double import ProviderDouble

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def nothing_spent(world: World, double: ProviderDouble) -> Iterator[None]:
    """Assert after the test that nothing was held, sent to a provider, or stored."""
    yield
    assert double.requests == []
    assert Hold.objects.count() == 0
    assert UsageEvent.objects.count() == 0


def assert_refused(response: httpx.Response, status: int, code: str, param: str | None = None) -> None:
    """Assert a refusal in the envelope, whole."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error["message"]
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", error["request_id"])
    assert error["request_id"] == response.headers["x-request-id"]


def deep(depth: int, before: str = "[", after: str = "]") -> str:
    return before * depth + after * depth


def body(**members: Any) -> bytes:
    return json.dumps({"model": MODEL, "messages": HELLO} | members).encode()


def with_raw(name: str, raw: str) -> bytes:
    """Return a body in which one member is this text, JSON or not."""
    return body().replace(b'"messages"', f'"{name}": {raw}, "messages"'.encode("utf-8", "surrogatepass"), 1)


def message(raw: str) -> bytes:
    return f'{{"model": "{MODEL}", "messages": [{raw}]}}'.encode("utf-8", "surrogatepass")


JSON, TYPE, MISSING, UNPRICED = "invalid_json", "invalid_type", "missing_parameter", "unpriced_parameter"

BAD_BODIES: list[tuple[bytes, int, str, str | None]] = [
    # No JSON object.
    (b"", 400, JSON, None),
    (b"   ", 400, JSON, None),
    (b"null", 400, JSON, None),
    (b"[]", 400, JSON, None),
    (b'"text"', 400, JSON, None),
    (b"5", 400, JSON, None),
    (b"{", 400, JSON, None),
    (b"{}}", 400, JSON, None),
    (b"{'model': 1}", 400, JSON, None),
    (b'{"model": undefined}', 400, JSON, None),
    (body() + b"x", 400, JSON, None),
    (body() + body(), 400, JSON, None),
    (body()[:-1], 400, JSON, None),
    (body().replace(b"}", b",}"), 400, JSON, None),
    (b"\xef\xbb\xbf" + body(), 400, JSON, None),
    (body().decode().encode("utf-16"), 400, JSON, None),
    (with_raw("x", "NaN"), 400, JSON, None),
    (with_raw("x", "Infinity"), 400, JSON, None),
    (with_raw("x", "01"), 400, JSON, None),
    (with_raw("x", "'a'"), 400, JSON, None),
    (with_raw("x", '"\n"'), 400, JSON, None),
    (with_raw("x", '"\0"'), 400, JSON, None),
    (b"model=test-model&messages=hello", 400, JSON, None),
    (b"\x1f\x8b\x08\x00" + b"\0" * 20, 400, JSON, None),
    # Broken UTF-8.
    (body().replace(b"Hello", b"\xff\xfe"), 400, JSON, None),
    (body().replace(b"Hello", b"\xc3"), 400, JSON, None),
    (body().replace(b"Hello", b"\xed\xa0\x80"), 400, JSON, None),
    (with_raw("x", '"\ud800"'), 400, JSON, None),
    # Deep nesting.
    (deep(100_000).encode(), 400, JSON, None),
    (with_raw("x", deep(100_000)), 400, JSON, None),
    (with_raw("x", deep(20_000, '{"a":', "1}")), 400, JSON, None),
    (message(deep(100_000)), 400, JSON, None),
    # Lone surrogates in escapes.
    (message('{"role": "user", "content": "\\ud800"}'), 400, JSON, None),
    (message('{"role": "user", "content": "\\udc00\\ud800"}'), 400, JSON, None),
    (message('{"role": "user", "\\ud83d": "x"}'), 400, JSON, None),
    (body(model="x").replace(b'"x"', b'"\\ud800"'), 400, JSON, None),
    # model
    (body(model=5), 400, TYPE, "model"),
    (body(model=["a"]), 400, TYPE, "model"),
    (body(model={}), 400, TYPE, "model"),
    (body(model=True), 400, TYPE, "model"),
    (body(model=""), 400, TYPE, "model"),
    (body(model="x" * 201), 400, TYPE, "model"),
    (body(model="no-such-model"), 404, "model_not_found", "model"),
    (body(model="test-model\0"), 404, "model_not_found", "model"),
    (body(model="<script>alert(1)</script>"), 404, "model_not_found", "model"),
    (body(model="unpriced"), 400, "unpriced_model", "model"),
    # messages
    (b'{"model": "test-model"}', 400, MISSING, "messages"),
    (body(messages=None), 400, TYPE, "messages"),
    (body(messages=[]), 400, TYPE, "messages"),
    (body(messages="Hello"), 400, TYPE, "messages"),
    (body(messages={}), 400, TYPE, "messages"),
    (body(messages=5), 400, TYPE, "messages"),
    (body(messages=["Hello"]), 400, TYPE, "messages[0]"),
    (body(messages=[None]), 400, TYPE, "messages[0]"),
    (body(messages=[HELLO]), 400, TYPE, "messages[0]"),
    (body(messages=[{}]), 400, TYPE, "messages[0]"),
    (body(messages=[*HELLO, {"content": "x"}]), 400, TYPE, "messages[1]"),
    (body(messages=[{"role": 5, "content": "x"}]), 400, TYPE, "messages[0]"),
    (body(messages=[{"role": None, "content": "x"}]), 400, TYPE, "messages[0]"),
    (body(messages=[{"role": "user", "content": 5}]), 400, TYPE, "messages[0].content"),
    (body(messages=[{"role": "user", "content": {}}]), 400, TYPE, "messages[0].content"),
    (body(messages=[{"role": "user", "content": True}]), 400, TYPE, "messages[0].content"),
    (body(messages=[{"role": "user", "content": ["x"]}]), 400, TYPE, "messages[0].content[0]"),
    (body(messages=[{"role": "user", "content": [[]]}]), 400, TYPE, "messages[0].content[0]"),
    (body(messages=[{"role": "user", "content": [None]}]), 400, TYPE, "messages[0].content[0]"),
    # Limits and switches.
    (body(stream="true"), 400, TYPE, "stream"),
    (body(stream=1), 400, TYPE, "stream"),
    (body(stream={}), 400, TYPE, "stream"),
    (body(stream=True, stream_options=5), 400, TYPE, "stream_options"),
    (body(stream=True, stream_options=[]), 400, TYPE, "stream_options"),
    (body(stream=True, stream_options="x"), 400, TYPE, "stream_options"),
    (body(max_tokens=-1), 400, TYPE, "max_tokens"),
    (body(max_tokens=1.5), 400, TYPE, "max_tokens"),
    (body(max_tokens=10.0), 400, TYPE, "max_tokens"),
    (body(max_tokens="10"), 400, TYPE, "max_tokens"),
    (body(max_tokens=True), 400, TYPE, "max_tokens"),
    (body(max_tokens=[]), 400, TYPE, "max_tokens"),
    (body(max_tokens=10**9), 400, TYPE, "max_tokens"),
    (with_raw("max_tokens", "9" * 400), 400, TYPE, "max_tokens"),
    (with_raw("max_tokens", "9" * 5_000), 400, TYPE, "max_tokens"),
    (with_raw("max_tokens", "1e400"), 400, TYPE, "max_tokens"),
    (with_raw("max_tokens", "-0.0"), 400, TYPE, "max_tokens"),
    (body(max_completion_tokens=-1), 400, TYPE, "max_completion_tokens"),
    (body(max_completion_tokens="many"), 400, TYPE, "max_completion_tokens"),
    (body(n=0), 400, TYPE, "n"),
    (body(n=129), 400, TYPE, "n"),
    (body(n="2"), 400, TYPE, "n"),
    (body(n=2.5), 400, TYPE, "n"),
    (body(n=False), 400, TYPE, "n"),
    (with_raw("n", "1" + "0" * 30), 400, TYPE, "n"),
    # Billed apart.
    (body(service_tier=5), 400, TYPE, "service_tier"),
    (body(service_tier="flex"), 400, UNPRICED, "service_tier"),
    (body(service_tier="priority"), 400, UNPRICED, "service_tier"),
    (body(modalities="text"), 400, TYPE, "modalities"),
    (body(modalities=["text", "audio"]), 400, UNPRICED, "modalities"),
    (
        body(messages=[{"role": "user", "content": [{"type": "input_audio"}]}]),
        400,
        UNPRICED,
        "messages[0].content[0]",
    ),
    (body(cache_control={"type": "ephemeral", "ttl": "1h"}), 400, UNPRICED, "cache_control"),
    (body(tools=[{"cache_control": {"ttl": "1h"}}]), 400, UNPRICED, "tools"),
]


@pytest.mark.usefixtures("nothing_spent")
def test_bad_body_is_refused_with_what_is_wrong(world: World) -> None:
    add_model(id="unpriced", name="unpriced", now=now(), actor=ACTOR)
    add_offer(provider="double-0", model="unpriced", upstream_model="u", capabilities=(), now=now(), actor=ACTOR)
    with httpx.Client(base_url=world.base_url, headers=world.headers(), timeout=20) as client:
        for number, (content, status, code, param) in enumerate(BAD_BODIES):
            for path in ("/v1/chat/completions", "/v1/estimate")[: 1 + (number % 5 == 0)]:
                response = client.post(path, content=content)
                try:
                    assert_refused(response, status, code, param)
                except AssertionError as error:
                    raise AssertionError(f"{path} {content[:120]!r}: {response.text[:300]}") from error


def test_nesting_is_passed_or_refused_but_never_a_fault(world: World) -> None:
    seen = set()
    with httpx.Client(base_url=world.base_url, headers=world.headers()) as client:
        for depth in (400, *range(900, 1_000, 8), 1_100):
            nested = deep(depth)
            for content in (
                message(f'{{"role": "user", "content": "x", "extra": {nested}}}'),
                message(f'{{"role": "user", "content": [{{"type": "odd", "x": {nested}}}]}}'),
                with_raw("tools", nested),
                with_raw("tools", nested).replace(b"Hello", b"\\u0048ello"),
            ):
                response = client.post("/v1/chat/completions", content=content)
                seen.add(response.status_code)
                assert response.status_code in (200, 400), response.text
    assert seen == {200, 400}


BAD_HEADERS: list[tuple[dict[str, str], int, str]] = [
    ({}, 401, "missing_token"),
    ({"authorization": ""}, 401, "invalid_token"),
    ({"authorization": "Bearer"}, 401, "invalid_token"),
    ({"authorization": "Bearer mf_sess_unknown"}, 401, "invalid_token"),
    ({"authorization": "Bearer mf_key_unknown"}, 401, "invalid_token"),
    ({"authorization": "Bearer sk-something"}, 401, "invalid_token"),
    ({"authorization": "Bearer " + "x" * 600}, 401, "invalid_token"),
    ({"authorization": "Basic dXNlcjpwYXNz"}, 401, "invalid_token"),
    ({"authorization": "mf_sess_unknown"}, 401, "invalid_token"),
    ({"authorization": "Bearer ' OR 1=1 --"}, 401, "invalid_token"),
    ({"x-api-key": "mf_sess_unknown"}, 401, "invalid_token"),
]


@pytest.mark.usefixtures("nothing_spent")
def test_bad_token_is_refused(world: World) -> None:
    with httpx.Client(base_url=world.base_url) as client:
        for headers, status, code in BAD_HEADERS:
            response = client.post("/v1/chat/completions", content=body(), headers=headers)
            assert_refused(response, status, code)
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert world.token not in response.text
        response = client.post(
            "/v1/chat/completions", content=body(), headers={"authorization": "Bearer tokén".encode("latin-1")}
        )
        assert_refused(response, 401, "invalid_token")


@pytest.mark.usefixtures("nothing_spent")
def test_bad_idempotency_key_is_refused(world: World) -> None:
    for key in (b"", b"x" * 256, "schlüssel".encode(), b"tab\there"):
        response = httpx.post(
            f"{world.base_url}/v1/chat/completions",
            content=body(),
            headers={"authorization": f"Bearer {world.token}", "idempotency-key": key},
        )
        assert_refused(response, 400, "invalid_idempotency_key", "Idempotency-Key")


@pytest.mark.usefixtures("nothing_spent")
def test_wrong_method_names_the_right_one(world: World) -> None:
    with httpx.Client(base_url=world.base_url, headers=world.headers()) as client:
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            for path in ("/v1/responses", "/v1/estimate"):
                response = client.request(method, path)
                assert_refused(response, 405, "method_not_allowed")
                assert response.headers["allow"] == "POST"
        response = client.put("/v1/chat/completions", content=body())
        assert response.headers["allow"] == "POST, GET"
        assert client.get("/v1/chat/completions").json()["data"] == []  # none is ever stored
        response = client.post("/v1/models", content=body())
        assert_refused(response, 405, "method_not_allowed")
        assert response.headers["allow"] == "GET"


@pytest.mark.usefixtures("nothing_spent")
def test_model_outside_the_feature_is_refused(world: World) -> None:
    feature = features_of_app(world.app_id)[0]
    update_feature(feature_id=feature.id, models=["other"], default_model="other", now=now(), actor=ACTOR)
    response = world.chat()
    assert_refused(response, 403, "model_not_allowed", "model")


@pytest.mark.usefixtures("nothing_spent")
def test_body_beyond_the_limit_is_refused_without_being_read(world: World, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 50_000
    response = httpx.post(
        f"{world.base_url}/v1/chat/completions", content=body(x="y" * 60_000), headers=world.headers()
    )
    assert_refused(response, 413, "request_too_large")
    # By its declared length alone.
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.token}\r\n"
    answer = raw_exchange(world, head + "content-length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    # And in chunks, which declare nothing.
    chunks = f"{head}transfer-encoding: chunked\r\n\r\n" + f"{10_000:x}\r\n{'x' * 10_000}\r\n" * 6
    answer = raw_exchange(world, chunks)
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.usefixtures("nothing_spent")
def test_body_that_does_not_come_in_time_is_refused(world: World, settings: Any) -> None:
    settings.BODY_TIMEOUT = 0.3
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.token}\r\n"
    started = time.monotonic()
    answer = raw_exchange(world, head + 'content-length: 100\r\n\r\n{"mod')
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"body_timeout"' in answer
    assert 0.2 < time.monotonic() - started < 10


@pytest.mark.usefixtures("nothing_spent")
def test_client_that_leaves_within_its_body_is_forgotten(world: World) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.token}\r\n"
    with connected(world) as connection:
        connection.sendall((head + 'content-length: 100\r\n\r\n{"mod').encode())
        time.sleep(0.1)
    time.sleep(0.1)
    assert httpx.get(f"{world.base_url}/v1/models", headers=world.headers()).status_code == 200


def test_body_in_many_pieces_is_one(world: World) -> None:
    def pieces() -> Iterator[bytes]:
        for byte in body():
            yield bytes([byte])

    response = httpx.post(f"{world.base_url}/v1/chat/completions", content=pieces(), headers=world.headers())
    assert response.status_code == 200


def connected(world: World) -> socket.socket:
    host, port = world.base_url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def raw_exchange(world: World, request: str) -> bytes:
    """Send these bytes and return what comes until the head and the start of the body are there."""
    with connected(world) as connection:
        connection.sendall(request.encode())
        data = b""
        while b"\r\n\r\n" not in data or not data.rstrip().endswith(b"}"):
            piece = connection.recv(65_536)
            if not piece:
                break
            data += piece
        return data
