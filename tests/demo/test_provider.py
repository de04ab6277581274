"""The demo provider as a process, over real sockets, by ordinary clients."""

import base64
import json
import struct
import subprocess
import sys
import time

import httpx
import pytest
from rs_bpe.bpe import openai as bpe

COUNT = bpe.o200k_base().count


@pytest.fixture(scope="module")
def provider():
    """Start the provider, yield its base URL, end it; it must end quietly."""
    command = [sys.executable, "-m", "modelfaucet.demo.provider", "--port", "0", "--pace-ms", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        announced = json.loads(process.stdout.readline())
        assert announced["base_url"] == f"http://127.0.0.1:{announced['port']}/v1"
        yield announced["base_url"]
        process.terminate()
        _, errors = process.communicate(timeout=10)
        assert errors == b""


@pytest.fixture(scope="module")
def client(provider):
    with httpx.Client(base_url=provider, timeout=10) as client:
        yield client


def chat(client, text="Say hello", **body):
    body = {"model": "faucet-demo", "messages": [{"role": "user", "content": text}]} | body
    return client.post("/chat/completions", json=body)


def stream(client, text="Say hello", **body):
    answer = chat(client, text, stream=True, **body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def text_of(events, index=0):
    choices = [choice for event in events for choice in event["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_answer_has_exact_usage(client):
    body = {
        "messages": [
            {"role": "system", "content": "You are a parrot."},
            {"role": "user", "content": [{"type": "text", "text": "What is ModelFaucet?"}]},
        ]
    }
    answer = chat(client, **body).json()
    said = answer["choices"][0]["message"]["content"]
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "faucet-demo"
    assert answer["choices"][0]["finish_reason"] == "stop"
    prompt = 3 + 3 + COUNT("system") + COUNT("You are a parrot.") + 3 + COUNT("user") + COUNT("What is ModelFaucet?")
    assert answer["usage"]["prompt_tokens"] == prompt
    assert answer["usage"]["completion_tokens"] == COUNT(said)
    assert answer["usage"]["total_tokens"] == prompt + COUNT(said)


def test_stream_says_the_same_in_pieces(client):
    whole = chat(client, "这次调用花多少钱？").json()
    events = stream(client, "这次调用花多少钱？", stream_options={"include_usage": True})
    assert text_of(events) == whole["choices"][0]["message"]["content"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == whole["usage"]
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert {event["usage"] for event in events[:-1]} == {None}
    assert len(events) > 20


def test_stream_leaves_usage_out_unless_asked(client):
    assert not any("usage" in event for event in stream(client))


def test_stream_is_paced(client):
    started = time.monotonic()
    with client.stream(
        "POST",
        "/chat/completions",
        json={"model": "faucet-demo", "stream": True, "messages": [{"role": "user", "content": "count to 40"}]},
    ) as answer:
        times = [time.monotonic() for _ in answer.iter_bytes()]
    assert times[0] - started < times[-1] - times[0]
    assert times[-1] - times[0] > 0.15


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_answer_is_cut_at_the_limit(client, name):
    answer = chat(client, "What is ModelFaucet?", **{name: 5}).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5
    assert COUNT(answer["choices"][0]["message"]["content"]) == 5
    assert stream(client, "What is ModelFaucet?", **{name: 5})[-1]["choices"][0]["finish_reason"] == "length"


def test_several_choices_are_counted_each(client):
    one, three = chat(client).json(), chat(client, n=3).json()
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["completion_tokens"] == 3 * one["usage"]["completion_tokens"]
    events = stream(client, n=2)
    assert text_of(events, 0) == text_of(events, 1) == one["choices"][0]["message"]["content"]


def test_stop_sequence_ends_the_answer(client):
    assert chat(client, "count to 9", stop=["4"]).json()["choices"][0]["message"]["content"] == "1, 2, 3, "


def test_large_model_tells_more(client):
    small, large = chat(client).json(), chat(client, model="faucet-demo-large").json()
    assert large["usage"]["completion_tokens"] > small["usage"]["completion_tokens"]


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def test_tool_is_called_and_its_result_told(client):
    asked = {"role": "user", "content": "What is the weather in Paris?"}
    answer = chat(client, messages=[asked], tools=TOOLS).json()
    message = answer["choices"][0]["message"]
    call = message["tool_calls"][0]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert answer["usage"]["completion_tokens"] == COUNT("get_weather") + COUNT(call["function"]["arguments"])
    result = {"role": "tool", "tool_call_id": call["id"], "content": "18 °C, dry"}
    told = chat(client, messages=[asked, message, result], tools=TOOLS).json()
    assert "18 °C, dry" in told["choices"][0]["message"]["content"]
    assert told["usage"]["prompt_tokens"] > answer["usage"]["prompt_tokens"]


def test_tool_call_is_streamed_in_pieces(client):
    events = stream(client, "hello", tools=TOOLS, tool_choice="required")
    calls = [
        choice["delta"]["tool_calls"][0]
        for event in events
        for choice in event["choices"]
        if "tool_calls" in choice["delta"]
    ]
    assert calls[0]["id"].startswith("call_")
    assert calls[0]["function"]["name"] == "get_weather"
    assert set(json.loads("".join(call["function"]["arguments"] for call in calls))) == {"city"}
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_response_format_is_honoured(client):
    schema = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}}
    made = chat(client, "add 4", response_format=wanted).json()["choices"][0]["message"]["content"]
    assert json.loads(made) == {"total": 4}
    made = chat(client, "2 + 2", response_format={"type": "json_object"}).json()["choices"][0]["message"]["content"]
    assert json.loads(made) == {"answer": "2 + 2 = 4"}


def test_models_are_listed(client):
    listed = client.get("/models").json()
    assert {model["id"] for model in listed["data"]} == {
        "faucet-demo",
        "faucet-demo-large",
        "faucet-demo-embedding",
    }
    assert client.get("/models/faucet-demo").json()["id"] == "faucet-demo"
    assert client.get("/models/other").status_code == 404


def test_unknown_model_is_a_404(client):
    answer = chat(client, model="gpt-4o")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b'{"model": "faucet-demo"}', b"\xff\xfe", b"[" * 100_000]
)
def test_malformed_body_is_an_error_of_the_client(client, content):
    answer = client.post("/chat/completions", content=content)
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


def test_other_paths_and_methods_are_refused(client):
    assert client.get("/chat/completions").status_code == 405
    assert client.post("/models").status_code == 405
    assert client.get("/nothing").status_code == 404


def test_client_that_leaves_is_noticed(provider):
    body = {"model": "faucet-demo", "stream": True, "messages": [{"role": "user", "content": "count to 500"}]}
    with httpx.Client(base_url=provider) as client:
        with client.stream("POST", "/chat/completions", json=body) as answer:
            next(answer.iter_bytes())
        assert client.get("/models").status_code == 200


def test_process_ends_soon_after_a_signal_with_a_stream_open():
    command = [sys.executable, "-m", "modelfaucet.demo.provider", "--port", "0", "--pace-ms", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        url = json.loads(process.stdout.readline())["base_url"]
        body = {"model": "faucet-demo", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        with httpx.stream("POST", f"{url}/chat/completions", json=body) as answer:
            next(answer.iter_bytes())
            process.terminate()
            assert process.wait(5) is not None


def test_provider_does_not_load_django():
    code = "import modelfaucet.demo.provider, sys; assert 'django' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def embeddings(client, given, **body):
    return client.post("/embeddings", json={"model": "faucet-demo-embedding", "input": given} | body)


def likeness(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_texts_that_share_words_have_vectors_near_each_other(client):
    texts = ["Good morning to you", "Good morning to all", "A ledger balances"]
    answer = embeddings(client, texts).json()
    first, near, far = (each["embedding"] for each in answer["data"])
    assert likeness(first, first) == pytest.approx(1)
    assert likeness(first, near) > 0.5 > likeness(first, far)
    assert embeddings(client, texts[0]).json()["data"][0]["embedding"] == first
    tokens = sum(map(COUNT, texts))
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_vector_in_base64_is_the_same(client):
    [plain] = embeddings(client, "Grüße 你好", dimensions=64).json()["data"]
    [packed] = embeddings(client, "Grüße 你好", dimensions=64, encoding_format="base64").json()["data"]
    assert struct.unpack("<64f", base64.b64decode(packed["embedding"])) == pytest.approx(plain["embedding"])


def test_token_ids_are_inputs(client):
    answer = embeddings(client, [[1, 2, 3], [4]]).json()
    assert (len(answer["data"]), answer["usage"]["prompt_tokens"]) == (2, 4)
    assert len(embeddings(client, [1, 2, 3]).json()["data"]) == 1


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"input": ""}, 400),
        ({"input": []}, 400),
        ({"input": [{"text": "x"}]}, 400),
        ({"input": ["x"] * 2_049}, 400),
        ({"input": "x", "dimensions": 257}, 400),
        ({"input": "x", "model": "faucet-demo"}, 404),
    ],
)
def test_embeddings_that_cannot_be_made_are_refused(client, given, status):
    answer = embeddings(client, "x", **given)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, "invalid_request_error")
