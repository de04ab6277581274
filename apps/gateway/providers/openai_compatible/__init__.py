"""OpenAI's own wire format, as OpenAI and everybody compatible with it speaks it: what came is passed on."""

from apps.gateway.providers.openai_compatible.adapter import OpenAICompatible

__all__ = ["OpenAICompatible"]
