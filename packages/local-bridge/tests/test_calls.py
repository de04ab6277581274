"""Calls through a running bridge, by clients that know nothing of it."""

import json
from collections.abc import Callable

import httpx
import openai
import pytest
from support import CANARY, Bench, ModelServer, until

Serve = Callable[..., ModelServer]


@pytest.fixture
def server(bench: Bench, serve: Serve) -> ModelServer:
    models = ("m", "no-usage", "breaks", "endless", "busy", "html", "slow-json", "text-embed")
    server = serve("vllm", models)
    bench.channel("box", server)
    bench.start()
    bench.ready(*models)
    return server


@pytest.fixture
def client(bench: Bench, server: ModelServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{bench.url}/v1", api_key=bench.token, max_retries=0)


def test_the_openai_client_needs_another_base_url_only(bench: Bench, client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": CANARY}])
    assert answer.parse().choices[0].message.content == "Hello there 你好"
    assert answer.headers["x-faucet-channel"] == "box"
    (line,) = bench.ledger()
    assert line["request_id"] == answer.headers["x-faucet-request-id"]
    assert (line["status"], line["input_tokens"], line["output_tokens"]) == (200, 1000, 500)
    assert (line["cache_read_tokens"], line["reasoning_tokens"], line["estimated"]) == (400, 100, False)
    assert (line["channel"], line["model"], line["cost_nano_usd"]) == ("box", "m", 0)


def test_a_stream_is_metered_and_usage_stays_hidden_unless_asked_for(bench: Bench, client: openai.OpenAI) -> None:
    said = [{"role": "user", "content": "hi"}]
    chunks = list(client.chat.completions.create(model="m", messages=said, stream=True))  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "word0 word1 word2 "
    assert bench.ledger()[-1]["output_tokens"] == 500
    options = {"include_usage": True}
    asked = client.chat.completions.create(model="m", messages=said, stream=True, stream_options=options)  # type: ignore[call-overload]
    assert [chunk.usage.total_tokens for chunk in asked if chunk.usage] == [1500]


def test_embeddings_responses_and_models(bench: Bench, client: openai.OpenAI) -> None:
    assert client.embeddings.create(model="text-embed", input="x", encoding_format="float").data[0].embedding
    assert client.responses.create(model="m", input="x").id == "resp_1"
    assert client.models.retrieve("m").id == "m"
    model = next(each for each in bench.ask("GET", "/v1/models").json()["data"] if each["id"] == "text-embed")
    assert (model["owned_by"], model["capabilities"], model["context_window"]) == ("box", ["embeddings"], 4096)
    assert [(line["operation"], line["input_tokens"]) for line in bench.ledger()] == [
        ("embeddings", 8),
        ("responses", 12),
    ]


def test_a_client_that_leaves_ends_the_models_work(bench: Bench, server: ModelServer) -> None:
    body = {"model": "endless", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with httpx.stream("POST", f"{bench.url}/v1/chat/completions", json=body, headers=bench.headers) as answer:
        next(answer.iter_lines())
    assert server.left.wait(3)
    line = until(bench.ledger)[0]
    assert (line["status"], line["error_code"], line["estimated"]) == (499, "client_left", True)
    assert line["output_tokens"] > 0


def test_a_client_that_leaves_before_there_is_an_answer(bench: Bench, server: ModelServer) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{bench.url}/v1/chat/completions",
            json={"model": "slow-json", "messages": []},
            headers=bench.headers,
            timeout=0.3,
        )
    assert server.left.wait(3)
    assert until(bench.ledger)[0]["status"] == 499


def test_a_channel_that_breaks_off_in_a_stream(bench: Bench, server: ModelServer) -> None:
    text = bench.chat("breaks", stream=True).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert events[0]["choices"][0]["delta"]["content"] == "word0 "
    assert events[-1]["error"]["code"] == "channel_lost"
    assert (bench.ledger()[0]["status"], bench.ledger()[0]["error_code"]) == (502, "channel_lost")


def test_an_answer_without_usage_is_estimated(bench: Bench, server: ModelServer) -> None:
    bench.chat("no-usage", stream=True)
    line = bench.ledger()[0]
    assert line["estimated"] and 5 <= line["output_tokens"] <= 9 and line["input_tokens"] >= len(CANARY) // 4


def test_a_providers_refusal_goes_through_and_is_written_down(bench: Bench, server: ModelServer) -> None:
    busy = bench.chat("busy")
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "7")
    assert busy.json()["error"]["code"] == "rate_limited"
    html = bench.chat("html")
    assert (html.status_code, html.json()["error"]["code"]) == (502, "channel_error")
    assert [line["error_code"] for line in bench.ledger()] == ["rate_limited", "channel_error"]
    assert [line["cost_nano_usd"] for line in bench.ledger()] == [0, 0]


def test_what_is_no_request(bench: Bench, server: ModelServer) -> None:
    for content, status, code in (
        (b"{", 400, "invalid_json"),
        (b"[1]", 400, "invalid_json"),
        (b'{"model": "nobody"}', 404, "model_not_found"),
    ):
        answer = bench.ask("POST", "/v1/chat/completions", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_clients_own_headers_do_not_go_on(bench: Bench, server: ModelServer) -> None:
    bench.chat("m", headers={"x-faucet-session": "mf_sess_1", "cookie": "a=b", "x-private": "1"})
    headers = server.calls[-1][1]
    assert not {"authorization", "x-faucet-session", "cookie", "x-private"} & {*headers}


def test_no_model_named_is_the_first_of_ones_own(bench: Bench, server: ModelServer) -> None:
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert bench.ask("POST", "/v1/chat/completions", json=body).status_code == 200
    assert server.calls[-1][2]["model"] == "m"


def test_several_channels_at_once(bench: Bench, serve: Serve) -> None:
    first, second = serve("vllm", ("m", "only-here")), serve("llama_cpp", ("m", "only-there"))
    bench.channel("one", first)
    bench.channel("two", second)
    bench.start()
    bench.ready("only-here", "only-there")
    assert bench.chat("only-there").headers["x-faucet-channel"] == "two"
    assert bench.chat("two/m").headers["x-faucet-channel"] == "two"
    assert bench.chat("m").headers["x-faucet-channel"] == "one"
    first.served.stop()
    answer = bench.chat("m")
    assert (answer.status_code, answer.headers["x-faucet-channel"]) == (200, "two")
    gone = bench.chat("only-here")
    assert (gone.status_code, gone.json()["error"]["code"]) == (503, "channel_unavailable")


def test_a_prompt_for_ones_own_model_never_goes_to_a_provider(bench: Bench, serve: Serve) -> None:
    own, provider = serve("vllm", ("m",)), serve("openai_compatible", ("m",), key="sk-1")
    bench.channel("own", own)
    # By a name that is not this machine's loopback address, as a provider's.
    bench.environment["http_proxy"] = provider.served.url
    bench.run("channels", "add", "cloud", "--base-url", "http://provider.example/v1", "--model", "m", "--rpm", "9")
    bench.start()
    bench.ready("m")
    own.served.stop()
    assert bench.chat("m").status_code == 503
    assert provider.calls == []
