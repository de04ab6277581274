"""The gateway before a real model server (llama.cpp), called by a real client."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.usage.models import UsageEvent
from tests.clients.conftest import HERE, Client, offer
from tests.clients.environment import client_python
from tests.clients.test_openai import charged, text_of
from tests.live import wait_until

pytestmark = pytest.mark.timeout(400)

MODEL = "tiny-chain"
SENTENCE = "Hello from a tiny local model . It runs real inference with known weights and then it stops"
WORDS = len(SENTENCE.split())
# Some hundred tokens a second: this goes on for longer than any test waits.
ENDLESS = {"max_tokens": 3900, "extra_body": {"ignore_eos": True}}


class LlamaServer:
    """llama.cpp's server, as it tells of itself."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.address = base_url.removeprefix("http://").removesuffix("/v1")

    def working(self) -> bool:
        slots = httpx.get(f"http://{self.address}/slots", timeout=10).json()
        return any(slot["is_processing"] for slot in slots)


@pytest.fixture(scope="session")
def llama(clients: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    directory = tmp_path_factory.mktemp("llama")
    command = [client_python(clients), str(HERE / "tiny_model.py"), str(directory)]
    with (
        (directory / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (directory / "log").read_text()[-3000:]
        yield LlamaServer(json.loads(line)["base_url"])
        process.terminate()
        process.wait(20)


@pytest.fixture
def tiny(client: Client, llama: LlamaServer, settings: Any) -> Client:
    settings.OUTBOUND_PRIVATE_ENDPOINTS += (llama.address,)
    offer(llama.base_url, MODEL)
    return client


def tokens(event: UsageEvent) -> tuple[int, int, int]:
    """Return prompt, cached and output tokens as a provider reports them."""
    return event.input_tokens + event.cache_read_tokens, event.cache_read_tokens, event.output_tokens


def reported(usage: dict[str, Any]) -> tuple[int, int, int]:
    cached = (usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0
    return usage["prompt_tokens"], cached, usage["completion_tokens"]


def test_reported_usage_is_what_is_charged(tiny: Client) -> None:
    question = "What do you say?"
    whole = tiny.call("answer", model=MODEL, text=question)
    assert whole["choices"][0]["message"]["content"].strip() == SENTENCE
    chunks = tiny.call("stream", model=MODEL, text=question, stream_options={"include_usage": True})
    assert text_of(chunks).strip() == SENTENCE
    plain = tiny.call("stream", model=MODEL, text=question)
    assert text_of(plain).strip() == SENTENCE
    assert all(chunk["usage"] is None for chunk in plain)
    first, second, third = charged()
    assert tokens(first) == reported(whole["usage"])
    assert tokens(second) == reported(chunks[-1]["usage"])
    assert second.cache_read_tokens > 0  # llama.cpp kept the prompt of the first
    for event in (first, second, third):
        assert (event.outcome, event.estimated, event.output_tokens) == ("finished", False, WORDS + 1)
        cost = event.input_tokens * 3_000 + event.cache_read_tokens * 300 + event.output_tokens * 15_000
        assert (event.charge.cost_nano, event.charge.price_nano) == (cost, (cost * 14 + 5) // 10)


def test_output_limit_is_the_model_s_own_finish(tiny: Client) -> None:
    answer = tiny.call("answer", model=MODEL, text="Briefly", max_tokens=5)
    assert answer["choices"][0]["finish_reason"] == "length"
    [event] = charged()
    assert event.output_tokens == answer["usage"]["completion_tokens"] == 5


def test_client_that_leaves_ends_the_generation(tiny: Client, llama: LlamaServer, settings: Any) -> None:
    settings.DRAIN_SECONDS = 0.3
    began = time.monotonic()
    parts = tiny.call("leave_stream", model=MODEL, text="Go on", chunks=8, **ENDLESS)
    assert "".join(parts).split() == SENTENCE.split()[: len(parts)]
    wait_until(lambda: not llama.working(), 3)
    assert time.monotonic() - began < 4
    wait_until(lambda: UsageEvent.objects.exists())
    [event] = charged()
    assert (event.outcome, event.charged, event.estimated) == ("client_left", True, True)
    assert len(parts) <= event.output_tokens < 1000
    assert event.charge.price_nano > 0
    assert tiny.world.balance().held == 0


def test_client_that_leaves_shortly_before_the_end_pays_the_reported_usage(tiny: Client, llama: LlamaServer) -> None:
    parts = tiny.call("leave_stream", model=MODEL, text="Hello", chunks=3)
    assert len(parts) == 3
    wait_until(lambda: UsageEvent.objects.exists())
    [event] = charged()
    assert event.outcome in {"client_left", "finished"}  # by who was faster
    assert (event.charged, event.estimated, event.output_tokens) == (True, False, WORDS + 1)
