"""A real model server (llama.cpp) on an end user's machine, reached over a real relay and called by a real client."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.core.clock import now
from apps.features.bridges import connected_bridges
from apps.features.services.bridges import create_bridge
from apps.usage.models import UsageEvent
from tests.clients.conftest import ROOT, Client
from tests.clients.test_openai import text_of
from tests.clients.test_tiny_model import ENDLESS, MODEL, SENTENCE, WORDS, LlamaServer, llama, reported, tokens
from tests.live import ACTOR, Server, notice, wait_until

__all__ = ["llama"]  # the fixture
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def mine(client: Client, llama: LlamaServer, server: Server, tmp_path: Path) -> Iterator[Client]:
    """Give a client whose end user has the model at home. The relay asks the server what it has."""
    world = client.world
    world.manifest(privacy={"mode": "local_only"})
    made = create_bridge(end_user_id=world.end_user_id, name="Desktop", now=now(), actor=ACTOR)
    command = [sys.executable, "-m", "modelfaucet_bridge.relay", "--gateway", world.base_url]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "packages/local-bridge/src"),
        "MODELFAUCET_BRIDGE_TOKEN": made.token,
    }
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([*command, "--endpoint", llama.base_url], env=environment, stdout=log, stderr=log) as process,
    ):
        wait_until(lambda: bool(connected_bridges(world.end_user_id, now=now())), 20)
        notice(server)
        yield client
        process.terminate()
        process.wait(10)


def test_local_model_answers_and_is_metered_as_it_reports(mine: Client) -> None:
    whole = mine.call("answer", model=MODEL, text="What do you say?")
    assert whole["choices"][0]["message"]["content"].strip() == SENTENCE
    chunks = mine.call("stream", model=MODEL, text="What do you say?", stream_options={"include_usage": True})
    assert text_of(chunks).strip() == SENTENCE
    first, second = UsageEvent.objects.order_by("id")
    assert tokens(first) == reported(whole["usage"])
    assert tokens(second) == reported(chunks[-1]["usage"])
    for event in (first, second):
        assert (event.route_mode, event.served_model, event.outcome) == ("local", MODEL, "finished")
        assert (event.estimated, event.output_tokens, event.price_nano) == (False, WORDS + 1, 0)


def test_client_that_leaves_ends_the_generation_at_home(mine: Client, llama: LlamaServer) -> None:
    parts = mine.call("leave_stream", model=MODEL, text="Go on", chunks=8, **ENDLESS)
    assert "".join(parts).split() == SENTENCE.split()[: len(parts)]
    wait_until(lambda: not llama.working(), 3)
    wait_until(lambda: UsageEvent.objects.exists())
    event = UsageEvent.objects.get()
    assert (event.route_mode, event.outcome, event.price_nano) == ("local", "client_left", 0)
