"""Providers that are known by name."""

import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from genai_prices.data_snapshot import get_snapshot

from apps.catalog.models import Adapter, Provider
from apps.catalog.presets import PRESETS, Preset
from apps.catalog.services.presets import add_preset
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.outbound import AddressNotAllowed, check_url
from tests.catalog.factories import WHO

# Every provider that is promised by name, and how its API is spoken.
COMPATIBLE = (
    *("openai", "openrouter", "deepseek", "qwen", "qwen-cn", "zhipuai", "moonshotai", "baichuan", "ernie"),
    *("mistral", "groq", "together", "x-ai", "google-compatible", "cloudflare", "cloudflare-gateway"),
    *("vercel", "litellm", "vllm", "ollama", "lm-studio", "llama-cpp", "custom"),
)
NATIVE = {"anthropic": "anthropic", "azure": "azure_openai", "google": "gemini"}
PROMISED = dict.fromkeys(COMPATIBLE, "openai_compatible") | NATIVE
PRIVATE = {"litellm", "vllm", "ollama", "lm-studio", "llama-cpp"}
# Addresses that stand where a preset has a form.
FILLED = {
    "azure": "https://res.openai.azure.com/openai/v1",
    "cloudflare": "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1",
    "cloudflare-gateway": "https://gateway.ai.cloudflare.com/v1/acc/gw/compat",
    "custom": "https://llm.example.com/v1",
}

every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.id)


def test_every_promised_provider_has_a_preset() -> None:
    assert {name: PRESETS[name].adapter for name in PROMISED} == PROMISED
    assert {preset.adapter for preset in PRESETS.values()} == set(Adapter.values)
    assert all(name == preset.id for name, preset in PRESETS.items())
    assert {preset.id for preset in PRESETS.values() if preset.needs_base_url} == set(FILLED)


@every_preset
def test_preset_takes_no_terms_for_granted(preset: Preset) -> None:
    if preset.id in PRIVATE:
        assert "OUTBOUND_PRIVATE_ENDPOINTS" in preset.notes
    else:
        assert not preset.resale_allowed
        assert preset.terms_url or preset.id == "custom"
    if preset.trains_on_data is False and preset.id not in PRIVATE:
        assert preset.id in {"openai", "anthropic", "azure", "groq", "cloudflare"}


@every_preset
def test_address_is_well_formed(preset: Preset) -> None:
    if preset.id in PRIVATE:
        with pytest.raises(AddressNotAllowed):
            check_url(preset.base_url)
    elif not preset.needs_base_url:
        check_url(preset.base_url)
        assert preset.base_url.startswith("https://")
    assert not preset.base_url.endswith("/")


@every_preset
def test_prices_are_found_by_id(preset: Preset) -> None:
    """A preset whose address a price source knows has that source's id, or is another door of the same provider."""
    for source in get_snapshot().providers:
        if source.api_pattern and re.match(source.api_pattern, preset.base_url):
            assert preset.id.startswith(source.id) or source.id in {"openai-decisions"}


@pytest.mark.django_db
@every_preset
def test_preset_is_added(preset: Preset, settings: Any) -> None:
    if preset.id in PRIVATE:
        with pytest.raises(AddressNotAllowed):
            add_preset(preset.id, **WHO)
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (preset.base_url.removeprefix("http://").removesuffix("/v1"),)
    assert add_preset(preset.id, base_url=FILLED.get(preset.id, ""), **WHO) == preset.id
    row = Provider.objects.get()
    assert (row.id, row.name, row.adapter, row.created_by) == (preset.id, preset.name, preset.adapter, "test")
    assert row.base_url == FILLED.get(preset.id, preset.base_url)
    assert (row.resale_allowed, row.trains_on_data) == (preset.resale_allowed, preset.trains_on_data)
    assert row.keeps_cache_control is (preset.id in {"openrouter", "litellm"})
    with pytest.raises(Conflict):
        add_preset(preset.id, base_url=FILLED.get(preset.id, ""), **WHO)


@pytest.mark.django_db
def test_what_is_given_takes_the_presets_place() -> None:
    add_preset(
        "openai",
        provider_id="openai-eu",
        name="OpenAI (EU)",
        base_url="https://eu.api.openai.com/v1",
        resale_allowed=True,
        trains_on_data=True,
        **WHO,
    )
    row = Provider.objects.get()
    assert (row.id, row.name, row.base_url) == ("openai-eu", "OpenAI (EU)", "https://eu.api.openai.com/v1")
    assert (row.resale_allowed, row.trains_on_data) == (True, True)


@pytest.mark.django_db
def test_refusals() -> None:
    with pytest.raises(NotFound):
        add_preset("nobody", **WHO)
    with pytest.raises(BadRequest) as refusal:
        add_preset("azure", **WHO)
    assert refusal.value.param == "base_url"
    assert "{resource}" in refusal.value.message
    assert not Provider.objects.exists()


@pytest.mark.django_db
def test_command() -> None:
    out = StringIO()
    call_command("add_provider", "--list", stdout=out)
    assert all(name in out.getvalue() for name in PROMISED)
    assert not Provider.objects.exists()
    call_command("add_provider", "deepseek", "--id", "mine", "--resale-allowed", stdout=out)
    row = Provider.objects.get()
    assert (row.id, row.resale_allowed, row.created_by) == ("mine", True, "command:add_provider")
    assert row.terms_url in out.getvalue()
    for arguments in ([], ["ollama"], ["custom"], ["deepseek", "--id", "mine"]):
        with pytest.raises(CommandError):
            call_command("add_provider", *arguments, stdout=out)
