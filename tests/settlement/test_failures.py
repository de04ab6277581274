"""Providers that fail before the first byte: the next one is asked, and the client is told in its own terms."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from apps.gateway import relay
from apps.usage.models import UsageEvent
from tests.live import Server, World, heal, make_world
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble
from tests.settlement.asking import ask

whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def second() -> Iterator[ProviderDouble]:
    with ProviderDouble() as provider:
        yield provider


@pytest.fixture
def pair(server: Server, double: ProviderDouble, second: ProviderDouble, settings: Any) -> World:
    """Give a world whose model two providers serve, `double` before `second`."""
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{double.port}", f"127.0.0.1:{second.port}")
    return make_world(server.base_url, double.base_url, second.base_url)


@whole_and_streamed
def test_next_provider_is_asked_when_one_fails_before_the_first_byte(
    pair: World, double: ProviderDouble, second: ProviderDouble, stream: bool
) -> None:
    failures: dict[str | Behaviour, tuple[str, int]] = {
        "status-500": ("provider_error", 500),
        "status-529": ("provider_error", 529),
        "status-401": ("provider_auth_failed", 401),
        "status-403": ("provider_auth_failed", 403),
        "status-404": ("provider_model_not_found", 404),
        "rate-limited": ("provider_rate_limited", 429),
        "close-before": ("provider_broke_off", 0),
        "reset-before": ("provider_broke_off", 0),
        "garbage": ("provider_broke_off", 0),
        "html": ("provider_error", 502),
        "stall-before": ("provider_timeout_first_byte", 0),
        Behaviour(status=302): ("provider_error", 302),
        Behaviour(status=204): ("provider_error", 204),
        Behaviour(raw=b"<html>Hello</html>", content_type="text/html"): ("provider_answer_broken", 200),
        Behaviour(raw=b'{"error": {"message": "no"}}'): ("provider_answer_broken", 200),
        Behaviour(raw=b'{"error": "no", "choices": []}'): ("provider_answer_broken", 200),
        Behaviour(raw=b'{"choices": [{"message": {"content": "bro'): ("provider_answer_broken", 200),
        Behaviour(raw=b"[]"): ("provider_answer_broken", 200),
        Behaviour(raw=b'"choices"'): ("provider_answer_broken", 200),
    }
    for how, (code, status) in failures.items():
        heal()
        double.script(how, how)  # a kept connection that closes is tried once more
        answered = ask(pair, stream=stream)
        double.scripted.clear()
        assert (how, answered.status, answered.text) == (how, 200, TEXT)
        event = answered.event()
        assert (how, event.provider, event.outcome) == (how, "double-1", "finished")
        assert [(a["provider"], a["code"], a["status"]) for a in event.attempts][-1] == ("double-0", code, status), how
    assert len(second.requests) == len(failures)
    assert UsageEvent.objects.count() == len(failures)
    double.release()


def test_provider_that_refuses_connections_is_passed_over(
    pair: World, double: ProviderDouble, second: ProviderDouble
) -> None:
    double.refuse_connections()
    event = ask(pair, stream=False).event()
    assert [a["code"] for a in event.attempts] == ["provider_unreachable_refused"]


@pytest.mark.parametrize("how", ["close-within", "truncate"])
def test_whole_answer_that_breaks_off_is_asked_of_the_next(
    pair: World, double: ProviderDouble, second: ProviderDouble, how: str
) -> None:
    # Nothing of it reached the client.
    double.script(how)
    answered = ask(pair, stream=False)
    assert answered.text == TEXT
    assert answered.event().provider == "double-1"


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"error": {"message": "overloaded", "code": 529}}\n\n',
        b"",
        b": nothing but a comment",
    ],
)
def test_stream_that_says_nothing_but_its_failure_is_asked_of_the_next(
    pair: World, double: ProviderDouble, second: ProviderDouble, raw: bytes
) -> None:
    double.script(Behaviour(raw=raw or b"\n", content_type="text/event-stream"))
    answered = ask(pair, stream=True)
    if raw.startswith(b":"):  # its comment was passed on: the client has its first byte
        assert answered.error["code"] == "provider_broke_off"
        return
    assert answered.text == TEXT
    assert answered.event().provider == "double-1"


def test_request_that_a_provider_rejects_is_not_asked_of_the_next(
    pair: World, double: ProviderDouble, second: ProviderDouble
) -> None:
    for status in (400, 422):
        double.script(Behaviour(status=status))
        answered = ask(pair, stream=True)
        assert answered.status == 400
        assert answered.error["code"] == "provider_rejected_request"
        assert answered.error["type"] == "invalid_request_error"
        assert f"the double says {status}" in answered.error["message"]
        event = answered.event()
        assert (event.outcome, event.charged, event.status) == ("not_served", False, 400)
    assert second.requests == []
    assert pair.balance().held == 0


def test_all_providers_failed_is_502_with_the_attempts(
    pair: World, double: ProviderDouble, second: ProviderDouble
) -> None:
    double.script("status-500")
    second.script("close-before")
    answered = ask(pair, stream=False)
    assert answered.status == 502
    assert answered.error["code"] == "all_providers_failed"
    assert answered.error["details"]["attempts"] == [
        {"provider": "double-0", "code": "provider_error", "status": 500},
        {"provider": "double-1", "code": "provider_broke_off", "status": 0},
    ]
    event = answered.event()
    assert (event.outcome, event.status, event.error_code) == ("not_served", 502, "all_providers_failed")
    assert (event.price_nano, event.cost_nano, event.input_tokens) == (0, 0, 0)
    assert pair.balance().held == 0


@pytest.mark.parametrize(
    ("how", "status", "code", "kind"),
    [
        ("status-401", 502, "provider_auth_failed", "api_error"),
        ("status-403", 502, "provider_auth_failed", "api_error"),
        ("status-404", 502, "provider_model_not_found", "api_error"),
        ("status-500", 502, "provider_error", "api_error"),
        ("status-429", 429, "provider_rate_limited", "rate_limit_error"),
        ("close-before", 502, "provider_broke_off", "api_error"),
        ("wrong-json", 502, "provider_answer_broken", "api_error"),
        ("stall-before", 502, "provider_timeout_first_byte", "api_error"),
    ],
)
def test_only_provider_fails_in_its_own_class(
    world: World, double: ProviderDouble, how: str, status: int, code: str, kind: str
) -> None:
    double.script(how)
    answered = ask(world, stream=False)
    assert (answered.status, answered.error["code"], answered.error["type"]) == (status, code, kind)
    assert answered.error["request_id"] == answered.headers["x-request-id"]
    assert answered.event().outcome == "not_served"
    assert world.balance().posted == 10_000_000_000
    assert world.balance().held == 0


def test_retry_after_of_a_provider_is_kept(pair: World, double: ProviderDouble, second: ProviderDouble) -> None:
    double.script(Behaviour(status=429, retry_after="30"), Behaviour(status=429), Behaviour(status=503, retry_after=11))
    second.script(Behaviour(status=429, retry_after="7"), Behaviour(status=429), Behaviour(status=503))
    answered = ask(pair, stream=True)
    assert (answered.status, answered.headers["retry-after"]) == (429, "7")
    assert answered.error["type"] == "rate_limit_error"
    heal()
    answered = ask(pair, stream=True)
    assert (answered.status, answered.headers["retry-after"]) == (429, "5")
    heal()
    answered = ask(pair, stream=True)
    assert (answered.status, answered.headers["retry-after"]) == (502, "11")


@pytest.mark.parametrize("value", ["9" * 5000, "-1", "Wed, 21 Oct 2099 07:28:00 GMT", "1.5", "²"])
def test_retry_after_in_another_form_does_no_harm(world: World, double: ProviderDouble, value: str) -> None:
    double.script(Behaviour(raw=b"{}", status=429, retry_after=value.encode("utf-8").decode("latin-1")))
    answered = ask(world, stream=False)
    assert answered.status == 429
    assert answered.headers["retry-after"].isdigit()
    assert int(answered.headers["retry-after"]) <= 3600


def test_secrets_are_blotted_out_of_a_providers_words(world: World, double: ProviderDouble) -> None:
    words = "Bearer sk-double-0 is not allowed; sk-double-0 neither"
    double.script(Behaviour(raw=json.dumps({"error": {"message": words}}).encode(), status=400))
    answered = ask(world, stream=False)
    assert answered.status == 400
    assert b"sk-double-0" not in answered.raw
    assert "is not allowed" in answered.error["message"]


def test_rejection_in_any_words_stays_a_400(world: World, double: ProviderDouble) -> None:
    bodies: list[bytes] = [
        b"",
        b"not json",
        b"[]",
        b'{"error": "just text"}',
        b'{"error": {"message": 5, "param": ["x"]}}',
        b'{"error": {"message": "\\ud800"}}',
        b'{"error": ' + b"[" * 50_000,
        b"x" * 200_000,
        "{'error'}".encode("utf-16"),
    ]
    for body in bodies:
        double.script(Behaviour(raw=body or b"\n", status=400))
        answered = ask(world, stream=False)
        assert (answered.status, answered.error["code"]) == (400, "provider_rejected_request"), body[:40]
        assert len(answered.error["message"]) < 1000


def test_enormous_whole_answer_is_not_read(
    world: World, double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MAX_ANSWER_BYTES", 1_000_000)
    double.script(Behaviour(chunks=200, chunk_bytes=10_000))
    answered = ask(world, stream=False)
    assert (answered.status, answered.error["code"]) == (502, "provider_answer_too_large")
    assert double.requests[0].closed_by_peer_at or double.requests[0].completed
    assert world.balance().held == 0


def test_kept_connection_that_the_provider_closed_is_replaced(world: World, double: ProviderDouble) -> None:
    assert ask(world, stream=False).status == 200
    double.script("close-before")  # on the kept connection, as a server does that closes for idleness just then
    answered = ask(world, stream=False)
    assert (answered.status, answered.text) == (200, TEXT)
    event = answered.event()
    assert [(a["provider"], a["code"]) for a in event.attempts] == [("double-0", "provider_closed_kept_connection")]
    assert len(double.requests) == 3


def test_fresh_connection_that_the_provider_closed_is_not_tried_again(world: World, double: ProviderDouble) -> None:
    double.script("close-before")
    answered = ask(world, stream=False)
    assert (answered.status, answered.error["code"]) == (502, "provider_broke_off")
    assert len(double.requests) == 1


def test_deadline_holds_over_all_attempts(pair: World, double: ProviderDouble, settings: Any) -> None:
    settings.REQUEST_DEADLINE = 0.5
    double.script("stall-before")
    answered = ask(pair, stream=False)
    assert (answered.status, answered.error["code"]) == (502, "provider_timeout_deadline")
    assert len(answered.event().attempts) == 1
