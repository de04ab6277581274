"""The double itself, seen by an ordinary client: the tests that lean on it are only as good as it is."""

import json
import threading
import time

import httpx
import pytest

from tests.provider_double import NAMED, Behaviour, ProviderDouble


@pytest.fixture(scope="module")
def shared():
    with ProviderDouble() as double:
        yield double


@pytest.fixture
def double(shared):
    shared.requests.clear()
    shared.max_in_flight = 0
    shared.default = Behaviour()
    return shared


def chat(double, text="hi", timeout=5, **body):
    message = {"role": "user", "content": text}
    body = {"model": "gpt-4o-mini", "messages": [message]} | body
    return httpx.post(f"{double.base_url}/chat/completions", json=body, timeout=timeout)


def stream(double, text="hi", **body):
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    content = chat(double, text, **body).content.decode()
    events = [line[6:] for line in content.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def test_json_answer_is_recorded(double):
    answer = chat(double).json()
    (recorded,) = double.requests
    assert answer["choices"][0]["message"]["content"] == recorded.text
    assert answer["usage"] == recorded.usage
    assert recorded.body["model"] == "gpt-4o-mini"
    double.wait_for(lambda: recorded.completed)


def test_stream_ends_with_usage(double):
    events = stream(double, n=2)
    text = "".join(c["delta"].get("content", "") for e in events for c in e["choices"] if c["index"] == 1)
    assert text == double.requests[0].text
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == double.requests[0].usage


def test_directive_model_and_script_choose(double):
    assert chat(double, "[[status-429 retry_after=7]]").headers["retry-after"] == "7"
    assert chat(double, model="double-status-503").status_code == 503
    double.script("status-401", Behaviour(text="scripted"))
    assert chat(double).status_code == 401
    assert chat(double).json()["choices"][0]["message"]["content"] == "scripted"
    assert "usage" not in chat(double, "[[usage=missing]]").json()


def test_tool_call_is_streamed_in_pieces(double):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    calls = [
        c["delta"]["tool_calls"][0]
        for e in stream(double, "[[tool]]", tools=tools)
        for c in e["choices"]
        if "tool_calls" in c["delta"]
    ]
    assert calls[0]["function"]["name"] == "weather"
    assert json.loads("".join(call["function"]["arguments"] for call in calls))["city"] == "Paris"


@pytest.mark.parametrize(
    "name", ["close-before", "reset-before", "close-within", "reset-within", "truncate", "garbage"]
)
def test_broken_connection_is_an_error_for_the_client(double, name):
    with pytest.raises(httpx.TransportError):
        chat(double, f"[[{name}]]")


@pytest.mark.parametrize("name", ["stall-before", "stall-within"])
def test_stall_lasts_until_released(double, name):
    with pytest.raises(httpx.ReadTimeout):
        chat(double, f"[[{name}]]", timeout=0.1)
    recorded = double.requests[0]
    double.wait_for(lambda: recorded.closed_by_peer_at)
    assert not recorded.completed
    threading.Timer(0.1, double.release).start()
    assert chat(double, f"[[{name}]]").json()["usage"] == recorded.usage
    double.released.clear()


def test_in_flight_is_counted(double):
    threads = [threading.Thread(target=chat, args=(double, "[[delay=0.2]]")) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert double.max_in_flight == 5
    double.wait_for(lambda: double.in_flight == 0)


def test_connections_can_be_refused_and_accepted_again(double):
    double.refuse_connections()
    with pytest.raises(httpx.ConnectError):
        chat(double)
    double.accept_connections()
    assert chat(double).status_code == 200


def test_slow_chunks_are_paced(double):
    started = time.monotonic()
    stream(double, "[[slow chunks=5 interval=0.03]]")
    assert 0.15 <= time.monotonic() - started < 10


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"enormous"}))
def test_every_name_answers_or_fails_at_once(double, name):
    for streamed in (False, True):
        try:
            chat(double, f"[[{name}]]", timeout=20 if "stall" not in name else 0.05, stream=streamed)
        except httpx.TransportError:
            assert name.split("-")[0] in {"close", "reset", "stall", "truncate", "garbage"}
    assert len(double.requests) == 2
