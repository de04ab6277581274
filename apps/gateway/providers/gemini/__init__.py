"""Google's Gemini API in its own format: generateContent."""

from apps.gateway.providers.gemini.adapter import Gemini

__all__ = ["Gemini"]
