"""The table of outcomes in docs/reference/money.md, each row over real sockets, whole and streamed."""

import json
import time
from typing import Any

import httpx
import pytest

from apps.core.money import usd
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.usage.models import UsageEvent
from tests.live import TIER, World, rate_all
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble
from tests.settlement.asking import Answered, ask

FUNDS = 10_000_000_000
whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def cost(*, input: int = 0, cache_read: int = 0, cache_write: int = 0, output: int = 0) -> int:
    """Return what the test's provider bills in nano-USD (its prices come out even)."""
    weight = input * TIER.input + cache_read * TIER.cache_read + cache_write * TIER.cache_write + output * TIER.output
    assert weight % 1_000_000 == 0
    return weight // 1_000_000


def posted(kind: str, owner: str = "operator") -> int:
    found = account_id(kind, owner)
    return balance(found).posted if found is not None else 0


def assert_charged(world: World, answered: Answered | None, event: UsageEvent, cost_nano: int) -> None:
    """Assert that the payer was charged the marked-up cost, once, and was told so."""
    rate_all()
    event.refresh_from_db()
    price = (cost_nano * 14 + 5) // 10
    assert (event.charged, event.cost_nano, event.price_nano) == (True, cost_nano, price)
    assert (event.charge.cost_nano, event.charge.price_nano, event.charge.loss_nano) == (cost_nano, price, 0)
    assert world.balance().posted == FUNDS - price
    assert posted(AccountKind.PROVIDER_COST, "double-0") == cost_nano
    assert posted(AccountKind.DEVELOPER, world.developer_id) == (price - cost_nano) * 4 // 10
    assert posted(AccountKind.PLATFORM_LOSS) == 0
    if answered is not None:
        assert answered.price_usd == usd(price)
        assert answered.estimated == event.estimated


def assert_free(world: World, event: UsageEvent, loss: int) -> None:
    """Assert that the payer was charged nothing and that the platform bears the cost."""
    rate_all()
    event.refresh_from_db()
    assert (event.charged, event.price_nano, event.cost_nano) == (False, 0, loss)
    assert (event.charge.price_nano, event.charge.loss_nano) == (0, loss)
    assert world.balance().posted == FUNDS
    assert posted(AccountKind.PLATFORM_LOSS) == -loss
    assert posted(AccountKind.PROVIDER_COST, "double-0") == loss
    assert posted(AccountKind.DEVELOPER, world.developer_id) == 0


# Finished, usage reported.


