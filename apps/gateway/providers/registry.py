"""The adapters by the name that the catalogue keeps (`Provider.adapter`)."""

from collections.abc import Mapping
from types import MappingProxyType

from apps.gateway.providers.anthropic import Anthropic
from apps.gateway.providers.azure_openai import AzureOpenAI
from apps.gateway.providers.base import Adapter
from apps.gateway.providers.gemini import Gemini
from apps.gateway.providers.openai_compatible import OpenAICompatible

_ALL: tuple[Adapter, ...] = (OpenAICompatible(), Anthropic(), AzureOpenAI(), Gemini())

ADAPTERS: Mapping[str, Adapter] = MappingProxyType({adapter.name: adapter for adapter in _ALL})
