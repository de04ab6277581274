"""Every adapter behind the running gateway: switched by configuration only, metered the same."""

import json
import time
from typing import Any

import httpx
import pytest

from apps.catalog.presets import PRESETS
from apps.catalog.services.offers import (
    add_model,
    add_offer,
    disable_provider,
    enable_provider,
    update_provider,
)
from apps.catalog.services.presets import add_preset
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.vault.services.credentials import add_credential
from tests.gateway.providers.reading import function
from tests.live import ACTOR, MODEL, TIER, Server, World, make_world, rate_all
from tests.provider_answers import TEXT, Behaviour
from tests.provider_double import ProviderDouble
from tests.settlement.asking import ask

ADAPTERS = ("openai_compatible", "anthropic", "azure_openai", "gemini")
FORMATS = dict(zip(ADAPTERS, ("openai", "anthropic", "azure", "gemini"), strict=True))
# Where the double plays each of them: a path of its own, so that it can tell who was called.
PLACES = {
    "openrouter": "openrouter/api/v1",
    "cloudflare-gateway": "v1/acc/gw/compat",
    "vercel": "vercel/v1",
    "litellm": "litellm/v1",
    "anthropic": "anthropic/v1",
    "azure": "azure/openai/v1",
    "google": "google/v1beta",
}
HOW = Behaviour(prompt_tokens=1000, cached_tokens=600, completion_tokens=50, reasoning_tokens=20)


@pytest.fixture(params=ADAPTERS)
def adapted(request: Any, world: World, double: ProviderDouble) -> str:
    """Make the world's provider speak through an adapter, by configuration; return the double's word for its format."""
    adapter: str = request.param
    url = double.base_url_of(adapter)
    update_provider("double-0", adapter=adapter, base_url=url, now=now(), actor=ACTOR)
    time.sleep(0.3)  # the policy's epoch is read every 0.05 s
    return FORMATS[adapter]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_is_metered_alike(adapted: str, world: World, double: ProviderDouble, stream: bool) -> None:
    double.script(HOW)
    answered = ask(world, stream=stream)
    assert answered.text == TEXT
    (seen,) = double.requests
    assert seen.format == adapted
    event = answered.event()
    assert (event.input_tokens, event.cache_read_tokens, event.output_tokens) == (400, 600, 50)
    assert event.outcome == "finished"
    assert not answered.estimated


def test_a_tool_round_trip(adapted: str, world: World, double: ProviderDouble) -> None:
    double.script("tool", Behaviour(text="It is warm."))
    tools = [function("weather")]
    message = world.chat("How is it?", tools=tools).json()["choices"][0]["message"]
    (made,) = message["tool_calls"]
    assert json.loads(made["function"]["arguments"])["city"] == "Paris"
    result = {"role": "tool", "tool_call_id": made["id"], "content": "21 degrees"}
    messages = [{"role": "user", "content": "How is it?"}, message, result]
    answer = world.chat(messages=messages, tools=tools)
    assert answer.json()["choices"][0]["message"]["content"] == "It is warm."
    assert double.requests[1].format == adapted


def test_a_stream_that_breaks_off_costs_nothing(adapted: str, world: World, double: ProviderDouble) -> None:
    for how, code in (
        ("error-event", "provider_error_in_stream"),
        ("close-within", "provider_broke_off"),
        ("wrong-json", "provider_answer_broken"),
    ):
        if how == "wrong-json" and adapted in {"openai", "azure"}:
            continue  # passed on unread
        double.script(Behaviour(fail=how, interval=0.01))  # what comes in one read with the failure is not begun
        answered = ask(world, stream=True)
        assert answered.error["code"] == code
        assert not answered.done
        assert answered.event().outcome == "provider_failed"
    rate_all()
    assert world.balance().posted == nano_from_usd("10")


def test_what_the_format_cannot_say_is_told_to_the_caller(world: World, double: ProviderDouble) -> None:
    update_provider("double-0", adapter="anthropic", now=now(), actor=ACTOR)
    time.sleep(0.3)
    refused = world.chat(n=2)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "unsupported_by_provider"
    assert refused.json()["error"]["param"] == "n"
    assert not double.requests


def test_a_call_is_switched_from_preset_to_preset_by_configuration(
    server: Server, double: ProviderDouble, settings: Any
) -> None:
    world = make_world(server.base_url)
    moment: Any = {"now": now(), "actor": ACTOR}
    for preset, place in PLACES.items():
        add_preset(preset, base_url=f"{double.url}/{place}", resale_allowed=True, **moment)
        offer = add_offer(
            provider=preset, model=MODEL, upstream_model="their-model", capabilities=("chat", "stream"), **moment
        )
        publish_price(offer, [TIER], moment["now"], "test", **moment)
        add_credential(owner_class="platform", provider=preset, label=preset, secret=f"sk-{preset}-key", **moment)
        disable_provider(preset, **moment)
    for preset, place in PLACES.items():
        enable_provider(preset, now=now(), actor=ACTOR)
        time.sleep(0.3)
        for stream in (False, True):
            double.requests.clear()
            answered = ask(world, stream=stream)
            assert answered.text == TEXT
            (seen,) = double.requests
            assert seen.path.startswith(f"/{place}/")
            assert seen.format == FORMATS[PRESETS[preset].adapter]
            assert f"sk-{preset}-key" in " ".join(seen.headers.values())
            assert answered.event().provider == preset
        disable_provider(preset, now=now(), actor=ACTOR)


@pytest.mark.parametrize("adapter", ["openai_compatible", "azure_openai", "gemini"])
def test_embeddings(world: World, double: ProviderDouble, adapter: str) -> None:
    moment: Any = {"now": now(), "actor": ACTOR}
    update_provider("double-0", adapter=adapter, base_url=double.base_url_of(adapter), **moment)
    add_model(id="embedder", name="embedder", **moment)
    offer = add_offer(
        provider="double-0", model="embedder", upstream_model="embedder", capabilities=("embeddings",), **moment
    )
    publish_price(offer, [TIER], moment["now"], "test", **moment)
    time.sleep(0.3)
    answer = httpx.post(
        f"{world.base_url}/v1/embeddings",
        json={"model": "embedder", "input": ["one", "two"], "dimensions": 4},
        headers=world.headers(),
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    assert [len(row["embedding"]) for row in answer.json()["data"]] == [4, 4]
    assert len(double.embeddings) == 1