@whole_and_streamed
def test_finished_with_usage_is_charged_the_reported_usage(world: World, double: ProviderDouble, stream: bool) -> None:
    answered = ask(world, stream=stream)
    assert answered.status == 200
    assert answered.text == TEXT
    assert answered.done == stream
    event = answered.event()
    usage = double.requests[0].usage
    assert event.outcome == "finished"
    assert (event.input_tokens, event.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert not event.estimated
    assert event.finish_reason == "stop"
    assert_charged(world, answered, event, cost(input=event.input_tokens, output=event.output_tokens))


@whole_and_streamed
def test_event_says_who_asked_for_what_and_how_it_went(world: World, double: ProviderDouble, stream: bool) -> None:
    answered = ask(world, stream=stream)
    event = answered.event()
    assert (event.app_id, event.developer_id, event.end_user_id) == (
        world.app_id,
        world.developer_id,
        world.end_user_id,
    )
    assert event.account_id == world.account_id
    assert (event.endpoint, event.stream, event.route_mode) == ("chat.completions", stream, "platform")
    assert (event.provider, event.requested_model, event.served_model) == ("double-0", "test-model", "test-model")
    assert event.feature_key == "default"
    assert event.credential_id.startswith("cred_")
    assert event.principal_id.startswith("sess_")
    assert (event.status, event.error_code, event.attempts) == (200, None, [])
    assert event.price_version_id is not None
    assert event.first_byte_ms is not None
    assert 0 <= event.first_byte_ms <= event.duration_ms
    assert abs(time.time() - event.effective_at.timestamp()) < 60
    assert answered.headers["x-modelfaucet-route-mode"] == "platform"
    assert answered.headers["x-modelfaucet-served-model"] == "test-model"
    if stream:
        assert answered.headers["content-type"].startswith("text/event-stream")
        assert answered.note["request_id"] == event.request_id
        assert answered.note["outcome"] == "finished"
    else:
        assert answered.raw == json.dumps(answered.events[0], ensure_ascii=False).encode()


@whole_and_streamed
def test_cached_and_reasoning_tokens_are_priced_in_their_own_kinds(
    world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script("cached")
    answered = ask(world, stream=stream)
    event = answered.event()
    assert (event.input_tokens, event.cache_read_tokens, event.output_tokens, event.reasoning_tokens) == (
        400,
        600,
        50,
        20,
    )
    assert_charged(world, answered, event, cost(input=400, cache_read=600, output=50))


@whole_and_streamed
def test_reported_zero_is_a_value(world: World, double: ProviderDouble, stream: bool) -> None:
    double.script("usage-zero")
    answered = ask(world, stream=stream)
    event = answered.event()
    assert (event.outcome, event.charged, event.estimated) == ("finished", True, False)
    assert (event.input_tokens, event.output_tokens) == (0, 0)
    assert_charged(world, answered, event, 0)


@pytest.mark.parametrize(
    "how", ["usage-split", "usage-last-chunk", "usage-every-chunk", "crlf", "comments", "split-character", "no-done"]
)
def test_stream_in_any_shape_is_charged_the_reported_usage(world: World, double: ProviderDouble, how: str) -> None:
    double.script(how)
    answered = ask(world, stream=True)
    event = answered.event()
    usage = double.requests[0].usage
    assert answered.text == TEXT
    assert answered.done
    assert all(e.get("usage") is None for e in answered.events)
    assert (event.outcome, event.estimated) == ("finished", False)
    assert (event.input_tokens, event.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert_charged(world, answered, event, cost(input=event.input_tokens, output=event.output_tokens))


@whole_and_streamed
def test_answer_that_comes_byte_by_byte_is_read_all_the_same(
    world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script(Behaviour(one_byte_writes=True, text="你好 well"))
    answered = ask(world, stream=stream)
    assert answered.text == "你好 well"
    assert answered.event().outcome == "finished"
    assert not answered.event().estimated


def test_usage_is_given_to_the_client_that_asks(world: World, double: ProviderDouble) -> None:
    answered = ask(world, stream=True, stream_options={"include_usage": True})
    usage = [event["usage"] for event in answered.events if event.get("usage")]
    assert usage == [double.requests[0].usage]


@whole_and_streamed
def test_tool_call_is_an_answer(world: World, double: ProviderDouble, stream: bool) -> None:
    double.script("tool")
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    answered = ask(world, stream=stream, tools=tools)
    event = answered.event()
    assert (event.outcome, event.finish_reason) == ("finished", "tool_calls")
    deltas = [choice.get("delta", choice.get("message")) for e in answered.events for choice in e["choices"]]
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls") or []]
    assert "".join(call.get("arguments", "") for call in calls) == '{"city": "Paris", "unit": "celsius"}'
    assert_charged(world, answered, event, cost(input=event.input_tokens, output=event.output_tokens))


@whole_and_streamed
def test_several_choices_are_charged_together(world: World, double: ProviderDouble, stream: bool) -> None:
    answered = ask(world, stream=stream, n=3)
    event = answered.event()
    indexes = {choice["index"] for e in answered.events for choice in e["choices"]}
    assert indexes == {0, 1, 2}
    assert event.output_tokens == double.requests[0].usage["completion_tokens"]
    assert_charged(world, answered, event, cost(input=event.input_tokens, output=event.output_tokens))


# Finished, usage missing.


@whole_and_streamed
def test_missing_usage_is_estimated_and_flagged(world: World, double: ProviderDouble, stream: bool) -> None:
    double.script("usage-missing")
    answered = ask(world, stream=stream)
    event = answered.event()
    usage = double.requests[0].usage
    assert (event.outcome, event.estimated, event.charged) == ("finished", True, True)
    assert event.output_tokens == usage["completion_tokens"]
    assert usage["prompt_tokens"] <= event.input_tokens <= usage["prompt_tokens"] + 20
    assert_charged(world, answered, event, cost(input=event.input_tokens, output=event.output_tokens))


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1, "completion_tokens": 5}, {"prompt_tokens": "7"}, [], 3])
def test_usage_that_makes_no_sense_is_missing(world: World, double: ProviderDouble, usage: Any) -> None:
    double.script(Behaviour(raw_usage=usage))
    answered = ask(world, stream=False)
    event = answered.event()
    assert event.estimated
    assert event.output_tokens == double.requests[0].usage["completion_tokens"]
    assert_charged(world, answered, event, cost(input=event.input_tokens, output=event.output_tokens))


def test_usage_beyond_any_model_is_missing(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(prompt_tokens=10**11, completion_tokens=10**11))
    answered = ask(world, stream=True)
    assert answered.event().estimated
    assert answered.event().price_nano < FUNDS


# Free: an empty answer, finish reason error.


@whole_and_streamed
@pytest.mark.parametrize(("how", "outcome"), [("empty", "empty"), ("finish-error", "error_finish")])
def test_nothing_to_pay_for_is_free(world: World, double: ProviderDouble, stream: bool, how: str, outcome: str) -> None:
    double.script(how)
    answered = ask(world, stream=stream)
    assert answered.status == 200
    assert answered.price_usd == "0.0000"
    event = answered.event()
    assert event.outcome == outcome
    usage = double.requests[0].usage
    assert_free(world, event, cost(input=usage["prompt_tokens"], output=usage["completion_tokens"]))


@whole_and_streamed
def test_filtered_answer_is_charged_if_there_is_one(world: World, double: ProviderDouble, stream: bool) -> None:
    double.script(
        Behaviour(finish_reason="content_filter"),
        Behaviour(finish_reason="content_filter", text="", completion_tokens=3),
    )
    assert ask(world, stream=stream).event().charged
    empty = ask(world, stream=stream).event()
    assert (empty.outcome, empty.charged, empty.price_nano) == ("empty", False, 0)


@whole_and_streamed
def test_limit_reached_before_any_text_is_charged(world: World, double: ProviderDouble, stream: bool) -> None:
    # All of the limit went into reasoning: the tokens were made as ordered.
    double.script(Behaviour(text="", finish_reason="length", completion_tokens=64, reasoning_tokens=64))
    answered = ask(world, stream=stream, max_tokens=64)
    event = answered.event()
    assert (event.outcome, event.finish_reason, event.charged) == ("finished", "length", True)
    assert_charged(world, answered, event, cost(input=event.input_tokens, output=64))


# The client left.


def _leave(world: World, *, stream: bool, text: str = "Say hello", after: float = 0.05, reads: int = 0) -> None:
    """Ask, read `reads` pieces, and hang up `after` seconds."""
    with httpx.Client(timeout=30) as client:
        request = client.build_request(
            "POST",
            f"{world.base_url}/v1/chat/completions",
            json=world.body(text, stream=stream),
            headers=world.headers(),
        )
        if reads:
            response = client.send(request, stream=True)
            pieces = response.iter_raw()
            for _ in range(reads):
                next(pieces)
            time.sleep(after)
            response.close()
            return
        with pytest.raises(httpx.ReadTimeout):
            client.send(
                client.build_request(
                    request.method,
                    request.url,
                    content=request.content,
                    headers=request.headers,
                    extensions={"timeout": {"connect": 5, "read": after, "write": 5, "pool": 5}},
                )
            )


def test_client_that_left_within_the_bound_is_charged_the_reported_usage(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(chunks=12, interval=0.02))
    _leave(world, stream=True, reads=1)
    event = world.wait_for_event()
    request = double.requests[0]
    assert (event.outcome, event.charged, event.estimated) == ("client_left", True, False)
    assert event.output_tokens == request.usage["completion_tokens"]
    assert request.completed
    assert_charged(world, None, event, cost(input=event.input_tokens, output=event.output_tokens))


def test_client_that_left_past_the_bound_pays_for_what_was_delivered(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(chunks=500, interval=0.02))
    started = time.monotonic()
    _leave(world, stream=True, reads=5, after=0.1)
    left = time.monotonic()
    event = world.wait_for_event()
    request = double.requests[0]
    double.wait_for(lambda: request.closed_by_peer_at)
    assert request.closed_by_peer_at is not None
    assert request.closed_by_peer_at - left < 0.3 + 0.3  # DRAIN_SECONDS and a little
    assert (event.outcome, event.charged, event.estimated) == ("client_left", True, True)
    # What was sent before it left, not what was read on after that.
    sent_at_most = (left - started + 0.15) / 0.02 * 3
    assert 0 < event.output_tokens < sent_at_most
    assert UsageEvent.objects.count() == 1
    assert_charged(world, None, event, cost(input=event.input_tokens, output=event.output_tokens))


@whole_and_streamed
def test_client_that_left_before_any_byte_is_charged_nothing(
    world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script("stall-before")
    _leave(world, stream=stream, after=0.2)
    event = world.wait_for_event()
    request = double.requests[0]
    double.wait_for(lambda: request.closed_by_peer_at)
    assert (event.outcome, event.charged, event.status, event.output_tokens) == ("client_left", False, 0, 0)
    assert event.error_code == "client_left"
    assert_free(world, event, cost(input=event.input_tokens))


@whole_and_streamed
def test_client_that_left_while_the_answer_came_within_the_bound_pays_for_it(
    world: World, double: ProviderDouble, stream: bool
) -> None:
    double.script(Behaviour(delay=0.35))
    _leave(world, stream=stream, after=0.2)
    event = world.wait_for_event()
    assert (event.outcome, event.charged, event.estimated) == ("client_left", True, False)
    assert_charged(world, None, event, cost(input=event.input_tokens, output=event.output_tokens))


def test_client_that_left_while_an_error_was_read_leaves_no_hold(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(status=500, fail="stall-within"))
    _leave(world, stream=False, after=0.2)
    event = world.wait_for_event()
    assert (event.outcome, event.charged) == ("client_left", False)
    assert world.balance().held == 0


def test_provider_that_fails_with_nobody_listening_is_free(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(chunks=10, interval=0.04, fail="close-within"))
    _leave(world, stream=True, reads=1, after=0)
    event = world.wait_for_event()
    assert (event.outcome, event.charged) == ("client_left", False)
    assert_free(world, event, event.cost_nano)


# The provider failed.


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("close-within", "provider_broke_off"),
        ("reset-within", "provider_broke_off"),
        ("error-event", "provider_error_in_stream"),
        ("stall-within", "provider_timeout_idle"),
    ],
)
def test_provider_that_fails_in_mid_stream_is_free_and_the_stream_says_so(
    world: World, double: ProviderDouble, how: str, code: str
) -> None:
    double.script(Behaviour(fail=how, interval=0.01))
    answered = ask(world, stream=True)
    assert answered.status == 200
    assert not answered.done
    assert answered.error["code"] == code
    assert answered.error["type"] == "api_error"
    assert answered.error["request_id"] == answered.headers["x-request-id"]
    assert TEXT.startswith(Answered(200, answered.headers, b"", answered.events[:-1]).text)
    event = answered.event()
    assert (event.outcome, event.error_code, event.estimated) == ("provider_failed", code, True)
    assert event.output_tokens > 0
    assert_free(world, event, cost(input=event.input_tokens, output=event.output_tokens))


def test_stream_that_only_stops_is_a_failure(world: World, double: ProviderDouble) -> None:
    # Without a finish reason nor an end marker nobody knows whether that was all.
    double.script(Behaviour(fail="no-done", finish_reason=None, framing="eof"))
    answered = ask(world, stream=True)
    assert answered.error["code"] == "provider_broke_off"
    assert_free(world, answered.event(), answered.event().cost_nano)


def test_error_reported_with_usage_costs_the_platform_what_was_reported(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(fail="error-event", usage="every-chunk"))
    answered = ask(world, stream=True)
    event = answered.event()
    assert not event.estimated
    usage = double.requests[0].usage
    assert_free(world, event, cost(input=usage["prompt_tokens"], output=usage["completion_tokens"]))
