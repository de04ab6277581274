"""Adapters that pass OpenAI's format on: addresses, and bodies that are what came."""

import json

import pytest

from apps.gateway.providers.base import CHAT, EMBEDDINGS
from apps.gateway.providers.registry import ADAPTERS
from tests.gateway.providers.reading import rendered, request, to_embed

AZURE = "https://res.openai.azure.com"


def test_every_adapter_has_its_own_name() -> None:
    assert {name: adapter.name for name, adapter in ADAPTERS.items()} == {name: name for name in ADAPTERS}
    assert set(ADAPTERS) == {"openai_compatible", "anthropic", "azure_openai", "gemini"}
    with_embeddings = {name for name, adapter in ADAPTERS.items() if EMBEDDINGS in adapter.operations}
    assert with_embeddings == {"openai_compatible", "azure_openai", "gemini"}
    assert all(CHAT in adapter.operations for adapter in ADAPTERS.values())


def test_the_catalogue_knows_the_same_adapters() -> None:
    from apps.catalog.models import Adapter

    assert set(Adapter.values) == set(ADAPTERS)


def test_openai_addresses() -> None:
    adapter = ADAPTERS["openai_compatible"]
    assert adapter.chat_url("https://a.com/v1/", model="m", stream=True) == "https://a.com/v1/chat/completions"
    assert adapter.embeddings_url("https://a.com/v1", model="m") == "https://a.com/v1/embeddings"
    assert adapter.check_url("https://a.com/v1") == "https://a.com/v1/models"


@pytest.mark.parametrize(
    ("base", "chat", "check"),
    [
        (
            AZURE,
            f"{AZURE}/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
            f"{AZURE}/openai/models?api-version=2024-10-21",
        ),
        (
            f"{AZURE}/openai/?api-version=2025-04-01-preview",
            f"{AZURE}/openai/deployments/my%20gpt/chat/completions?api-version=2025-04-01-preview",
            f"{AZURE}/openai/models?api-version=2025-04-01-preview",
        ),
        (f"{AZURE}/openai/v1/", f"{AZURE}/openai/v1/chat/completions", f"{AZURE}/openai/v1/models"),
        (
            f"{AZURE}/openai/v1?api-version=preview",
            f"{AZURE}/openai/v1/chat/completions?api-version=preview",
            f"{AZURE}/openai/v1/models?api-version=preview",
        ),
    ],
)
def test_azure_addresses(base: str, chat: str, check: str) -> None:
    adapter = ADAPTERS["azure_openai"]
    assert adapter.chat_url(base, model="my gpt", stream=False) == chat
    assert adapter.embeddings_url(base, model="my gpt") == chat.replace("chat/completions", "embeddings")
    assert adapter.check_url(base) == check


@pytest.mark.parametrize("adapter", ["openai_compatible", "azure_openai"])
def test_what_is_not_understood_is_passed_on(adapter: str) -> None:
    asked = request(stream=True, seed=1, some_new_thing={"a": [1]}, logit_bias={"5": 1})
    made = rendered(adapter, asked, model="up", cap=77)
    assert made == {
        "model": "up",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": 1,
        "some_new_thing": {"a": [1]},
        "logit_bias": {"5": 1},
        "max_tokens": 77,
    }


def test_embeddings_are_passed_on_under_the_providers_name() -> None:
    asked = to_embed([[1, 2]], dimensions=3, model="ours", encoding_format="base64")
    body = json.loads(ADAPTERS["azure_openai"].embeddings_body(asked, model="theirs"))
    assert body == {"input": [[1, 2]], "dimensions": 3, "model": "theirs", "encoding_format": "base64"}
