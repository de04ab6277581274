"""The local bridge and the real gateway: a real model is called through either, and is counted once."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.features.bridges import connected_bridges
from apps.usage.models import UsageEvent
from tests.clients.environment import client_environment, client_python
from tests.live import Server, World, differences, notice, rate_all, wait_until
from tests.packages.bridge import InstalledBridge, bridge_at
from tests.packages.javascript import run
from tests.provider_double import ProviderDouble

pytestmark = pytest.mark.timeout(400)

TINY = Path(__file__).parents[1] / "clients" / "tiny_model.py"
MODEL = "tiny-chain"
SENTENCE = "Hello from a tiny local model . It runs real inference with known weights and then it stops"
PROMPT = "heliotrope-5512"  # must not be found anywhere


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the base URL of llama.cpp's own server before a tiny model."""
    command = [client_python(client_environment()), str(TINY), str(tmp_path_factory.mktemp("model"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["base_url"]
    process.terminate()
    process.wait(20)
    process.stdout.close()


@pytest.fixture
def bridge(tmp_path: Path, llama: str, world: World) -> Iterator[InstalledBridge]:
    with bridge_at(world, llama, tmp_path / "bridge") as running:
        yield running


def said(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], **more}


def test_a_found_model_answers_and_its_use_reaches_the_ledger(
    bridge: InstalledBridge, world: World, double: ProviderDouble
) -> None:
    (endpoint,) = bridge.status()["endpoints"]
    assert (endpoint["kind"], endpoint["found"], endpoint["health"]["state"]) == ("llama_cpp", True, "up")
    assert endpoint["models"][0]["id"] == MODEL and endpoint["models"][0]["context_window"] > 1000
    answer = httpx.post(
        f"{bridge.url}/v1/chat/completions",
        json=said(),
        headers=bridge.headers(x_faucet_session=world.token),
        timeout=60,
    )
    assert answer.json()["choices"][0]["message"]["content"].strip() == SENTENCE
    assert answer.headers["x-faucet-reported"] == "bridge"
    wait_until(lambda: UsageEvent.objects.count() == 1, 20)
    event = UsageEvent.objects.get()
    assert (event.route_mode, event.output_tokens) == ("local", bridge.ledger()[0]["output_tokens"])
    assert event.end_user_id == world.end_user_id
    wait_until(lambda: bridge.status()["reports_pending"] == 0, 20)
    rate_all()
    assert differences() == [] and double.requests == []
    assert PROMPT not in str(list(UsageEvent.objects.values()))


def test_the_sdk_for_javascript_reads_its_state_and_asks_its_model(bridge: InstalledBridge, world: World) -> None:
    given = run(
        """
        const { bridgeUrl, bridgeToken } = given;
        const faucet = faucetOf({ mode: "local", bridgeUrl, bridgeToken });
        give({ status: await faucet.local.status(), diagnostics: await faucet.local.diagnostics() });
        give(await faucet.generate(given.prompt));
        process.exit();
        """,
        baseUrl=world.base_url,
        publicAppId="app_pub_none",
        token=world.token,
        bridgeUrl=bridge.url,
        bridgeToken=bridge.headers()["authorization"].removeprefix("Bearer "),
        prompt=PROMPT,
    )
    status = given[0]["status"]
    (endpoint,) = status["endpoints"]
    assert set(endpoint["health"]) == {"state", "latency_ms", "checked_at", "error"}
    assert (endpoint["health"]["state"], endpoint["health"]["error"]) == ("up", None)
    assert [model["id"] for model in status["models"]] == [MODEL]
    assert (status["ok"], status["gateway"], status["reports"]) == (True, world.base_url, True)
    assert [each for each in given[0]["diagnostics"] if not each["ok"]] == []
    assert (given[1]["text"].strip(), given[1]["route_mode"]) == (SENTENCE, "local")


def test_the_gateway_reaches_it_through_the_relay(
    bridge: InstalledBridge, world: World, server: Server, double: ProviderDouble
) -> None:
    wait_until(lambda: any(each.models for each in connected_bridges(world.end_user_id, now=now())), 20)
    assert bridge.status()["relay"] == "connected"
    notice(server)
    prefer = {"modelfaucet": {"prefer": "local"}}
    answer = world.chat(PROMPT, model=MODEL, **prefer)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"].strip() == SENTENCE
    with world.stream(PROMPT, model=MODEL, **prefer) as streamed:
        chunks = [json.loads(line[6:]) for line in streamed.iter_lines() if line.startswith("data: {")]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert text.strip() == SENTENCE
    wait_until(lambda: UsageEvent.objects.count() == 2, 20)
    assert {event.route_mode for event in UsageEvent.objects.all()} == {"local"}
    assert [(line["source"], line["status"]) for line in bridge.ledger()] == [("relay", 200)] * 2
    assert bridge.status()["reports_pending"] == 0  # the gateway has metered them itself
    assert double.requests == []
    written = [path for path in bridge.home.rglob("*") if path.is_file()]
    assert [path.name for path in written if PROMPT.encode() in path.read_bytes()] == []
