"""Anthropic's Messages API."""

from apps.gateway.providers.anthropic.adapter import Anthropic

__all__ = ["Anthropic"]
