"""The unmodified `openai` client of Python, with only `base_url` and key changed, before the demo provider."""

from typing import Any

import pytest

from apps.usage.models import UsageEvent
from tests.clients.conftest import CallFailed, Client
from tests.live import MODEL, differences, rate_all
from tests.provider_double import Behaviour, ProviderDouble

# The first test may have to install the client.
pytestmark = pytest.mark.timeout(400)

QUESTION = "What is a ledger?"


def charged() -> list[UsageEvent]:
    """Return every event once rated, in order."""
    rate_all()
    assert differences() == []
    return list(UsageEvent.objects.order_by("id"))


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"]["content"] or "" for chunk in chunks for choice in chunk["choices"])


def test_answer(client: Client) -> None:
    answer = client.call("answer", text=QUESTION)
    assert answer["model"] == "faucet-demo"
    assert answer["choices"][0]["message"]["content"]
    [event] = charged()
    assert event.request_id == answer["_request_id"]
    assert (event.input_tokens, event.output_tokens) == (
        answer["usage"]["prompt_tokens"],
        answer["usage"]["completion_tokens"],
    )
    assert event.charge.price_nano > 0


def test_stream_is_the_same_answer(client: Client) -> None:
    whole = client.call("answer", text=QUESTION)
    chunks = client.call("stream", text=QUESTION)
    assert text_of(chunks) == whole["choices"][0]["message"]["content"]
    assert all(chunk["usage"] is None for chunk in chunks)
    first, second = charged()
    assert second.charge.price_nano == first.charge.price_nano


def test_stream_with_usage(client: Client) -> None:
    *chunks, last = client.call("stream", text=QUESTION, stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    [event] = charged()
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (
        event.input_tokens,
        event.output_tokens,
    )


def test_stream_helper(client: Client) -> None:
    result = client.call("stream_helper", text=QUESTION)
    assert {"chunk", "content.delta", "content.done"} <= set(result["kinds"])
    assert result["content"] == client.call("answer", text=QUESTION)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("call", ["tool_call", "streamed_tool_call"])
def test_tool_call(client: Client, call: str) -> None:
    result = client.call(call, text="What is the weather in Lisbon?")
    assert (result["finish_reason"], result["name"]) == ("tool_calls", "get_weather")
    assert result["arguments"] == {"city": "Lisbon"}
    assert "12 degrees, rain" in result.get("after", "12 degrees, rain")
    assert all(event.charge.price_nano > 0 for event in charged())


def test_raw_response_tells_the_price(client: Client) -> None:
    result = client.call("raw_response", text=QUESTION)
    headers = result["headers"]
    [event] = charged()
    assert headers["x-request-id"] == event.request_id
    assert headers["x-modelfaucet-route-mode"] == "platform"
    assert headers["x-modelfaucet-served-model"] == "faucet-demo"
    assert float(headers["x-modelfaucet-price-usd"]) * 10**9 == event.charge.price_nano


def test_parameters_that_we_do_not_know_reach_the_provider(client: Client, double: ProviderDouble) -> None:
    client.call("answer", text="hello", model=MODEL, extra_body={"x": 1}, temperature=0.3, seed=7, top_p=0.9)
    body = double.requests[0].body
    assert (body["x"], body["temperature"], body["seed"], body["top_p"]) == (1, 0.3, 7, 0.9)


def test_models(client: Client) -> None:
    assert set(client.call("list_models")) == {"faucet-demo", MODEL}
    assert client.call("retrieve_model", model="faucet-demo")["id"] == "faucet-demo"
    with pytest.raises(CallFailed) as failed:
        client.call("retrieve_model", model="none")
    assert failed.value.name == "NotFoundError"


def test_asynchronous_client(client: Client) -> None:
    texts = [f"count to {number}" for number in range(3, 11)]
    answers = client.call("asynchronous", texts=texts)
    assert [answer.split(", ")[-1] for answer in answers] == [f"{number}." for number in range(3, 11)]
    assert len(charged()) == len(texts)


@pytest.mark.parametrize(
    ("name", "code", "status", "more"),
    [
        ("AuthenticationError", "invalid_token", 401, {"api_key": "mf_sess_nobody"}),
        ("APIStatusError", "insufficient_funds", 402, {"poor": True}),
        ("NotFoundError", "model_not_found", 404, {"model": "gpt-none"}),
        ("RateLimitError", "provider_rate_limited", 429, {"model": MODEL, "text": "[[rate-limited]]"}),
        ("BadRequestError", "invalid_type", 400, {"extra_body": {"max_tokens": "many"}}),
        ("BadRequestError", "provider_rejected_request", 400, {"model": MODEL, "text": "[[status-400]]"}),
        ("InternalServerError", "provider_error", 502, {"model": MODEL, "text": "[[status-500]]"}),
    ],
)
def test_errors_are_the_client_s_own(client: Client, name: str, code: str, status: int, more: dict[str, Any]) -> None:
    if more.pop("poor", False):
        more["api_key"] = client.world.new_session("poor").token
    for call in ("answer", "stream"):
        with pytest.raises(CallFailed) as failed:
            client.call(call, **{"text": QUESTION} | more)
        error = failed.value.error
        assert (error["class"], error["status"], error["code"]) == (name, status, code)
        assert error["request_id"].startswith("req_")
        assert error["request_id"] == error["body"]["request_id"]
    assert all(event.charge.price_nano == 0 for event in charged())


def test_stream_that_breaks_raises(client: Client) -> None:
    with pytest.raises(CallFailed) as failed:
        client.call("stream", model=MODEL, text="[[chunks=5 fail=close-within]]")
    assert failed.value.name == "APIError"
    [event] = charged()
    assert (event.outcome, event.charge.price_nano) == ("provider_failed", 0)


@pytest.mark.parametrize("call", ["answer", "stream"])
def test_repeat_with_the_same_idempotency_key_is_paid_once(client: Client, call: str) -> None:
    headers = {"Idempotency-Key": "order-7"}
    first = client.call(call, text=QUESTION, extra_headers=headers)
    assert client.call(call, text=QUESTION, extra_headers=headers) == first
    assert len(charged()) == 1
    with pytest.raises(CallFailed) as failed:
        client.call(call, text="Something else", extra_headers=headers)
    assert (failed.value.name, failed.value.error["code"]) == ("ConflictError", "idempotency_key_reused")


@pytest.mark.parametrize("call", ["answer", "stream"])
def test_client_that_retries_with_a_key_is_paid_once(client: Client, double: ProviderDouble, call: str) -> None:
    double.script(Behaviour(status=500), Behaviour(status=503))
    headers = {"Idempotency-Key": "order-8"}
    client.call(call, text="hello", model=MODEL, max_retries=3, extra_headers=headers)
    assert len(double.requests) == 3
    assert [event.charged for event in charged()] == [False, False, True]
