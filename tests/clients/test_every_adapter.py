"""Unmodified clients, each in its own format, before a provider of every format: any can be served by any."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from apps.catalog.services.offers import update_provider
from apps.core.clock import now
from apps.usage.models import UsageEvent
from tests.clients.conftest import HERE
from tests.clients.environment import client_python
from tests.clients.test_openai import charged
from tests.live import ACTOR, Server, World, make_world
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble

# The first test may have to install the clients.
pytestmark = pytest.mark.timeout(400)

# By the name that the double has for the format.
ADAPTERS = {"openai_compatible": "openai", "anthropic": "anthropic", "azure_openai": "azure", "gemini": "gemini"}
THOUGHT = "Let me look."
ENDPOINTS = {"chat": "chat.completions", "responses": "responses", "messages": "messages"}
# An answer, a stream, a call of a tool and what is said of its result: what each client asks for, in this order.
SCRIPT = (
    Behaviour(prompt_tokens=1000, completion_tokens=50),
    Behaviour(prompt_tokens=1000, completion_tokens=50),
    Behaviour(tool_call=True, finish_reason="tool_calls", reasoning=THOUGHT),
    Behaviour(text="It is warm."),
)


def world_of(adapter: str, server: Server, double: ProviderDouble) -> World:
    """Return a world whose provider speaks through an adapter."""
    url = double.base_url_of(adapter)
    world = make_world(server.base_url, url, max_output_tokens=4000)
    update_provider("double-0", adapter=adapter, base_url=url, now=now(), actor=ACTOR)
    time.sleep(0.3)  # the policy's epoch is read every 0.05 s
    return world


def run(command: list[str], world: World, api: str) -> dict[str, Any]:
    command = [*command, world.base_url, world.token, api]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    ("language", "api"),
    [("python", "chat"), ("python", "responses"), ("python", "messages"), ("node", "chat"), ("node", "responses")],
)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_client(server: Server, double: ProviderDouble, clients: Path, adapter: str, language: str, api: str) -> None:
    world = world_of(adapter, server, double)
    double.script(*SCRIPT)
    python = [client_python(clients), str(HERE / "adapter_calls.py")]
    node = [str(clients / "bin" / "node"), str(HERE / "adapter_calls.mjs"), str(clients)]
    found = run(python if language == "python" else node, world, api)
    assert found["answer"] == found["stream"] == TEXT
    assert found["usage"] == found["stream_usage"] == [1000, 50]
    assert found["tool"] == ["get_weather", {"city": "Paris", "unit": "celsius"}]
    assert found["after"] == "It is warm."
    assert found.get("reasoning", [THOUGHT]) == [THOUGHT]
    events = charged()
    assert [(event.endpoint, event.outcome) for event in events] == [(ENDPOINTS[api], "finished")] * 4
    assert [event.stream for event in events] == [False, True, True, False]
    assert {event.provider for event in events} == {"double-0"}
    assert [seen.format for seen in double.requests] == [ADAPTERS[adapter]] * 4


def test_signed_thinking_comes_back_to_who_signed_it(server: Server, double: ProviderDouble, clients: Path) -> None:
    world = world_of("anthropic", server, double)
    for api in ("messages", "responses"):
        double.script(*SCRIPT)
        found = run([client_python(clients), str(HERE / "adapter_calls.py")], world, api)
        assert found["reasoning"] == [THOUGHT]
        turn = double.requests[-1].body["messages"][1]
        assert turn["content"][0]["type"] == "thinking"
        assert turn["content"][0]["signature"]
        assert turn["content"][1]["type"] == "tool_use"
    assert UsageEvent.objects.count() == 8
